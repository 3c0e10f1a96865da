"""The pure parts, by value: patches, JSONPath, selectors, pruning, ages, protobuf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeapi.errors import ApiError
from kubeapi.handlers import protobuf
from kubeapi.handlers.table import human_duration
from kubeapi.jsonpath import find
from kubeapi.patch import apply_json_patch, apply_merge_patch, apply_strategic_patch
from kubeapi.schema import apply_defaults, compile_pattern, compile_schema, prune
from kubeapi.selectors import all_of, match_label_selector, parse_labels


def test_a_merge_patch_removes_with_null_and_leaves_its_target_alone():
    target = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert apply_merge_patch(target, {"a": {"b": None}, "d": [2], "e": {"f": None}}) == {
        "a": {"c": 2},
        "d": [2],
        "e": {},
    }
    assert target == {"a": {"b": 1, "c": 2}, "d": [1]}


def test_a_strategic_patch_merges_the_lists_that_have_keys():
    target = {"conditions": [{"type": "Ready", "status": "False"}], "finalizers": ["a"], "data": {"x": "1", "y": "2"}}
    patch = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "finalizers": ["b"],
        "data": {"$patch": "replace", "z": "3"},
    }
    assert apply_strategic_patch(target, patch) == {
        "conditions": [{"type": "Ready", "status": "True"}],
        "finalizers": ["a", "b"],
        "data": {"z": "3"},
    }


def test_a_json_patch_whose_test_fails_is_rejected():
    with pytest.raises(ApiError, match="the server rejected our request"):
        apply_json_patch({"a": 1}, [{"op": "test", "path": "/a", "value": 2}])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".status.phase", ["Up"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[*].type", ["Ready", "Done"]),
        (r".metadata.labels.a\.b/c", ["x"]),
        (".metadata.labels['a.b/c']", ["x"]),
        (".nothing.here", []),
    ],
)
def test_a_jsonpath_finds(path, found):
    obj = {
        "metadata": {"labels": {"a.b/c": "x"}},
        "status": {"phase": "Up", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Done"}]},
    }
    assert find(obj, path) == found


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b", "c": "d"}, False),
        ("a in (x, y)", {"a": "y"}, True),
        ("a notin (x)", {}, True),
        ("!a", {}, True),
        ("a>5", {"a": "6"}, True),
        ("a.b/c", {"a.b/c": ""}, True),
    ],
)
def test_a_label_selector_matches(text, labels, matches):
    selector = all_of(parse_labels(text))
    assert selector({"metadata": {"labels": labels}}) is matches


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [("In", ["gold"], True), ("NotIn", ["gold"], False), ("Exists", [], True), ("DoesNotExist", [], False),
     ("Larger", ["a"], False)],
)  # fmt: skip
def test_a_label_selector_of_a_manifest_matches(operator, values, matches):
    selector = {
        "matchLabels": {"team": "a"},
        "matchExpressions": [{"key": "tier", "operator": operator, "values": values}],
    }
    assert match_label_selector(selector, {"team": "a", "tier": "gold"}) is matches
    assert match_label_selector(selector, {"team": "b", "tier": "gold"}) is False


def test_an_object_keeps_what_the_schema_names_and_gets_its_defaults():
    item = {"type": "object", "properties": {"open": {"type": "boolean", "default": True}}}
    schema = {"type": "object", "properties": {"ports": {"type": "array", "items": item}}}
    owner = {"kind": "Job", "name": "a", "uid": "1"}
    obj = {
        "kind": "W",
        "metadata": {"name": "a", "nmae": "b", "ownerReferences": [owner]},
        "ports": [{"oben": 1}],
        "x": 1,
    }
    node = compile_schema(schema)
    assert prune(node, obj, root=True) == ["metadata.nmae", "ports[0].oben", "x"]
    apply_defaults(node, obj)
    assert obj == {"kind": "W", "metadata": {"name": "a", "ownerReferences": [owner]}, "ports": [{"open": True}]}


@pytest.mark.parametrize("text", ["a=b=c", "a in x", "(", "a,,b"])
def test_a_label_selector_that_makes_no_sense_is_refused(text):
    with pytest.raises(ApiError, match="unable to parse requirement"):
        parse_labels(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (10800, "3h"), (11000, "3h3m"),
     (86400, "24h"), (180000, "2d2h"), (700000, "8d"), (70000000, "2y80d")],
)  # fmt: skip
def test_an_age_reads_as_kubectl_writes_it(seconds, text):
    assert human_duration(seconds) == text


def test_a_pattern_ends_where_the_text_ends():
    assert not compile_pattern("^a$").search("a\n")
    assert not compile_pattern(r"^a\z").search("a\n")
    assert compile_pattern(r"^[$a]\$$").search("$$")
    assert compile_pattern(r"^[]$\]]+$").search("$]")


@pytest.mark.parametrize(
    ("pattern", "fits", "differs"),
    [
        ("^(?i)(abort|warn)?$", "WARN", "warned"),
        ("^(a(?i)b)c$", "aBc", "aBC"),
        ("^(a|(?i)b|c)$", "C", "A"),
        (r"^\((?i)x\)$", "(X)", "x"),
        ("^[(?i)]$", "(", "I"),
    ],
)
def test_flags_hold_to_the_end_of_their_group(pattern, fits, differs):
    assert compile_pattern(pattern).search(fits)
    assert not compile_pattern(pattern).search(differs)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_protobuf_reader(data):
    with pytest.raises(ApiError):
        protobuf.read(b"k8s\x00" + data if data[:1] != b"\x0a" else data)
