"""Sets of field paths, and the tries (FieldsV1) in which `managedFields` holds them.

A path is a tuple of elements (`f:name`, `k:{"type":"Ready"}`, `v:"a"`); the root's, which is empty, is no
member of a set that is kept. Which paths an object has follows sigs.k8s.io/structured-merge-diff.
"""

from typing import Final

from kubeapi.objects import Json, Obj, decode, encode, shown
from kubeapi.schema import ANYTHING, Node

Path = tuple[str, ...]
FieldSet = set[Path]
Trie = dict[str, "Trie"]

_ABSENT: Final = object()


def set_of(node: Node, value: Json, path: Path = (), *, added: bool = False) -> FieldSet:
    """The fields of `value`. `added` makes every map and list a member too, as for a value that is new."""
    if isinstance(value, dict) and value and not node.atomic_map:
        # A name that the schema lacks is a member itself, since nothing says what may stand below it.
        parts = [
            (f"f:{name}", node.child(name) or ANYTHING, part, name not in node.properties)
            for name, part in value.items()
        ]
    elif isinstance(value, list) and value and node.list_type != "atomic":
        parts = [(element_of(node, item), node.items or ANYTHING, item, True) for item in value]
    else:
        return {path}
    found = {path} if added else set()
    for element, child, part, is_member in parts:
        found |= set_of(child, part, (*path, element), added=added)
        if is_member:
            found.add((*path, element))
    return found


def element_of(node: Node, item: Json) -> str:
    """The path element of a set's value or a list-map's item."""
    if node.list_type == "map" and isinstance(item, dict):
        return "k:" + encode({key: item[key] for key in sorted(node.map_keys) if key in item}).decode()
    return "v:" + encode(item).decode()


def changes(node: Node, old: Json, new: Json, path: Path = ()) -> tuple[FieldSet, FieldSet]:
    """The fields that were added or modified, and those that were removed."""
    if old == new and type(old) is type(new):
        return set(), set()
    before, after = _parts(node, old), _parts(node, new)
    if before is None or after is None or type(old) is not type(new):
        return {path}, set()
    touched: FieldSet = set()
    removed: FieldSet = set()
    for element in {**before, **after}:
        child, there = before.get(element, (ANYTHING, _ABSENT))
        child, here = after.get(element, (child, _ABSENT))
        below = (*path, element)
        if there is _ABSENT:
            touched |= set_of(child, here, below, added=True)
        elif here is _ABSENT:
            removed |= set_of(child, there, below, added=True)
        else:
            modified, gone = changes(child, there, here, below)
            touched |= modified
            removed |= gone
    return touched, removed


def _parts(node: Node, value: Json) -> dict[str, tuple[Node, Json]] | None:
    """What is owned apart inside a value, each under its path element; None where the value is owned whole."""
    if isinstance(value, dict) and not node.atomic_map:
        return {f"f:{name}": (node.child(name) or ANYTHING, part) for name, part in value.items()}
    if isinstance(value, list) and node.list_type != "atomic":
        return {element_of(node, item): (node.items or ANYTHING, item) for item in value}
    return None


def trie_of(fields: FieldSet) -> Trie:
    """FieldsV1: a node is a member if it is empty or holds `.`."""
    trie: Trie = {}
    for path in sorted(fields - {()}):
        node = trie
        for depth, element in enumerate(path):
            if depth and not node and path[:depth] in fields:
                node["."] = {}
            node = node.setdefault(element, {})
    return trie


def is_member(trie: Trie) -> bool:
    """Whether the path that leads to this node is in the set itself."""
    return not trie or "." in trie


def fields_of(trie: Obj, path: Path = ()) -> FieldSet:
    """The members of a trie that a client may have written: what makes no sense in it is passed over."""
    found: FieldSet = set()
    for element, below in trie.items():
        here = (*path, element)
        if element != "." and isinstance(below, dict):
            found |= fields_of(below, here)
            if is_member(below):
                found.add(here)
    return found


def readable(fields: FieldSet) -> list[str]:
    """The members as a person reads them, such as `.spec.ports[name="http"]`."""
    return ["".join(map(_readable, path)) for path in sorted(fields)]


def _readable(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    value = decode(rest) if kind == "k" else rest
    if not isinstance(value, dict):
        return f"[={rest}]"
    return f"[{','.join(f'{key}={shown(part)}' for key, part in value.items())}]"
