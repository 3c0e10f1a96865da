"""Who set which field: `metadata.managedFields`, and server-side apply on top of it."""

from dataclasses import dataclass
from typing import Final

from kubeapi.errors import ApiError, bad_request
from kubeapi.fields import (
    Trie,
    changes,
    difference,
    element_of,
    intersection,
    is_member,
    paths,
    set_of,
    union,
    without_server_fields,
)
from kubeapi.schema import ANYTHING, Node
from kubeapi.values import Json, Obj, decode, encode, quoted

_KUBECTL: Final = "kubectl"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

_MOST_UPDATERS: Final = 10
"""Entries of operation Update kept apart; the oldest beyond these are folded into one, as in a real
server."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, in which version, through which subresource, and when."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""

    def owns(self, entry: Obj, operation: str) -> bool:
        """Whether an entry of managedFields is this writer's."""
        mine = entry.get("manager") == self.manager and entry.get("subresource", "") == self.subresource
        same_version = operation == "Apply" or entry.get("apiVersion") == self.api_version
        return mine and same_version and entry.get("operation") == operation

    def entry(self, operation: str, fields: Trie) -> Obj:
        """An entry of managedFields."""
        made: Obj = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self.subresource:
            made["subresource"] = self.subresource
        return made


def record_create(root: Node, new: Obj, writer: Writer) -> None:
    """Give every field of a new object to its writer."""
    fields = set_of(root, without_server_fields(new), added=True)
    fields.pop(".", None)
    if "f:metadata" in fields:
        fields["f:metadata"].pop(".", None)
    new["metadata"]["managedFields"] = [writer.entry("Update", fields)] if fields else []
    if not fields:
        del new["metadata"]["managedFields"]


def record_update(root: Node, live: Obj, new: Obj, writer: Writer) -> None:
    """Give the fields that an update changed to its writer, and take them from everybody else."""
    entries = _entries(live, new)
    touched, removed = changes(root, without_server_fields(live), without_server_fields(new))
    mine: Trie = {}
    kept: list[Obj] = []
    for entry in entries:
        if writer.owns(entry, "Update"):
            mine = entry["fieldsV1"]
            continue
        fields = difference(difference(entry["fieldsV1"], touched or {}), removed or {})
        if fields:
            kept.append(entry if fields == entry["fieldsV1"] else {**entry, "fieldsV1": fields})
    fields = union(difference(mine, removed or {}), touched or {})
    if fields:
        before = next((e for e in entries if writer.owns(e, "Update")), None)
        unchanged = before is not None and fields == mine and touched is None
        kept.append(before if unchanged and before else writer.entry("Update", fields))
    _store(new, kept)


def _entries(live: Obj, new: Obj) -> list[Obj]:
    """The entries to start from: the client's own where it sent some, else those of the live object."""
    sent = new["metadata"].get("managedFields")
    if sent is None:
        sent = live["metadata"].get("managedFields") or []
    if not isinstance(sent, list):
        raise bad_request("metadata.managedFields must be a list")
    return [e for e in sent if isinstance(e, dict) and isinstance(e.get("fieldsV1"), dict) and e.get("operation")]


def _store(obj: Obj, entries: list[Obj]) -> None:
    updaters = [entry for entry in entries if entry["operation"] == "Update"]
    if len(updaters) > _MOST_UPDATERS:
        entries = _fold(entries, updaters)
    obj["metadata"].pop("managedFields", None)
    if entries:
        ordered = sorted(entries, key=lambda e: (e["operation"] != "Apply", str(e.get("time")), str(e.get("manager"))))
        obj["metadata"]["managedFields"] = ordered


def _fold(entries: list[Obj], updaters: list[Obj]) -> list[Obj]:
    oldest = sorted(updaters, key=lambda e: str(e.get("time")))[: len(updaters) - _MOST_UPDATERS + 1]
    folded = {**oldest[-1], "manager": "ancient-changes", "fieldsV1": {}}
    for entry in oldest:
        folded["fieldsV1"] = union(folded["fieldsV1"], entry["fieldsV1"])
    return [folded, *(entry for entry in entries if entry not in oldest)]


