"""Files and shapes of rows that are understood, and what of them is learned."""

import gzip
import json
from datetime import UTC, datetime

import pyarrow
import pytest
from pyarrow import parquet
from workloads.lora.data import IGNORED, load_data
from workloads.lora.failure import Failure
from workloads.lora.model.tiny import tiny_tokenizer
from workloads.lora.settings import parse

NOW = datetime(2026, 1, 31, tzinfo=UTC)
WITH_TOOLS = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAIRS = [{"prompt": f"ask {i}", "response": f"answer {i}"} for i in range(10)]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def with_tools():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = WITH_TOOLS
    return tokenizer


def load(tokenizer, path, now=NOW, **training):
    asked = {"model": "m", "dataset": {"path": str(path)}, "training": training}
    return load_data(parse(json.dumps(asked)), tokenizer, now)


def written(path, *found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


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


ASKED = [("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
OPENAI = [{"role": role, "content": said} for role, said in ASKED]
SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": said} for role, said in ASKED]


@pytest.mark.parametrize("name", ["messages", "conversations"])
@pytest.mark.parametrize("turns", [OPENAI, SHAREGPT])
def test_every_turn_of_the_assistants_is_learned_with_its_end(tokenizer, tmp_path, name, turns):
    both = ["a<|im_end|>\n", "b<|im_end|>\n"]
    assert learned(tokenizer, tmp_path, {name: turns}) == [(chatml(*ASKED), both)]


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


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 3}'}}
CALLING = [
    OPENAI[0],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "7"},
    OPENAI[1],
]


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


def as_csv(rows):
    return "prompt,response\n" + "".join(f'"{row["prompt"]}","{row["response"]}"\n' for row in rows)


def as_parquet(path, rows):
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


FILES = {
    "data.jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "data.ndjson": lambda rows: "".join(json.dumps(row) + "\r\n" for row in rows),
    "data.json": lambda rows: json.dumps(rows, indent=1),
    "lines.json": lambda rows: "\n".join(json.dumps(row) for row in rows),
    "data.csv": as_csv,
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", FILES)
def test_the_same_rows_in_any_kind_of_file_are_the_same_data(tokenizer, tmp_path, name, mark, compressed):
    plain = load(tokenizer, written(tmp_path / "plain.jsonl", *PAIRS))
    data = mark + FILES[name](PAIRS).encode()
    path = tmp_path / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(data) if compressed else data)
    assert load(tokenizer, path) == plain


def test_rows_of_a_parquet_file_are_the_same_data(tokenizer, with_tools, tmp_path):
    plain = load(tokenizer, written(tmp_path / "plain.jsonl", *PAIRS))
    as_parquet(tmp_path / "data.parquet", PAIRS)
    assert load(tokenizer, tmp_path / "data.parquet") == plain
    # Arrow gives every object the fields of all of them.
    rows = [{"messages": CALLING, "tools": [TOOL]}, *({"messages": OPENAI, "tools": [TOOL]} for _ in range(9))]
    as_parquet(tmp_path / "calls.parquet", rows)
    one = {"sequence_length": 2048}
    assert load(with_tools, tmp_path / "calls.parquet", **one) == load(
        with_tools, written(tmp_path / "calls.jsonl", *rows), **one
    )


@pytest.mark.parametrize(
    ("name", "content", "where", "why"),
    [
        ("data.json", '[\n{"prompt": "a", "response": "b"},\n{"prompt": "a", "response": null}]', "line 3", "null"),
        ("data.json", '[{"prompt": "a",\n"response": "b"}\n{}]', "line 1", "neither a comma nor the end"),
        ("data.json", '[{"prompt": "a", "response": "b"},\n7]', "line 2", "not a JSON object but a number"),
        ("data.json", '[{"prompt": "a", "response": "b"},\n]', "line 2", "not a JSON object"),
        ("data.json", '[{"prompt": "a", "response": "b"}] {}', "line 1", "more follows"),
        ("data.json", '{"prompt": "a", "response": "b"} {}', "line 1", "more follows"),
        ("data.json", '{"data":\n[]}', "line 1", "not a JSON object"),
        ("data.csv", "prompt,response\na,b\na\n", "line 3", "has 1 fields under a header of 2"),
        ("data.csv", 'prompt,response\n"a\nb",c\na,b,c\n', "line 4", "has 3 fields"),
        ("data.csv", "prompt,prompt\n", "line 1", "'prompt' twice"),
        ("data.csv", 'prompt,response\na,"b', "line 2", "not CSV"),
        ("data.csv", b"prompt,response\na,\xff\n", "line 2", "not UTF-8"),
        ("data.jsonl", '{"prompt": "a", "response": "b"}\n'.encode("utf-16"), "line 1", "not UTF-8"),
    ],
)
def test_a_part_of_a_file_that_is_no_row_is_named_by_its_line(tokenizer, tmp_path, name, content, where, why):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Failure, match=rf"^UnknownDataset: '.*{name}', {where}: .*{why}"):
        load(tokenizer, tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("data.jsonl.gz", b"{}"), ("data.parquet", b"PAR1"), ("x.json", b"")])
