"""Change an object, its status, or its scale: by replacing it, or by a function of its live state."""

from collections.abc import Callable
from typing import Final

from kubeapi.call import Call
from kubeapi.errors import STALE, FieldError, invalid
from kubeapi.handlers.checks import check, check_address, clean, writer_of
from kubeapi.handlers.read import get
from kubeapi.managedfields import record_update
from kubeapi.objects import Json, Obj, at_path, copied
from kubeapi.registry import Resource, complete, holds_content, to_served, to_stored
from kubeapi.service import Service

Change = Callable[[Obj], Obj]
"""Makes the wanted object from a copy of the live one."""

_MOST_ATTEMPTS: Final = 8
"""How often a patch without a resource version is tried again when others write in between."""

_SERVER_OWNED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


async def replace(service: Service, call: Call, obj: Obj) -> Obj:
    """Put a whole object in the place of the live one."""
    meta = check_address(call, obj)
    if call.resource.custom and not meta.get("resourceVersion"):
        get(service.store, call)
        missing = FieldError("FieldValueInvalid", "metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(call.resource.group, call.resource.kind, call.target.name, [missing])
    return await update(service, call, lambda live: copied(obj))


async def update(service: Service, call: Call, change: Change, *, applied: bool = False) -> Obj:
    """The changed object, once it is on disk. Without a resource version it is tried again on newer states."""
    for _ in range(_MOST_ATTEMPTS):
        written = await _try_update(service, call, change, applied)
        if written is not None:
            return written
    raise call.conflict(STALE)


async def _try_update(service: Service, call: Call, change: Change, applied: bool) -> Obj | None:
    """The changed object; None where somebody else has written it in the meantime."""
    resource = call.resource
    live = get(service.store, call)
    before = service.store.get(resource.storage, call.key)
    new = change(copied(live))
    _check_precondition(call, new, live)
    _prepare(call, new, live, applied)
    if new == live:
        return live
    admitted = await service.admission.review(call, "UPDATE", new, live)
    if admitted is not None and admitted is not new:
        new = admitted
        _prepare(call, new, live, applied=True)
    if call.dry_run:
        return new
    if service.store.get(resource.storage, call.key) is not before:
        return None
    return await _write(service, call, new)


async def _write(service: Service, call: Call, new: Obj) -> Obj:
    """Write the changed object, and remove it where it only waited for its last finalizer."""
    resource, meta = call.resource, new["metadata"]
    stored = to_stored(resource, new)
    done = service.store.put(resource.storage, call.key, stored)
    if meta.get("deletionTimestamp") and not meta.get("finalizers") and not holds_content(resource.storage, new):
        done = service.store.delete(resource.storage, call.key)
    await done
    return to_served(resource, stored)


def _check_precondition(call: Call, new: Obj, live: Obj) -> None:
    meta, before = check_address(call, new), live["metadata"]
    if meta.get("resourceVersion") not in (None, "", before["resourceVersion"]):
        raise call.conflict(STALE)
    if meta.get("uid") not in (None, "", before["uid"]):
        why = f"UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
        raise call.conflict(f"Precondition failed: {why}")


def _prepare(call: Call, new: Obj, live: Obj, applied: bool) -> None:
    """Turn what was sent into what is to be written, in place, and check it."""
    resource, before = call.resource, live["metadata"]
    _limit_to_subresource(call, new, live)
    clean(call, new)
    meta = new["metadata"]
    for name in ("name", "namespace"):  # a value that was sent stays, to be refused if it differs
        if name in before and not meta.get(name):
            meta[name] = before[name]
    for name in _SERVER_OWNED:
        meta.pop(name, None)
    meta |= {name: before[name] for name in (*_SERVER_OWNED, "resourceVersion") if name in before}
    complete(resource, new, live, call.now)
    if resource.counts_generation and _spec_of(resource, new) != _spec_of(resource, live):
        meta["generation"] = before.get("generation", 0) + 1
    check(resource, new, live)
    if not applied:
        record_update(resource.fields, live, new, writer_of(call))


def _limit_to_subresource(call: Call, new: Obj, live: Obj) -> None:
    """The main resource does not write status, and the status subresource writes nothing else."""
    if call.target.subresource == "status":
        fields, status = new["metadata"].get("managedFields"), new.get("status")
        new.clear()
        new |= {name: value for name, value in copied(live).items() if name != "status"}
        if status is not None:
            new["status"] = status
        if fields is not None:
            new["metadata"]["managedFields"] = fields
    elif call.resource.has_status and not call.target.subresource:
        new.pop("status", None)
        if "status" in live:
            new["status"] = copied(live["status"])


def _spec_of(resource: Resource, obj: Obj) -> Obj:
    apart = ("metadata", "status") if resource.has_status else ("metadata",)
    return {name: value for name, value in obj.items() if name not in apart}


def read_scale(service: Service, call: Call) -> Obj:
    """The object's Scale."""
    return _scale_of(call, get(service.store, call))


async def write_scale(service: Service, call: Call, change: Callable[[Obj], Json]) -> Obj:
    """Set the replicas to those of the Scale that `change` makes from the live one."""
    *parents, last = call.resource.scale["specReplicasPath"].strip(".").split(".")

    def scaled(live: Obj) -> Obj:
        scale = change(_scale_of(call, live))
        place = live
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = (scale.get("spec") or {}).get("replicas")
        return live

    return _scale_of(call, await update(service, call, scaled))


def _scale_of(call: Call, obj: Obj) -> Obj:
    paths, meta = call.resource.scale, obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status = {"replicas": at_path(obj, paths.get("statusReplicasPath", "")) or 0}
    if paths.get("labelSelectorPath"):
        status["selector"] = at_path(obj, paths["labelSelectorPath"]) or ""
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": at_path(obj, paths.get("specReplicasPath", "")) or 0}, "status": status,
    }  # fmt: skip
