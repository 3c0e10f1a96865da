"""How rows become chats, chats become tokens, and who sees which of them when."""

import copy
import json
import os
from datetime import UTC, datetime

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from workloads.lora.data import IGNORED, Data, Example, batch
from workloads.lora.data import load_data as load_data_at
from workloads.lora.data.chats import TINY_SAMPLES
from workloads.lora.data.messages import ROLES
from workloads.lora.failure import Failure
from workloads.lora.model.tiny import tiny_tokenizer
from workloads.lora.settings import Settings, parse


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def load_data(settings: Settings, tokenizer) -> Data:
    return load_data_at(settings, tokenizer, datetime(2026, 1, 31, tzinfo=UTC))


def settings(dataset: dict, **training) -> Settings:
    return parse(json.dumps({"model": "m", "dataset": dataset, "training": training}))


def rows(tmp_path, *found: dict) -> dict:
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return {"path": str(tmp_path / "data.jsonl")}


def texts(tokenizer, examples: list[Example]) -> list[str]:
    return [tokenizer.decode(e.ids) for e in examples]


def both(data) -> list[Example]:
    return [*data.train, *data.validation]


def test_a_fifth_is_held_back_and_the_seed_decides_which(tokenizer):
    name = {"name": "carbonfleet/tiny-instructions"}
    first, again, other = (load_data(settings(name, seed=seed), tokenizer) for seed in (1, 1, 2))
    assert len(first.validation) == pytest.approx(0.2 * TINY_SAMPLES, rel=0.05)
    assert len(both(first)) == TINY_SAMPLES
    assert first == again
    assert texts(tokenizer, first.validation) != texts(tokenizer, other.validation)


def test_responses_to_one_prompt_stay_on_one_side(tokenizer, tmp_path):
    found = [{"prompt": f"p{i // 2}", "response": f"r{i}"} for i in range(100)]
    data = load_data(settings(rows(tmp_path, *found)), tokenizer)
    parts = (data.train, data.validation)
    prompts = [{tokenizer.decode(e.ids[: -e.response_tokens]) for e in part} for part in parts]
    assert not prompts[0] & prompts[1]
    assert (len(data.train), len(data.validation)) == (80, 20)


def test_only_so_many_samples_are_drawn_by_seed(tokenizer, tmp_path):
    found = [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(50)]
    draws = [load_data(settings({**rows(tmp_path, *found), "samples": 20}, seed=seed), tokenizer) for seed in (1, 2)]
    assert [len(both(data)) for data in draws] == [20, 20]
    assert set(texts(tokenizer, both(draws[0]))) != set(texts(tokenizer, both(draws[1])))


def test_loss_is_on_the_response_alone(tokenizer, tmp_path):
    found = [{"prompt": "Say yes.", "response": "Yes."}, {"prompt": "Say no.", "response": "No."}] * 5
    example = load_data(settings(rows(tmp_path, *found)), tokenizer).train[0]
    laid = batch([[example], [Example([1] * 40, [IGNORED] + [1] * 39)]], 0, torch.device("cpu"))
    assert tokenizer.decode(laid.targets[:-39]) in ("Yes.<|im_end|>\n", "No.<|im_end|>\n")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            {
                "prompt": "hi\n\n<extra_id_1>Assistant\nyes?\n\n<extra_id_1>User\nbye",
                "response": "so long",
                "verbosity": 1,
            },
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes?<|im_end|>\n"
            "<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\nso long<|im_end|>\n",
        ),
        (
            {"instruction": "add", "input": "1 2", "output": "3"},
            "<|im_start|>user\nadd\n\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
        ),
    ],
)
def test_rows_of_the_known_shapes_become_chats(row, text, tokenizer, tmp_path):
    others = [{"prompt": f"p{i}", "response": "r"} for i in range(9)]
    assert text in texts(tokenizer, both(load_data(settings(rows(tmp_path, row, *others)), tokenizer)))


def test_a_dataset_by_name_is_loaded_by_the_datasets_library(tokenizer, tmp_path):
    """A folder is a name too, and needs no network."""
    (tmp_path / "named").mkdir()
    rows(tmp_path / "named", *({"prompt": f"p{i}", "response": f"r{i}"} for i in range(30)))
    data = load_data(settings({"name": str(tmp_path / "named"), "samples": 20}), tokenizer)
    assert (len(data.train), len(data.validation)) == (16, 4)