def test_a_file_that_is_not_what_its_name_says_is_refused(tokenizer, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Failure, match=rf"^UnknownDataset: .*{name}"):
        load(tokenizer, tmp_path / name)


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
    assert [said.partition(":")[0] for said in data.left_out] == [
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


def test_a_revision_of_a_folder_is_refused(tokenizer, named):
    with pytest.raises(Failure, match=r"^BadConfig: dataset.revision: '.*' is a folder of this host"):
        prompts_of(tokenizer, name=named, config="plain", revision="v1")


def test_rows_that_are_all_cut_before_their_end_are_refused(tokenizer, tmp_path):
    rows = ({"prompt": f"p{i}", "response": "word " * 30} for i in range(20))
    with pytest.raises(Failure, match=r"100.0 % of the rows are not learned whole, and 5 % may be; cut 20 of 20"):
        load(tokenizer, written(tmp_path / "data.jsonl", *rows), sequence_length=40)


@pytest.fixture
def named(tmp_path):
    """A dataset by name with two configurations of two splits, as its card lays them out."""
    folder = tmp_path / "named"
    folder.mkdir()
    configs = []
    for config in ("plain", "polite"):
        files = []
        for split in ("train", "held_out"):
            rows = [{"prompt": f"{config} {split} {i}", "response": f"answer {i}"} for i in range(10)]
            written(folder / f"{config}-{split}.jsonl", *rows)
            files.append({"split": split, "path": f"{config}-{split}.jsonl"})
        configs.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    return str(folder)


def prompts_of(tokenizer, **dataset):
    data = load_data(parse(json.dumps({"model": "m", "dataset": dataset})), tokenizer, NOW)
    texts = [tokenizer.decode(example.ids) for example in [*data.train, *data.validation]]
    return sorted(text.partition("user\n")[2].partition("<|im_end|>")[0] for text in texts)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"config": "plain"}, [("plain", "train", range(10))]),
        ({"config": "polite", "split": "held_out"}, [("polite", "held_out", range(10))]),
        ({"config": "polite", "split": "train[:50%]"}, [("polite", "train", range(5))]),
        (
            {"config": "plain", "split": "train+held_out"},
            [("plain", "held_out", range(10)), ("plain", "train", range(10))],
        ),
    ],
)
def test_the_config_and_split_that_are_named_are_read(tokenizer, named, asked, expected):
    found = [f"{config} {split} {i}" for config, split, numbers in expected for i in numbers]
    assert prompts_of(tokenizer, name=named, **asked) == sorted(found)


@pytest.mark.parametrize(
    ("asked", "words"),
    [({}, "plain"), ({"config": "rude"}, "polite"), ({"config": "plain", "split": "test"}, "held_out")],
)
def test_a_config_or_split_that_is_not_there_is_refused_with_those_that_are(tokenizer, named, asked, words):
    with pytest.raises(Failure, match=rf"^UnknownDataset: cannot read dataset .*{words}"):
        prompts_of(tokenizer, name=named, **asked)
