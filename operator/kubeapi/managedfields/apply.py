"""Server-side apply: merging a configuration into a live object, and giving its fields to the applier."""

from typing import Final

from kubeapi.errors import ApiError
from kubeapi.managedfields.entries import Entry, Writer, entries_of, owned_fields, store_entries, without_server_fields
from kubeapi.managedfields.fieldset import FieldSet, Trie, changes, element_of, is_member, readable, trie_of
from kubeapi.objects import Json, Obj, decode, encode, quoted
from kubeapi.schema import ANYTHING, Node

_KUBECTL: Final = "kubectl"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def apply(root: Node, live: Obj | None, config: Obj, writer: Writer, *, force: bool, reset: tuple[str, ...]) -> Obj:
    """Merge an applied configuration into the live object and record what the applier owns.

    `reset` names top-level fields that this subresource does not write. Raises a 409 with one cause for each
    field that another manager owns with another value, unless `force`.
    """
    ownable = {key: value for key, value in without_server_fields(config).items() if key not in reset}
    wanted = owned_fields(root, ownable)
    if live is None:
        made = {**config, "metadata": dict(config["metadata"])}
        store_entries(made, [Entry(writer, "Apply", wanted)])
        return made
    entries = entries_of(live["metadata"].get("managedFields")) or [_before_first_apply(root, live, writer)]
    mine = next((entry for entry in entries if entry.is_of(writer, "Apply")), None)
    others = [entry for entry in entries if entry is not mine]
    merged: Obj = _merge(root, live, ownable)
    if mine is not None:
        kept = wanted.union(*(entry.fields for entry in others))
        _remove(root, merged, trie_of(mine.fields - wanted), trie_of(kept))
    touched, removed = changes(root, without_server_fields(live), without_server_fields(merged))
    allowed = _last_applied(root, live) if writer.manager == _KUBECTL else set()
    conflicts = [(entry, (entry.fields & touched) - allowed) for entry in others]
    if not force and any(fields for _, fields in conflicts):
        raise _conflict(conflicts)
    if allowed:
        merged["metadata"] = _with_last_applied(merged["metadata"], config)
    same = mine is not None and mine.fields == wanted and not touched and not removed
    applied = mine if same and mine else Entry(writer, "Apply", wanted)
    store_entries(merged, [*(entry.without(touched, removed) for entry in others), applied])
    return merged


def _before_first_apply(root: Node, live: Obj, writer: Writer) -> Entry:
    then = live["metadata"].get("creationTimestamp") or writer.time
    return Entry(Writer("before-first-apply", writer.api_version, then), "Update", owned_fields(root, live))


def _last_applied(root: Node, live: Obj) -> FieldSet:
    """The fields that a client-side apply owned before: kubectl may take them over without a conflict."""
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED)
    try:
        before = decode(text) if text else {}
    except ValueError:
        return set()
    return owned_fields(root, before, added=True) if isinstance(before, dict) else set()


def _with_last_applied(meta: Obj, config: Obj) -> Obj:
    text = encode(config).decode() + "\n"
    return {**meta, "annotations": {**(meta.get("annotations") or {}), _LAST_APPLIED: text}}


def _conflict(conflicts: list[tuple[Entry, FieldSet]]) -> ApiError:
    found = sorted((_described(entry), path) for entry, fields in conflicts for path in readable(fields))
    if len(found) == 1:
        text = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines = []
        for manager in sorted({manager for manager, _ in found}):
            lines.append(f"conflicts with {manager}:")
            lines.extend(f"- {path}" for who, path in found if who == manager)
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for who, path in found
    ]
    return ApiError(409, "Conflict", text, {"causes": causes})


def _described(entry: Entry) -> str:
    writer, text = entry.writer, quoted(entry.writer.manager)
    if writer.subresource:
        text += f" with subresource {quoted(writer.subresource)}"
    if entry.operation == "Update":
        text += f" using {writer.api_version}" + (f" at {writer.time}" if writer.time else "")
    return text


def _merge(node: Node, live: Json, config: Json) -> Json:
    """`config` laid over `live`: maps by key, list-maps by their keys, sets by value, all else replaced."""
    if isinstance(live, dict) and isinstance(config, dict) and not node.atomic_map:
        merged = dict(live)
        for name, value in config.items():
            merged[name] = _merge(node.child(name) or ANYTHING, live[name], value) if name in live else value
        return merged
    if isinstance(live, list) and isinstance(config, list) and node.list_type != "atomic":
        items = {element_of(node, item): item for item in live}
        for item in config:
            element = element_of(node, item)
            items[element] = _merge(node.items or ANYTHING, items[element], item) if element in items else item
        return list(items.values())
    return config


def _remove(node: Node, value: Json, gone: Trie, kept: Trie) -> None:
    """Take out, in place, what the applier no longer names and nobody else owns. `value` is not shared."""
    for element, below in gone.items():
        where = _find(node, value, element) if element != "." else None
        if where is None:
            continue
        place, child = where
        others = kept.get(element)
        if others is None and is_member(below):
            del value[place]
            continue
        part = value[place]
        if isinstance(part, (dict, list)) and (below.keys() - {"."}):
            value[place] = part = part.copy()
            _remove(child, part, below, others or {})
            if not part and others is None:
                del value[place]


def _find(node: Node, value: Json, element: str) -> tuple[Json, Node] | None:
    if isinstance(value, dict):
        name = element[2:]
        return (name, node.child(name) or ANYTHING) if name in value else None
    if isinstance(value, list):
        for index, item in enumerate(value):
            if element_of(node, item) == element:
                return index, node.items or ANYTHING
    return None