SHAPES = [
    {"prompt": "ask", "response": "answer", "system": "be brief"},
    {"instruction": "ask", "input": "this", "output": "answer"},
    {"question": "ask", "answer": "answer"},
    {"prompt": "ask", "completion": "answer"},
    {"messages": [{"role": role, "content": f"the {role}'s"} for role in ("system", "user", "assistant")]},
]
FIELDS = [(shape, (name,)) for shape in SHAPES for name in shape] + [
    (SHAPES[-1], ("messages", turn, *field)) for turn in range(3) for field in [(), ("role",), ("content",)]
]
TEXTS = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def is_unicode(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def may_train(path: tuple, value: object) -> bool:
    """Whether the field may hold that value."""
    if path[-1] in ("input", "system"):
        return value is None or (isinstance(value, str) and is_unicode(value))
    if path[-1] == "role":
        return value in [("system", "user", "tool"), ROLES, ("assistant",)][path[1]]
    return path[-1] != "messages" and not isinstance(path[-1], int) and isinstance(value, str) and is_unicode(value)


def as_trained(path: tuple, value: str) -> str:
    """The field as the tokens say it."""
    if path[-1] == "role":
        return f"<|im_start|>{value}\n" + ("the " if path[1] == 0 else f"the {ROLES[path[1]]}'s")
    return f"\n{value}" + ("\n\nthis" if path == ("instruction",) else "") + "<|im_end|>"


@given(st.sampled_from(FIELDS), VALUES)
@example((SHAPES[0], ("response",)), None)
@example((SHAPES[0], ("response",)), "")
@example((SHAPES[0], ("response",)), {"role": "assistant", "content": "a"})
@example((SHAPES[3], ("completion",)), [{"role": "user", "content": "a"}])
@example((SHAPES[4], ("messages", 2, "content")), [{"type": "image_url", "image_url": {"url": "https://a/b"}}])
@example((SHAPES[4], ("messages", 0, "role")), "assistant")
@example((SHAPES[4], ("messages", 2, "role")), "user")
@example((SHAPES[0], ("prompt",)), "half of \ud83d")
@example((SHAPES[0], ("response",)), float("nan"))
@example((SHAPES[1], ("input",)), 0)
def test_any_value_in_any_field_is_trained_as_it_stands_or_refused_with_its_line(tokenizer, folder, field, value):
    shape, path = field
    row = copy.deepcopy(shape)
    inner = row
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    dataset = rows(folder, *({"prompt": f"p{i}", "response": "r"} for i in range(9)), row)
    dataset["max_dropped_percent"] = 10
    if not may_train(path, value):
        with pytest.raises(Failure, match=r"UnknownDataset: '.*data.jsonl', line 10: .*Correct the row or remove it"):
            load_data(settings(dataset), tokenizer)
        return
    data = load_data(settings(dataset), tokenizer)
    if path[-1] in ("response", "output", "answer", "completion", "content") and path != ("messages", 0, "content"):
        answers = path[-1] != "content" or path[1] == 2
        if answers and not value.strip():
            [left_out] = data.warnings
            assert left_out.endswith(f"whose response is empty: the first is {dataset['path']!r}, line 10")
            return
    assert data.warnings == ()
    assert len(both(data)) == 10
    if value or path[-1] not in ("input", "system"):
        assert sum(as_trained(path, value) in text for text in texts(tokenizer, both(data))) == 1


@given(VALUES.filter(lambda value: not isinstance(value, dict)))
def test_a_line_that_is_no_object_is_refused_with_its_number(tokenizer, folder, value):
    refused(tokenizer, folder, json.dumps(value).encode(), "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not a JSON object"),
        (b'{"prompt": "a", "response": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "response": "b", "more": NaN}', "NaN is no JSON"),
        (b'{"prompt": "a", "response": "b", "response": "c"}', "'response' stands there twice"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"prompt": "a", "response": ' + b"1" * 5000 + b"}", "not a JSON object"),
        (b"{}", r"columns \[\]: expected prompt and response, or messages"),
        (b'{"prompt": "a"}', r"columns \['prompt'\]"),
        (b'{"prompt": null, "response": null}', "expected prompt and response"),
        (b'{"messages": [{"role": "assistant", "content": "a"}]}', "expected a question and its answer"),
        (
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
            "ends with the user's turn",
        ),
        (
            b'{"messages": [{"role": "user", "content": "a"}, '
            b'{"role": "assistant", "content": "", "tool_calls": [1]}]}',
            "messages.1..tool_calls.0. is a number, not an object that names a function",
        ),
        (
            b'{"system": "a", "messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            "system and messages.0. both hold a system message",
        ),
    ],
)
def test_a_line_that_cannot_be_trained_says_why(line, why, tokenizer, tmp_path):
    refused(tokenizer, tmp_path, line, why)