def apply(root: Node, live: Obj | None, config: Obj, writer: Writer, *, force: bool, reset: tuple[str, ...]) -> Obj:
    """Merge an applied configuration into the live object and record what the applier owns.

    `reset` names top-level fields that this door does not write. Raises a 409 with one cause for each
    field that another manager owns with another value, unless `force`.
    """
    config_fields = set_of(root, _ownable(config, reset))
    if live is None:
        made = {**config, "metadata": dict(config["metadata"])}
        _store(made, [writer.entry("Apply", config_fields)] if config_fields else [])
        return made
    entries = _entries(live, {"metadata": {}}) or _before_first_apply(root, live, writer)
    others = [entry for entry in entries if not writer.owns(entry, "Apply")]
    mine = next((entry for entry in entries if writer.owns(entry, "Apply")), None)
    merged: Obj = _merge(root, live, _ownable(config, reset))
    if mine is not None:
        kept = config_fields
        for entry in others:
            kept = union(kept, entry["fieldsV1"])
        _remove(root, merged, difference(mine["fieldsV1"], config_fields), kept)
    touched, removed = changes(root, without_server_fields(live), without_server_fields(merged))
    allowed = _last_applied(root, live) if writer.manager == _KUBECTL else {}
    others = _resolve(others, touched or {}, removed or {}, force, allowed)
    if allowed:
        merged["metadata"] = _with_last_applied(merged["metadata"], config)
    same = mine is not None and mine["fieldsV1"] == config_fields and touched is None and removed is None
    if config_fields:
        others.append(mine if same and mine else writer.entry("Apply", config_fields))
    _store(merged, others)
    return merged


def _ownable(config: Obj, reset: tuple[str, ...]) -> Obj:
    return {key: value for key, value in without_server_fields(config).items() if key not in reset}


def _before_first_apply(root: Node, live: Obj, writer: Writer) -> list[Obj]:
    fields = set_of(root, without_server_fields(live))
    before = Writer("before-first-apply", writer.api_version, live["metadata"].get("creationTimestamp") or writer.time)
    return [before.entry("Update", fields)]


def _last_applied(root: Node, live: Obj) -> Trie:
    """The fields that a client-side apply owned before: kubectl may take them over without a conflict."""
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED)
    try:
        before = decode(text) if text else {}
    except ValueError:
        return {}
    return set_of(root, without_server_fields(before), added=True) if isinstance(before, dict) and before else {}


def _with_last_applied(meta: Obj, config: Obj) -> Obj:
    text = encode(config).decode() + "\n"
    return {**meta, "annotations": {**(meta.get("annotations") or {}), _LAST_APPLIED: text}}


def _resolve(others: list[Obj], touched: Trie, removed: Trie, force: bool, allowed: Trie) -> list[Obj]:
    """The other managers' entries once the applier has its fields. `allowed` fields are taken without a conflict."""
    conflicts = [(entry, difference(intersection(entry["fieldsV1"], touched), allowed)) for entry in others]
    conflicts = [(entry, fields) for entry, fields in conflicts if fields]
    if conflicts and not force:
        raise _conflict(conflicts)
    left = []
    for entry in others:
        fields = difference(difference(entry["fieldsV1"], touched), removed)
        if fields:
            left.append({**entry, "fieldsV1": fields})
    return left


def _conflict(conflicts: list[tuple[Obj, Trie]]) -> ApiError:
    found = sorted((_shown(entry), path) for entry, fields in conflicts for path in paths(fields))
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


def _shown(entry: Obj) -> str:
    text = quoted(str(entry.get("manager", "")))
    if entry.get("subresource"):
        text += f" with subresource {quoted(entry['subresource'])}"
    if entry["operation"] == "Update":
        text += f" using {entry.get('apiVersion')}"
        if entry.get("time"):
            text += f" at {entry['time']}"
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
        if element == ".":
            continue
        where = _find(node, value, element)
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
