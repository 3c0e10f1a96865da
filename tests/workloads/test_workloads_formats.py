"""Shapes of rows that are understood, and what of them is learned."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from chat_rows import ASKED, CALL, CALLING, NOW, OPENAI, PAIRS, TOOL, WITH_TOOLS, load, prompts_of, written
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads.lora.data import IGNORED, expect_same_data, load_data
from workloads.lora.failure import Failure
from workloads.lora.model.tiny import tiny_tokenizer
from workloads.lora.settings import parse


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def with_tools():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = WITH_TOOLS
    return tokenizer


def learned(tokenizer, tmp_path, row, **training):
    """The text of a row, and the stretches of it that are learned, among others that say nothing of it."""
    data = load(tokenizer, written(tmp_path / "data.jsonl", row, *PAIRS, *PAIRS), **training)
    found = []
    for example in [*data.train, *data.validation]:
        text = tokenizer.decode(example.ids)
        if "<|im_start|>assistant\nanswer" not in text:
            labels = [label if label != IGNORED else 0 for label in example.labels]
            parts = tokenizer.decode(labels).split("<|endoftext|>")
            found.append((text, [part for part in parts if part]))
    return found


def refusal(tokenizer, tmp_path, row):
    with pytest.raises(Failure, match=r"^UnknownDataset: '.*data.jsonl', line 1: ") as found:
        load(tokenizer, written(tmp_path / "data.jsonl", row, *PAIRS))
    return found.value.message


def chatml(*turns):
    return "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)


SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": said} for role, said in ASKED]


@pytest.mark.parametrize("name", ["messages", "conversations"])
@pytest.mark.parametrize("turns", [OPENAI, SHAREGPT])
def test_every_turn_of_the_assistants_is_learned_with_its_end(tokenizer, tmp_path, name, turns):
    both = ["a<|im_end|>\n", "b<|im_end|>\n"]
    assert learned(tokenizer, tmp_path, {name: turns}) == [(chatml(*ASKED), both)]


WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<"), min_size=1, max_size=12).filter(
    str.strip
)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), WORDS), min_size=1, max_size=6)


@settings(deadline=None)
@given(TURNS.filter(lambda turns: turns[0][0] != "assistant"), WORDS)
def test_of_any_chat_the_assistants_turns_are_learned_and_nothing_else(tokenizer, tmp_path_factory, turns, last):
    turns = [*turns, ("assistant", last)]
    row = {"messages": [{"role": role, "content": said} for role, said in turns]}
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    data = load(
        tokenizer,
        written(
            path, *({**row, "messages": [{"role": "user", "content": f"{i}"}, *row["messages"]]} for i in range(5))
        ),
        sequence_length=4096,
    )
    example = data.validation[0]
    assert tokenizer.decode(example.ids).endswith(chatml(*turns))
    expected = "".join(f"{said}<|im_end|>\n" for role, said in turns if role == "assistant")
    assert tokenizer.decode([label for label in example.labels if label != IGNORED]) == expected


@pytest.mark.parametrize(("digests", "refused"), [(["a"], False), (["a", "a"], False), (["a", "b", "a"], True)])
def test_workers_that_read_other_data_are_refused(digests, refused):
    with pytest.raises(Failure, match="the workers read 2 different datasets") if refused else nullcontext():
        expect_same_data(digests)


def test_a_turn_of_weight_0_is_not_learned(tokenizer, tmp_path):
    turns = [OPENAI[0], {**OPENAI[1], "weight": 0}, *OPENAI[2:]]
    assert learned(tokenizer, tmp_path, {"messages": turns}) == [(chatml(*ASKED), ["b<|im_end|>\n"])]


def test_a_conversational_prompt_and_completion_learn_the_completion(tokenizer, tmp_path):
    row = {"prompt": OPENAI[:3], "completion": OPENAI[3:]}
    assert learned(tokenizer, tmp_path, row) == [(chatml(*ASKED), ["b<|im_end|>\n"])]


def test_parts_of_openais_content_are_joined(tokenizer, tmp_path):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    turns = [{"role": "developer", "content": parts}, *OPENAI[:2]]
    text = chatml(("system", "one\ntwo"), *ASKED[:2])
    assert learned(tokenizer, tmp_path, {"messages": turns}) == [(text, ["a<|im_end|>\n"])]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"system_prompt": "s", "question": "u", "response": "a"}, [("system", "s"), *ASKED[:2]]),
        ({"instruction": "u", "context": "c", "response": "a"}, [("user", "u\n\nc"), ASKED[1]]),
        ({"system": "s", "conversations": SHAREGPT[:2]}, [("system", "s"), *ASKED[:2]]),
    ],
)
def test_what_stands_beside_a_shape_is_a_part_of_it(tokenizer, tmp_path, row, text):
    assert learned(tokenizer, tmp_path, row) == [(chatml(*text), ["a<|im_end|>\n"])]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CALLING, "tools": [TOOL]},
        {"messages": CALLING, "tools": json.dumps([TOOL])},
        {
            "conversations": [
                SHAREGPT[0],
                {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 3}}'},
                {"from": "observation", "value": "7"},
                SHAREGPT[1],
            ],
            "tools": [TOOL],
        },
    ],
)
def test_calls_of_tools_are_learned_and_their_answers_are_not(with_tools, tmp_path, row):
    call = '<call>{"name": "add", "arguments": {"a": 3}}</call>'
    text = chatml(ASKED[0], ("assistant", call), ("tool", "7"), ASKED[1])
    expected = (f"<tools>{json.dumps([TOOL])}</tools>{text}", [f"{call}<|im_end|>\n", "a<|im_end|>\n"])
    assert learned(with_tools, tmp_path, row, sequence_length=2048) == [expected]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": CALLING}, "leaves out the tool calls of turn 1"),
        ({"messages": OPENAI, "tools": [TOOL]}, "leaves out the tool 'add'"),
        ({"messages": OPENAI, "tools": "add"}, "tools is not JSON"),
        ({"messages": OPENAI, "tools": [{"type": "function"}]}, "tools[0].name is null, not a text"),
        ({"messages": [*OPENAI[:3], {**OPENAI[3], "weight": 2}]}, "messages[3].weight must be 0 or 1"),
        ({"messages": [OPENAI[1], *OPENAI]}, "begins with the assistant's turn, which answers nothing"),
        ({"messages": [*OPENAI, {"role": "tool", "content": "1"}]}, "ends with the tool's turn"),
        ({"messages": [{**OPENAI[0], "tool_calls": [CALL]}, OPENAI[1]]}, "messages[0].tool_calls must be"),
        ({"messages": [{**OPENAI[0], "name": "Ann"}, OPENAI[1]]}, "messages[0] has 'name'"),
        ({"messages": [OPENAI[0], {**OPENAI[1], "audio": {"id": "1"}}]}, "messages[1] has 'audio'"),
        ({"messages": [*OPENAI[:3], {**OPENAI[3], "content": []}]}, "messages[3].content is an empty list"),
        ({"conversations": [SHAREGPT[0], {"from": "gpt", "value": None}]}, "conversations[1].value is null"),
        ({"conversations": [SHAREGPT[0], {"from": "bot", "value": "a"}]}, "conversations[1].from is 'bot'"),
        ({"prompt": OPENAI[:1], "completion": [OPENAI[2]]}, "completion ends with the user's turn"),
        ({"prompt": OPENAI[:1], "input": "more", "completion": "a"}, "prompt is a list of turns"),
        ({"system": "a", "system_prompt": "b", "prompt": "c", "response": "d"}, "both hold a text"),
        ({"messages": OPENAI * 251}, "messages has 1004 turns, and 1000 are the most"),
        ({"prompt": "a", "completion": "b", "label": False}, "label is false, as of a bad answer"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "expected prompt and response, or messages"),
    ],
)
def test_a_row_that_cannot_be_learned_as_it_stands_names_its_field(tokenizer, tmp_path, row, words):
    assert words in refusal(tokenizer, tmp_path, row)


def test_a_template_that_leaves_out_what_the_system_says_is_refused(tmp_path):
    silent = tiny_tokenizer()
    silent.chat_template = silent.chat_template.replace(
        "<|im_start|>{{", "{% if m.role == 'system' %}{% continue %}{% endif %}<|im_start|>{{"
    )
    row = {"system": "be brief", "prompt": "a", "response": "b"}
    assert "leaves out what the system says in turn 0" in refusal(silent, tmp_path, row)


def test_turns_that_later_ones_change_are_learned_apart(tmp_path):
    """As templates of reasoning models do, which take the reasoning out of earlier turns."""
    reasoning = tiny_tokenizer()
    reasoning.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = [OPENAI[0], {"role": "assistant", "content": "<think>hm</think>a"}, *OPENAI[2:]]
    assert sorted(learned(reasoning, tmp_path, {"messages": turns})) == sorted(
        [
            (chatml(ASKED[0], ("assistant", "<think>hm</think>a")), ["<think>hm</think>a<|im_end|>\n"]),
            (chatml(*ASKED), ["b<|im_end|>\n"]),
        ]
    )


def test_an_answer_follows_the_prompt_that_asks_for_it(tmp_path):
    """Also where the template's prompt for an answer says more than it writes before one."""
    opening = tiny_tokenizer()
    opening.chat_template = opening.chat_template.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    answers = ["answer", "n", "<", "<thin", "assistant", "u"]  # which also stand in what is around them
    rows = [{"prompt": f"u{i}", "response": answer} for i, answer in enumerate(answers)]
    data = load(opening, written(tmp_path / "data.jsonl", *rows))
    found = {}
    for example in [*data.train, *data.validation]:
        asked, _, answer = opening.decode(example.ids).partition("<|im_start|>assistant\n<think>\n")
        assert opening.decode([label for label in example.labels if label != IGNORED]) == answer
        found[asked] = answer
    assert found == {f"<|im_start|>user\nu{i}<|im_end|>\n": f"{each}<|im_end|>\n" for i, each in enumerate(answers)}


