"""Beginning a deletion, which finalizers may hold, and finishing one."""

import asyncio
from datetime import datetime
from typing import Final

from kubeapi.objects import Obj, copied, timestamp
from kubeapi.registry import CRD, NAMESPACE, holds_content
from kubeapi.storage import Key, Kind, Store

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CRD_CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"


def begin_deletion(
    store: Store, kind: Kind, key: Key, policy: str, now: datetime
) -> "tuple[Obj | None, asyncio.Future[None]]":
    """The object that stays for its finalizers (None where it is gone), and when that is on disk."""
    obj = store.collection(kind).items[key]
    meta = obj["metadata"]
    finalizers = list(meta.get("finalizers") or ())
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(policy)
    if wanted and wanted not in finalizers:
        finalizers.append(wanted)
    if kind == CRD and CRD_CLEANUP not in finalizers and not meta.get("deletionTimestamp"):
        finalizers.append(CRD_CLEANUP)
    if not finalizers and kind != NAMESPACE:
        return None, store.delete(kind, key)
    if meta.get("deletionTimestamp") and finalizers == (meta.get("finalizers") or []):
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return obj, done
    marked = _marked(copied(obj), kind, finalizers, now)
    return marked, store.put(kind, key, marked)


def _marked(obj: Obj, kind: Kind, finalizers: list[str], now: datetime) -> Obj:
    meta = obj["metadata"]
    if finalizers:
        meta["finalizers"] = finalizers
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = timestamp(now)
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1
    if kind == NAMESPACE:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return obj


def finish_deletion(store: Store, kind: Kind, key: Key, finalizer: str) -> None:
    """Take a finalizer of the server's own off an object, and remove the object where it was the last one."""
    stored = store.get(kind, key)
    if stored is None or finalizer not in (stored["metadata"].get("finalizers") or ()):
        return
    obj = copied(stored)
    left = [name for name in obj["metadata"]["finalizers"] if name != finalizer]
    obj["metadata"]["finalizers"] = left
    if not left:
        del obj["metadata"]["finalizers"]
    store.put(kind, key, obj)
    if not left and not holds_content(kind, obj):
        store.delete(kind, key)
