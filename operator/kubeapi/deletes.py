"""Deleting objects: preconditions, finalizers and the ways to treat dependents."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubeapi import kinds
from kubeapi.calls import Call
from kubeapi.conversion import to_served
from kubeapi.errors import bad_request, conflict, forbidden, not_found
from kubeapi.journal import Key, Kind
from kubeapi.store import Store, Stored
from kubeapi.values import Json, Obj, decode, timestamp
from kubeapi.writes import Admit, holds_content

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CRD_CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
_POLICIES: Final = ("Background", "Foreground", "Orphan")
_PERMANENT: Final = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a client says about a deletion."""

    policy: str = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def read(cls, call: Call, body: Json) -> "DeleteOptions":
        """Options from the body and the query. Raises 400 for a policy that does not exist."""
        body = body if isinstance(body, dict) else {}
        policy = call.query.get("propagationPolicy") or body.get("propagationPolicy") or ""
        if not policy and body.get("orphanDependents") is not None:
            policy = "Orphan" if body["orphanDependents"] else "Background"
        if policy and policy not in _POLICIES:
            raise bad_request(
                f"invalid DeleteOptions: propagationPolicy: {policy!r} is not one of {', '.join(_POLICIES)}"
            )
        wanted = body.get("preconditions") or {}
        dry = call.dry_run or body.get("dryRun") == ["All"]
        return cls(policy or "Background", wanted.get("uid") or "", wanted.get("resourceVersion") or "", dry)


class Deletes:
    """The delete path."""

    def __init__(self, store: Store, admit: Admit) -> None:
        self._store = store
        self._admit = admit

    async def delete(self, call: Call, options: DeleteOptions) -> Obj:
        """Delete one object: a Status where it is gone, the object itself where finalizers hold it."""
        resource = call.resource
        stored = self._live(call)
        self._check(call, stored, options)
        await self._admit(call, "DELETE", None, to_served(resource, stored.obj))
        stored = self._live(call)
        self._check(call, stored, options)
        if not options.dry_run:
            left, done = self.start(resource.storage, call.key, options.policy, call.now)
            await done
            if left is not None:
                return to_served(resource, left.obj)
        details = {
            "name": call.target.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": stored.obj["metadata"]["uid"],
        }
        details = {key: value for key, value in details.items() if value}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _live(self, call: Call) -> Stored:
        stored = self._store.get(call.resource.storage, call.key)
        if stored is None:
            raise not_found(call.resource.group, call.resource.plural, call.target.name)
        return stored

    def _check(self, call: Call, stored: Stored, options: DeleteOptions) -> None:
        resource, meta = call.resource, stored.obj["metadata"]
        if resource.storage == kinds.NAMESPACE and call.target.name in _PERMANENT:
            raise forbidden("", "namespaces", call.target.name, "this namespace may not be deleted")
        for label, wanted, found in (
            ("UID", options.uid, meta["uid"]),
            ("ResourceVersion", options.resource_version, meta["resourceVersion"]),
        ):
            if wanted and wanted != found:
                why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}"
                raise conflict(resource.group, resource.plural, call.target.name, why)

    def start(self, kind: Kind, key: Key, policy: str, now: datetime) -> "tuple[Stored | None, asyncio.Future[None]]":
        """Begin a deletion: the object that stays for its finalizers (None where it is gone), and when
        that is on disk."""
        stored = self._store.collection(kind).items[key]
        meta = stored.obj["metadata"]
        finalizers = list(meta.get("finalizers") or ())
        wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(policy)
        if wanted and wanted not in finalizers:
            finalizers.append(wanted)
        if kind == kinds.CRD and CRD_CLEANUP not in finalizers and not meta.get("deletionTimestamp"):
            finalizers.append(CRD_CLEANUP)
        if not finalizers and kind != kinds.NAMESPACE:
            _, done = self._store.delete(kind, key)
            return None, done
        if meta.get("deletionTimestamp") and finalizers == (meta.get("finalizers") or []):
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return stored, done
        return self._store.put(kind, key, _marked(decode(stored.raw), kind, finalizers, now))

    def finish(self, kind: Kind, key: Key, finalizer: str) -> None:
        """Take a finalizer of the server's own off an object, and remove the object where it was the last
        one."""
        stored = self._store.get(kind, key)
        if stored is None or finalizer not in (stored.obj["metadata"].get("finalizers") or ()):
            return
        obj = decode(stored.raw)
        left = [name for name in obj["metadata"]["finalizers"] if name != finalizer]
        obj["metadata"]["finalizers"] = left
        if not left:
            del obj["metadata"]["finalizers"]
        self._store.put(kind, key, obj)
        if not left and not holds_content(kind, obj):
            self._store.delete(kind, key)


def _marked(obj: Obj, kind: Kind, finalizers: list[str], now: datetime) -> Obj:
    meta = obj["metadata"]
    if finalizers:
        meta["finalizers"] = finalizers
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = timestamp(now)
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1
    if kind == kinds.NAMESPACE:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return obj