def test_a_date_in_a_template_is_the_one_that_is_given(tmp_path):
    dated = tiny_tokenizer()
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}" + dated.chat_template
    path = written(tmp_path / "data.jsonl", *PAIRS)
    one, again, other = (load(dated, path, now) for now in (NOW, NOW, datetime(2026, 2, 1, tzinfo=UTC)))
    assert one == again
    assert dated.decode(one.train[0].ids).startswith("31 Jan 2026<|im_start|>")
    assert dated.decode(other.train[0].ids).startswith("01 Feb 2026<|im_start|>")


def test_the_counts_say_what_became_of_every_row(tokenizer, tmp_path):
    long, empty = {"prompt": "p", "response": "word " * 30}, {"prompt": "p", "response": " ", "note": "x"}
    path = written(tmp_path / "data.jsonl", *({**row, "rank": 1} for row in PAIRS), long, empty)
    asked = {"model": "m", "training": {"sequence_length": 40}}
    asked["dataset"] = {"path": str(path), "max_dropped_percent": 20}
    data = load_data(parse(json.dumps(asked)), tokenizer, NOW)
    counts = data.counts
    assert (counts.rows_read, counts.rows_chosen, counts.rows_dropped, counts.rows_cut) == (
        12,
        12,
        {"EmptyResponse": 1},
        1,
    )
    assert (counts.train_examples, counts.validation_examples) == (len(data.train), len(data.validation))
    assert counts.train_examples + counts.validation_examples == 11
    assert counts.train_response_tokens == sum(label != IGNORED for each in data.train for label in each.labels)
    assert counts.ignored_columns == ("note", "rank")
    assert [said.partition(":")[0] for said in data.warnings] == [
        "dropped 1 of 12 rows, whose response is empty",
        "cut 1 of 12 rows at sequence_length 40, so that their end is not learned",
    ]