def refused(tokenizer, folder, line: bytes, why: str) -> None:
    (folder / "data.jsonl").write_bytes(b'\n{"prompt": "a", "response": "b"}\n' + line + b"\n")
    with pytest.raises(Failure, match=rf"UnknownDataset: '.*data.jsonl', line 3: .*{why}"):
        load_data(settings({"path": str(folder / "data.jsonl")}), tokenizer)


def test_a_byte_order_mark_is_no_part_of_the_first_row(tokenizer, tmp_path):
    dataset = rows(tmp_path, *({"prompt": f"p{i}", "response": f"r{i}"} for i in range(10)))
    plain = load_data(settings(dataset), tokenizer)
    file = tmp_path / "data.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_data(settings(dataset), tokenizer) == plain


def test_a_row_of_a_dataset_by_name_is_refused_by_its_number(tokenizer, tmp_path):
    (tmp_path / "named").mkdir()
    rows(tmp_path / "named", *({"prompt": f"p{i}", "response": None if i == 7 else "r"} for i in range(9)))
    with pytest.raises(Failure, match=r"UnknownDataset: dataset '.*named', row 7 from 0: response is null, not a text"):
        load_data(settings({"name": str(tmp_path / "named")}), tokenizer)


def test_a_chat_that_the_models_template_refuses_is_refused(tokenizer, tmp_path):
    strict = copy.copy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Failure, match=r"UnknownDataset: .*, row \d+ .*: .* refuses it: roles must alternate"):
        load_data(settings({"name": "carbonfleet/tiny-instructions"}), strict)


def test_rows_below_the_wanted_helpfulness_are_left_out(tokenizer, tmp_path):
    found = [{"prompt": f"p{i}", "response": f"r{i}", "helpfulness": i % 5} for i in range(50)]
    data = load_data(settings({**rows(tmp_path, *found), "minimum_helpfulness": 3}), tokenizer)
    assert len(both(data)) == 20


@pytest.mark.parametrize("value", [None, True, "4", [4], {}, float("nan"), float("inf")])
def test_a_helpfulness_that_is_no_number_is_refused_where_it_counts(value, tokenizer, tmp_path):
    found = [{"prompt": f"p{i}", "response": f"r{i}", "helpfulness": value if i == 3 else 4} for i in range(9)]
    dataset = rows(tmp_path, *found)
    with pytest.raises(Failure, match=r"UnknownDataset: '.*data.jsonl', line 4: "):
        load_data(settings({**dataset, "minimum_helpfulness": 3}), tokenizer)


def test_a_response_cut_off_whole_is_left_out_and_counted(tokenizer, tmp_path):
    found = [{"prompt": f"p{i} " + "long " * 50 * (i % 2), "response": "r"} for i in range(20)]
    dataset = rows(tmp_path, *found)
    data = load_data(settings({**dataset, "max_dropped_percent": 50}, sequence_length=40), tokenizer)
    assert len(both(data)) == 10
    said = "dropped 10 of 20 rows, whose response sequence_length 40 cuts off whole: the first is "
    assert data.warnings[0].startswith(said)
    assert data.counts.rows_dropped == {"ResponseCutOff": 10}
    with pytest.raises(Failure, match=f"50.0 % of the rows are not learned whole, and 49.9 % may be; {said}"):
        load_data(settings({**dataset, "max_dropped_percent": 49.9}, sequence_length=40), tokenizer)
    with pytest.raises(Failure, match="leaves 0 samples to train on and 0 to validate with, of 20; dropped 20 of 20"):
        load_data(settings({**dataset, "max_dropped_percent": 100}, sequence_length=8), tokenizer)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_path_that_is_no_file_is_refused_and_never_read(tokenizer, tmp_path, make):
    path = tmp_path / "data.jsonl"
    make(path)
    with pytest.raises(Failure, match=r"UnknownDataset: '.*data.jsonl' is a folder or a device"):
        load_data(settings({"path": str(path)}), tokenizer)
