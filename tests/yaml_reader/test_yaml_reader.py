"""The one reader of YAML: what scalars mean, what is refused and where, and that nothing else ever comes out."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carbonfleet.api.wire import Wire
from carbonfleet.yaml_reader import MOST_BYTES, FileInvalid, FileProblem, blaming, read_document, read_documents
from fixtures.odd_yaml import ODD, scalars


def value_of(text: str):
    return read_document("a.yaml", f"a: {text}\n").data["a"]


def refusal_of(content: bytes | str) -> tuple[FileProblem, ...]:
    with pytest.raises(FileInvalid) as caught:
        read_documents("a.yaml", content)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("NO", False),
        ("~", None),
        ("", None),
        ("017", 15),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+1.5", 1.5),
        ("1.0e+3", 1000.0),
        ("1e3", 1000.0),
        ("1e-4", 0.0001),
        ("12_3E2", 12300.0),
        (".5e1", 5.0),
        ("1e999", "1e999"),
        ("08", 8),
        ("0o17", 15),
        ("1__0", 10),
        ("y", True),
        ("N", False),
        ("0x_", "0x_"),
        ("1:30", "1:30"),
        ("2026-02-28", "2026-02-28"),
        ("2026-02-30", "2026-02-30"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("=", "="),
        ("'017'", "017"),
        ('"yes"', "yes"),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_scalars_mean_what_kubernetes_reads(text, value):
    found = value_of(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "line", "column", "says"),
    [
        ("a: 1\nb: !!int 1k\n", 2, 4, "tags (tag:yaml.org,2002:int) are not allowed; quote what is text"),
        ("a: !!bool maybe", 1, 4, "tags (tag:yaml.org,2002:bool) are not allowed; quote what is text"),
        ("a: &x [1]\nb: *x\n", 2, 4, "aliases (*name) are not allowed"),
        ("<<: {a: 1}\n", 1, 1, "merge keys (<<) are not allowed; write it out"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "a is written twice; keep one"),
        ("a:\n  - {b: 1, b: 2}\n", 2, 12, "b is written twice; keep one"),
        ("? [a]\n: 1\n", 1, 3, "a key must be text, not a list or a mapping"),
        ("a: .nan\n", 1, 4, ".nan is no number that fits; put it in quotes if it is text"),
        ("a: 9223372036854775808", 1, 4, "9223372036854775808 is no number that fits; put it in quotes if it is text"),
        ("a: " + "9" * 5000, 1, 4, "9" * 24 + "... is no number that fits; put it in quotes if it is text"),
        ("a: [\n", 2, 1, "not YAML: did not find expected node content"),
        ("a: 1\nb: \x01\n", 2, None, "not readable as YAML: control characters are not allowed (U+0001)"),
        (b"a: 1\nb: \xff\n", 2, None, "not readable as YAML: byte 8 is not UTF-8; save it as UTF-8"),
        ("[" * 100_000, 1, 66, "nested deeper than 64"),
        ("- " * 100_000, 1, 131, "nested deeper than 64"),
        ("[" + "1," * 60_000 + "1]", 1, 100_000, "holds more than 50000 values"),
        ("#" * (MOST_BYTES + 1), 1, None, f"larger than {MOST_BYTES} bytes"),
        ("? " + "k" * 2000 + "\n: 1\n", 1, 3, "a key is longer than 1024 characters"),
    ],
)
def test_what_is_refused_is_named_with_line_and_column(content, line, column, says):
    assert refusal_of(content) == (FileProblem("a.yaml", line, says, column),)


def test_a_message_holds_nothing_that_a_terminal_obeys():
    [problem] = refusal_of('"\\e[2J": 1\n"\\e[2J": 2\n')
    assert str(problem) == "a.yaml:2: \\x1b[2J is written twice; keep one"


def test_laughs_by_the_billion_are_refused_at_the_first_alias():
    lines = ["a0: &a0 [lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    assert refusal_of("\n".join(lines)) == (FileProblem("a.yaml", 2, "aliases (*name) are not allowed", 10),)


def test_keys_are_read_as_they_are_written():
    assert read_document("a.yaml", "on: 1\n2: 3\n~: 4\n2026-02-30: 5\n").data == {
        "on": 1,
        "2": 3,
        "~": 4,
        "2026-02-30": 5,
    }


def test_documents_are_counted_but_for_the_empty_ones():
    assert [each.data for each in read_documents("a.yaml", "---\na: 1\n---\n---\n- b\n")] == [{"a": 1}, ["b"]]
    assert read_documents("a.yaml", b"\xef\xbb\xbf# nothing\n") == ()
    with pytest.raises(FileInvalid, match=r"a\.yaml:1: holds 2 YAML documents; write exactly one"):
        read_document("a.yaml", "a\n---\nb\n")


class Slip(Wire):
    """A model whose validator has a fault of its own."""

    a: int

    def model_post_init(self, _context: object) -> None:
        """Fails as no validator should."""
        raise ZeroDivisionError("a slip")


def test_a_fault_of_a_model_is_the_files_problem():
    with pytest.raises(FileInvalid) as caught:
        read_document("a.yaml", "a: 1\n").read_as(Slip)
    assert caught.value.problems == (FileProblem("a.yaml", 1, "can't be read: ZeroDivisionError: a slip"),)


def test_problems_that_are_named_already_keep_their_line():
    named = FileProblem("a.yaml", 7, "wrong")
    with pytest.raises(FileInvalid) as caught, blaming("a.yaml"):
        raise FileInvalid(named)
    assert caught.value.problems == (named,)


def check(content: bytes | str) -> None:
    """Either JSON values come out, or problems of this file on lines that it may have."""
    problems: tuple[FileProblem, ...] = ()
    try:
        json.dumps([each.data for each in read_documents("a.yaml", content)], allow_nan=False)
    except FileInvalid as error:
        problems = error.problems
    for problem in problems:
        assert (problem.path, problem.line >= 1) == ("a.yaml", True)
        assert (str(problem).isprintable(), len(str(problem)) < 1100) == (True, True)


documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(scalars, inner), max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items) + "}"
        ),
        st.lists(st.tuples(scalars, inner), max_size=3).map(
            lambda items: "\n".join(f"{key}:\n  {value}" for key, value in items)
        ),
    ),
    max_leaves=8,
)
inputs = st.one_of(st.binary(max_size=200), st.text(max_size=100), documents)


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_scalar_is_a_value_or_a_problem_anywhere(odd):
    for shape in ("{}", "a: {}", "{}: 1", "- {}", "[{}]", "a: {{b: {}}}", "a: |\n  {}", "--- {}\n--- {}"):
        check(shape.replace("{}", odd))


@given(inputs)
@example(b"\xff\xfe\x00")
@settings(max_examples=300)
def test_nothing_but_values_and_problems_comes_out(content):
    check(content)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(200))  # Hypothesis remembers all examples of a test
@given(content=inputs)
@settings(max_examples=1000)
def test_nothing_but_values_and_problems_comes_out_of_many(batch, content):
    check(content)
