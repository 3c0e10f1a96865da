"""The entries of `metadata.managedFields`: reading, writing and keeping them up to date."""

from dataclasses import dataclass, replace
from typing import Final

from kubeapi.errors import bad_request
from kubeapi.managedfields.fieldset import FieldSet, changes, fields_of, set_of, trie_of
from kubeapi.objects import Json, Obj
from kubeapi.schema import Node

_MOST_UPDATERS: Final = 10
"""Entries of operation Update kept apart; the oldest beyond these are folded into one, as in a real server."""

_SERVER_OWNED: Final = frozenset([
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
    "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, in which version, through which subresource, and when."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one writer owns, by one operation (Update or Apply)."""

    writer: Writer
    operation: str
    fields: FieldSet

    @classmethod
    def read(cls, raw: Obj) -> "Entry":
        """From its JSON, whose values a client may have written."""
        names = ("manager", "apiVersion", "time", "subresource")
        writer = Writer(*(str(raw.get(name) or "") for name in names))
        return cls(writer, str(raw["operation"]), fields_of(raw["fieldsV1"]))

    def is_of(self, writer: Writer, operation: str) -> bool:
        """Whether the entry is the writer's own."""
        same_version = operation == "Apply" or self.writer.api_version == writer.api_version
        mine = (self.writer.manager, self.writer.subresource) == (writer.manager, writer.subresource)
        return mine and same_version and self.operation == operation

    def without(self, *gone: FieldSet) -> "Entry":
        """The entry after fields were taken from it."""
        return Entry(self.writer, self.operation, self.fields.difference(*gone))

    def dump(self) -> Obj:
        """As JSON."""
        raw: Obj = {
            "manager": self.writer.manager, "operation": self.operation, "apiVersion": self.writer.api_version,
            "time": self.writer.time, "fieldsType": "FieldsV1", "fieldsV1": trie_of(self.fields),
            "subresource": self.writer.subresource,
        }  # fmt: skip
        return {name: value for name, value in raw.items() if value != ""}


def without_server_fields(obj: Obj) -> Obj:
    """The parts of an object that managers own."""
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVER_OWNED}
    return {**rest, "metadata": meta} if meta else rest


def owned_fields(root: Node, obj: Obj, *, added: bool = False) -> FieldSet:
    """The fields of an object that managers own."""
    return set_of(root, without_server_fields(obj), added=added) - {(), ("f:metadata",)}


def entries_of(sent: Json) -> list[Entry]:
    """The entries in `metadata.managedFields`, without those that cannot be read."""
    if not isinstance(sent or [], list):
        raise bad_request("metadata.managedFields must be a list")
    whole = [raw for raw in sent or () if isinstance(raw, dict) and isinstance(raw.get("fieldsV1"), dict)]
    return [Entry.read(raw) for raw in whole if raw.get("operation")]


def store_entries(obj: Obj, entries: list[Entry]) -> None:
    """Write the entries into the object, those without fields left out."""
    kept = sorted((entry for entry in entries if entry.fields), key=_order)
    updaters = [entry for entry in kept if entry.operation == "Update"]
    if len(updaters) > _MOST_UPDATERS:
        oldest = updaters[: len(updaters) - _MOST_UPDATERS + 1]
        folded = Entry(replace(oldest[-1].writer, manager="ancient-changes"), "Update", _fields_of_all(oldest))
        kept = sorted([folded, *(entry for entry in kept if entry not in oldest)], key=_order)
    obj["metadata"].pop("managedFields", None)
    if kept:
        obj["metadata"]["managedFields"] = [entry.dump() for entry in kept]


def _order(entry: Entry) -> tuple[bool, str, str]:
    return entry.operation != "Apply", entry.writer.time, entry.writer.manager


def _fields_of_all(entries: list[Entry]) -> FieldSet:
    return {path for entry in entries for path in entry.fields}


def record_create(root: Node, new: Obj, writer: Writer) -> None:
    """Give every field of a new object to its writer."""
    store_entries(new, [Entry(writer, "Update", owned_fields(root, new, added=True))])


def record_update(root: Node, live: Obj, new: Obj, writer: Writer) -> None:
    """Give the fields that an update changed to its writer, and take them from everybody else."""
    sent = new["metadata"].get("managedFields")
    entries = entries_of(live["metadata"].get("managedFields") if sent is None else sent)
    touched, removed = changes(root, without_server_fields(live), without_server_fields(new))
    mine = next((entry for entry in entries if entry.is_of(writer, "Update")), None)
    kept = [entry.without(touched, removed) for entry in entries if not entry.is_of(writer, "Update")]
    before = mine.fields if mine else set()
    fields = (before - removed) | touched
    kept.append(mine if mine and not touched and fields == before else Entry(writer, "Update", fields))
    store_entries(new, kept)
