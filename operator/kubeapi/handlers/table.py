"""The forms in which objects are sent: whole, as their metadata, or as the Table that `kubectl get` prints."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubeapi.errors import ApiError
from kubeapi.jsonpath import find
from kubeapi.objects import Json, Obj, encode, metadata, parse_timestamp
from kubeapi.registry import Column, Resource

_NAME: Final[Obj] = {
    "name": "Name", "type": "string", "format": "name", "priority": 0,
    "description": "Name must be unique within a namespace.",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """The form that a client wants: objects as they are, a Table, or metadata alone.

    `include` says how much of each object a row of a Table carries: None, Metadata or Object.
    """

    table: bool = False
    metadata_only: bool = False
    include: str = "Metadata"

    @classmethod
    def read(cls, accept: str, include: str) -> "Shape":
        """The first form in an Accept header that we can give. Raises 406 where there is none."""
        for media in accept.split(","):
            parts = {part.strip() for part in media.split(";")}
            if not ({"application/json", "*/*", "application/yaml"} & parts):
                continue
            if "as=Table" in parts and "g=meta.k8s.io" in parts:
                return cls(table=True, include=include or "Metadata")
            return cls(metadata_only=bool(parts & {"as=PartialObjectMetadata", "as=PartialObjectMetadataList"}))
        if "protobuf" in accept or not accept:
            return cls()
        raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")

    def one(self, resource: Resource, obj: Obj, now: datetime) -> Obj:
        """A single object."""
        if self.table:
            version = obj["metadata"].get("resourceVersion", "")
            return _table(resource, [obj], now, {"resourceVersion": version}, self.include)
        return _partial(obj) if self.metadata_only else obj

    def listed(self, resource: Resource, objects: list[Obj], now: datetime, meta: Obj) -> Obj:
        """A list with its own metadata."""
        if self.table:
            return _table(resource, objects, now, meta, self.include)
        kind, api_version, items = resource.list_kind, resource.api_version, objects
        if self.metadata_only:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            items = [_partial(obj) for obj in objects]
        return {"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items}


def _table(resource: Resource, objects: list[Obj], now: datetime, meta: Obj, include: str) -> Obj:
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_NAME, *(_definition(column) for column in resource.columns)],
        "rows": [_row(resource, obj, now, include) for obj in objects],
    }


def _definition(column: Column) -> Obj:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "priority": column.priority,
        "description": column.description or f"Custom resource definition column (in JSONPath format): {column.path}",
    }


def _row(resource: Resource, obj: Obj, now: datetime, include: str) -> Obj:
    cells = [metadata(obj).get("name"), *(_cell(column, obj, now) for column in resource.columns)]
    row: Obj = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = _partial(obj)
    return row


def _partial(obj: Obj) -> Obj:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(obj)}


def _cell(column: Column, obj: Obj, now: datetime) -> Json:
    if column.made:
        return _MADE[column.made](obj, now)
    if column.count:
        return sum(len(obj.get(name) or ()) for name in column.count)
    found = find(obj, column.path)
    if column.type == "date":
        return _age(found[0] if found else None, now)
    if not found or found[0] is None:
        return None
    if column.type != "string":
        return _number(found[0], column.type)
    return found[0] if isinstance(found[0], str) else encode(found[0]).decode()


def _number(value: Json, wanted: str) -> Json:
    if not isinstance(value, bool if wanted == "boolean" else (int, float)) or isinstance(value, bool) != (
        wanted == "boolean"
    ):
        return None
    return int(value) if wanted == "integer" and isinstance(value, float) else value


def _age(moment: Json, now: datetime) -> str:
    """How long ago, as kubectl writes it; `<unknown>` where there is no moment."""
    if not moment:
        return "<unknown>"
    then = parse_timestamp(moment) if isinstance(moment, str) else None
    return human_duration((now - then).total_seconds()) if then else "<invalid>"


_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_DURATIONS: Final = (
    (120, 1, "s", None), (600, _MINUTE, "m", (1, "s")), (3 * _HOUR, _MINUTE, "m", None),
    (8 * _HOUR, _HOUR, "h", (_MINUTE, "m")), (48 * _HOUR, _HOUR, "h", None), (192 * _HOUR, _DAY, "d", (_HOUR, "h")),
    (2 * _YEAR, _DAY, "d", None), (8 * _YEAR, _YEAR, "y", (_DAY, "d")),
)  # fmt: skip
"""Below so many seconds a duration is given in this unit, and in what is left of a smaller one."""


def human_duration(seconds: float) -> str:
    """A duration in one or two units, after `k8s.io/apimachinery/pkg/util/duration.HumanDuration`."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole == -1 else "<invalid>"
    size, unit, smaller = next((row[1:] for row in _DURATIONS if whole < row[0]), (_YEAR, "y", None))
    count, rest = divmod(whole, size)
    low = rest // smaller[0] if smaller else 0
    return f"{count}{unit}" + (f"{low}{smaller[1]}" if smaller and low else "")


def _last_seen(obj: Obj, now: datetime) -> str:
    moments = (obj.get("series") or {}).get("lastObservedTime"), obj.get("lastTimestamp"), obj.get("eventTime")
    return _age(next((moment for moment in (*moments, obj.get("deprecatedLastTimestamp")) if moment), None), now)


def _involved_object(obj: Obj, now: datetime) -> str:
    target = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"


_MADE: Final[dict[str, Callable[[Obj, datetime], Json]]] = {
    "last_seen": _last_seen,
    "involved_object": _involved_object,
    "event_message": lambda obj, now: str(obj.get("message") or obj.get("note") or "").strip(),
    "role_of_binding": lambda obj, now: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}",
}
