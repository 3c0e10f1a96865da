"""Who owns which field, on worked examples: field sets, entries, and what an apply takes, keeps and refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeapi.errors import ApiError
from kubeapi.managedfields import Writer, apply, record_create, record_update
from kubeapi.managedfields.fieldset import changes, fields_of, readable, set_of, trie_of
from kubeapi.schema import compile_schema

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"x"'])


@given(st.sets(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)))
def test_a_set_of_fields_survives_its_trie(fields):
    assert fields_of(trie_of(fields)) == fields


def test_a_field_is_a_member_beside_those_below_it():
    assert trie_of({("f:a",), ("f:a", "f:b"), ("f:c", "f:d")}) == {"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}


PORTS = compile_schema(
    {
        "type": "object",
        "properties": {
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}},
            },
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "plain": {"type": "array", "items": {"type": "string"}},
        },
    }
)


def test_lists_are_owned_by_item_value_or_whole_as_the_schema_says():
    value = {"ports": [{"name": "http", "port": 80}], "tags": ["a"], "plain": ["x", "y"]}
    assert readable(set_of(PORTS, value)) == [
        ".plain",
        '.ports[name="http"]',
        '.ports[name="http"].name',
        '.ports[name="http"].port',
        '.tags[="a"]',
    ]


def test_a_change_names_what_was_touched_and_what_went():
    old = {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "plain": ["x"]}
    new = {"ports": [{"name": "a", "port": 3}], "plain": ["x"], "tags": ["t"]}
    touched, removed = changes(PORTS, old, new)
    assert readable(touched) == ['.ports[name="a"].port', ".tags", '.tags[="t"]']
    assert readable(removed) == ['.ports[name="b"]', '.ports[name="b"].name', '.ports[name="b"].port']


def widget(**fields) -> dict:
    return {"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "a"}, **fields}


def owners(obj: dict) -> dict[str, list[str]]:
    """Manager and operation to the fields it owns."""
    entries = obj["metadata"].get("managedFields", [])
    return {f"{e['manager']} {e['operation']}": readable(fields_of(e["fieldsV1"])) for e in entries}


def applied(live: dict | None, manager: str, force=False, **fields) -> dict:
    return apply(PORTS, live, widget(**fields), Writer(manager, "v1", "2026-01-01T00:00:00Z"), force=force, reset=())


def test_whoever_changes_a_field_takes_it_from_its_owner():
    live = widget(plain=["x"], tags=["a"])
    record_create(PORTS, live, Writer("anna", "v1", "t1"))
    new = {**widget(plain=["y"], tags=["a"]), "metadata": {"name": "a"}}
    record_update(PORTS, live, new, Writer("bert", "v1", "t2"))
    assert owners(new) == {"anna Update": [".tags", '.tags[="a"]'], "bert Update": [".plain"]}


def test_the_oldest_writers_become_one():
    live = widget(tags=[])
    for number in range(12):
        new = {**widget(tags=[*live["tags"], f"t{number:02}"]), "metadata": {"name": "a"}}
        record_update(PORTS, live, new, Writer(f"w{number:02}", "v1", f"t{number:02}"))
        live = new
    assert list(owners(live)) == ["ancient-changes Update", *(f"w{number:02} Update" for number in range(3, 12))]
    assert owners(live)["ancient-changes Update"] == ['.tags[="t00"]', '.tags[="t01"]', '.tags[="t02"]']


def test_an_apply_removes_what_it_no_longer_names_but_for_what_others_own():
    live = applied(None, "anna", ports=[{"name": "http", "port": 80}, {"name": "ssh", "port": 22}])
    live = applied(live, "bert", ports=[{"name": "ssh"}])
    live = applied(live, "anna", ports=[])
    assert live["ports"] == [{"name": "ssh"}]
    assert owners(live)["bert Apply"] == ['.ports[name="ssh"]', '.ports[name="ssh"].name']


def test_an_apply_of_what_another_owns_is_a_conflict_unless_forced():
    live = applied(None, "anna", ports=[{"name": "http", "port": 80}])
    with pytest.raises(ApiError, match=r'conflict with "anna": \.ports\[name="http"\]\.port$'):
        applied(live, "bert", ports=[{"name": "http", "port": 81}])
    forced = applied(live, "bert", force=True, ports=[{"name": "http", "port": 81}])
    assert forced["ports"] == [{"name": "http", "port": 81}]
    assert owners(forced) == {
        "anna Apply": ['.ports[name="http"]', '.ports[name="http"].name'],
        "bert Apply": ['.ports[name="http"]', '.ports[name="http"].name', '.ports[name="http"].port'],
    }


def test_two_may_apply_the_same_value():
    live = applied(None, "anna", plain=["x"])
    assert owners(applied(live, "bert", plain=["x"])) == {"anna Apply": [".plain"], "bert Apply": [".plain"]}
