"""Reading an object in another version than it is stored in."""

from typing import Final

from kubeapi.objects import Obj
from kubeapi.registry.resource import Resource

_EVENT_NAMES: Final = {
    "involvedObject": "regarding", "message": "note", "source": "deprecatedSource",
    "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp",
    "reportingComponent": "reportingController",
}  # fmt: skip
"""What a core Event calls its fields, and what events.k8s.io calls them."""

_NEWER: Final = "events.k8s.io"


def needs_conversion(resource: Resource, obj: Obj) -> bool:
    """Whether a stored object differs from what this resource serves."""
    return bool(obj.get("apiVersion") != resource.api_version)


def to_served(resource: Resource, obj: Obj) -> Obj:
    """A stored object in the version of `resource`; CRDs convert with strategy None, by name only."""
    if not needs_conversion(resource, obj):
        return obj
    served = {**obj, "apiVersion": resource.api_version}
    if resource.group == _NEWER:
        return {_EVENT_NAMES.get(key, key): value for key, value in served.items()}
    return served


def to_stored(resource: Resource, obj: Obj) -> Obj:
    """An object of `resource` in the version that is stored."""
    if resource.group == _NEWER:
        older = {newer: name for name, newer in _EVENT_NAMES.items()}
        return {**{older.get(key, key): value for key, value in obj.items()}, "apiVersion": "v1"}
    if resource.version == resource.storage_version:
        return obj
    return {**obj, "apiVersion": f"{resource.group}/{resource.storage_version}"}
