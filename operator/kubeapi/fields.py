"""Sets of field paths, kept as the tries that `managedFields` holds (FieldsV1).

A trie maps path elements (`f:name`, `k:{"type":"Ready"}`, `v:"a"`) to tries. A node is a member of the set if
it is empty or holds `.`; an empty root is the empty set. The algorithms follow
sigs.k8s.io/structured-merge-diff.
"""

from typing import Final

from kubeapi.schema import ANYTHING, Node, compile_schema
from kubeapi.values import Json, Obj, decode, encode, quoted

Trie = dict[str, "Trie"]

_STRINGS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA: Final = compile_schema(
    {
        "type": "object",
        "properties": {
            "labels": _STRINGS,
            "annotations": _STRINGS,
            "generateName": {"type": "string"},
            "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "ownerReferences": {
                "type": "array",
                "items": {"type": "object", "x-kubernetes-map-type": "atomic"},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
            },
        },
    }
)
_SERVER_OWNED: Final = frozenset(
    [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ]
)


def root_of(node: Node) -> Node:
    """A resource's schema with the metadata that every object has."""
    return Node(
        type="object",
        properties={**node.properties, "metadata": METADATA},
        additional=node.additional,
        preserve=node.preserve,
    )


def without_server_fields(obj: Obj) -> Obj:
    """The parts of an object that managers own."""
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVER_OWNED}
    rest.pop("metadata", None)
    return {**rest, "metadata": meta} if meta else rest


def set_of(node: Node, value: Json, *, added: bool = False) -> Trie:
    """The fields of `value`. `added` makes every map and list a member too, as for a value that is new."""
    if isinstance(value, dict) and value and not node.atomic_map:
        return _set_of_map(node, value, added)
    if isinstance(value, list) and value and node.list_type != "atomic":
        return _set_of_list(node, value, added)
    return {}


def _set_of_map(node: Node, value: Obj, added: bool) -> Trie:
    out: Trie = {".": {}} if added else {}
    for name, part in value.items():
        child = node.properties.get(name)
        below = set_of(child or node.additional or ANYTHING, part, added=added)
        if child is None and below and "." not in below:
            below = {".": {}, **below}
        out[f"f:{name}"] = below
    return out


def _set_of_list(node: Node, value: list[Json], added: bool) -> Trie:
    out: Trie = {".": {}} if added else {}
    for item in value:
        below = set_of(node.items or ANYTHING, item, added=added)
        out[element_of(node, item)] = {".": {}, **below} if below else below
    return out


def element_of(node: Node, item: Json) -> str:
    """The path element of a set's value or a list-map's item."""
    if node.list_type == "map" and isinstance(item, dict):
        return "k:" + encode({key: item[key] for key in sorted(node.map_keys) if key in item}).decode()
    return "v:" + encode(item).decode()


def changes(node: Node, old: Json, new: Json) -> tuple[Trie | None, Trie | None]:
    """The fields that were added or modified, and those that were removed; None where there are none."""
    if old == new and type(old) is type(new):
        return None, None
    if isinstance(old, dict) and isinstance(new, dict) and not node.atomic_map:
        pairs = [
            (f"f:{name}", node.child(name) or ANYTHING, old.get(name, _ABSENT), new.get(name, _ABSENT))
            for name in {**old, **new}
        ]
        return _gather(pairs)
    if isinstance(old, list) and isinstance(new, list) and node.list_type != "atomic":
        before = {element_of(node, item): item for item in old}
        after = {element_of(node, item): item for item in new}
        child = node.items or ANYTHING
        pairs = [(e, child, before.get(e, _ABSENT), after.get(e, _ABSENT)) for e in {**before, **after}]
        return _gather(pairs)
    return {}, None


_ABSENT: Final = object()


def _gather(pairs: list[tuple[str, Node, Json, Json]]) -> tuple[Trie | None, Trie | None]:
    touched: Trie = {}
    removed: Trie = {}
    for element, node, old, new in pairs:
        if old is _ABSENT:
            touched[element] = set_of(node, new, added=True)
        elif new is _ABSENT:
            removed[element] = set_of(node, old, added=True)
        else:
            there, gone = changes(node, old, new)
            if there is not None:
                touched[element] = there
            if gone is not None:
                removed[element] = gone
    return touched or None, removed or None


def is_member(trie: Trie) -> bool:
    """Whether the path that leads to this node is in the set itself."""
    return not trie or "." in trie


def _node(member: bool, children: Trie) -> Trie | None:
    if not children:
        return {} if member else None
    return {".": {}, **children} if member else children


def _minus(a: Trie, b: Trie) -> Trie | None:
    children: Trie = {}
    for element, below in a.items():
        if element == ".":
            continue
        left = _minus(below, b[element]) if element in b else below
        if left is not None:
            children[element] = left
    return _node(is_member(a) and not is_member(b), children)


def _and(a: Trie, b: Trie) -> Trie | None:
    children: Trie = {}
    for element in a.keys() & b.keys() - {"."}:
        both = _and(a[element], b[element])
        if both is not None:
            children[element] = both
    return _node(is_member(a) and is_member(b), children)


def _or(a: Trie, b: Trie) -> Trie:
    children = {e: _or(below, b[e]) if e in b else below for e, below in a.items() if e != "."}
    children |= {e: below for e, below in b.items() if e != "." and e not in a}
    return _node(is_member(a) or is_member(b), children) or {}


def _root(trie: Trie | None) -> Trie:
    return {element: below for element, below in (trie or {}).items() if element != "."}


def difference(a: Trie, b: Trie) -> Trie:
    """The members of `a` that are not members of `b`."""
    return _root(_minus(a, b)) if a and b else a


def intersection(a: Trie, b: Trie) -> Trie:
    """The members of both."""
    return _root(_and(a, b)) if a and b else {}


def union(a: Trie, b: Trie) -> Trie:
    """The members of either."""
    if not a or not b:
        return a or b
    return _root(_or(a, b))


def paths(trie: Trie, prefix: str = "") -> list[str]:
    """The members as paths a person can read, such as `.spec.ports[name="http"]`."""
    found: list[str] = []
    for element in sorted(trie):
        if element == ".":
            continue
        path = prefix + _shown(element)
        if is_member(trie[element]):
            found.append(path)
        found.extend(paths(trie[element], path))
    return found


def _shown(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    value = decode(rest)
    if kind == "v":
        return f"[={encode(value).decode()}]"
    keys = (f"{key}={quoted(v) if isinstance(v, str) else encode(v).decode()}" for key, v in value.items())
    return f"[{','.join(keys)}]"