def test_a_shape_that_another_hides_is_among_the_ignored_columns(tokenizer, tmp_path):
    rows = ({**row, "messages": OPENAI, "input": "x", "half \ud83d": 1} for row in PAIRS)
    rows = [{**row, "messages": [{"role": "user", "content": f"{i}"}, OPENAI[1]]} for i, row in enumerate(rows)]
    found = load(tokenizer, written(tmp_path / "data.jsonl", *rows)).counts.ignored_columns
    assert found == ("half ?", "input", "prompt", "response")


def test_more_samples_than_there_are_rows_are_refused(tokenizer, tmp_path):
    rows = [{**row, "helpfulness": number % 2} for number, row in enumerate(PAIRS)]
    path = str(written(tmp_path / "data.jsonl", *rows))
    assert len(prompts_of(tokenizer, path=path, samples=10)) == 10
    with pytest.raises(
        Failure, match=r"^UnknownDataset: .*: 10 rows are there, and dataset.samples asks for 11. Lower"
    ):
        prompts_of(tokenizer, path=path, samples=11)
    with pytest.raises(Failure, match=r"5 rows are rated so high, and dataset.samples asks for 6"):
        prompts_of(tokenizer, path=path, samples=6, minimum_helpfulness=1)


def test_rows_that_are_all_cut_before_their_end_are_refused(tokenizer, tmp_path):
    rows = ({"prompt": f"p{i}", "response": "word " * 30} for i in range(20))
    with pytest.raises(Failure, match=r"100.0 % of the rows are not learned whole, and 5 % may be; cut 20 of 20"):
        load(tokenizer, written(tmp_path / "data.jsonl", *rows), sequence_length=40)
