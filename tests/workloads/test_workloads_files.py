"""Files of rows, and datasets by name, that are understood."""

import gzip
import json

import pyarrow
import pytest
from chat_rows import CALLING, OPENAI, PAIRS, TOOL, WITH_TOOLS, load, prompts_of, written
from pyarrow import parquet
from workloads.lora.failure import Failure
from workloads.lora.model.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def with_tools():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = WITH_TOOLS
    return tokenizer


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


def test_a_revision_of_a_folder_is_refused(tokenizer, named):
    with pytest.raises(Failure, match=r"^BadConfig: dataset.revision: '.*' is a folder of this host"):
        prompts_of(tokenizer, name=named, config="plain", revision="v1")
