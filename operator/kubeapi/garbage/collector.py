"""What follows from a deletion: dependents of an owner, the content of a namespace, the objects of a CRD."""

import asyncio
from collections import deque
from typing import Final

from kubeapi.garbage.finalizers import CRD_CLEANUP, FOREGROUND, ORPHAN, begin_deletion, finish_deletion
from kubeapi.objects import Obj, copied
from kubeapi.registry import CRD, NAMESPACE
from kubeapi.settings import Clock
from kubeapi.storage import ADDED, Event, Key, Kind, Store

ObjectRef = tuple[Kind, Key]

_EVENTS: Final = ("", "events")
_MOST_EVENTS: Final = 10_000

_OBJECTS_PER_TURN = 100
"""How many objects are processed before other requests get a turn."""


class Collector:
    """Watches every write and deletes, in the background, what its owner, namespace or CRD no longer holds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._dependents: dict[str, set[ObjectRef]] = {}
        self._alive: dict[str, ObjectRef] = {}
        self._queue: deque[ObjectRef] = deque()
        self._wake = asyncio.Event()
        for kind in store.kinds():
            for key, stored in store.collection(kind).items.items():
                self.observe(Event(ADDED, kind, key, 0, stored, None))

    def observe(self, event: Event) -> None:
        """Keep the index of owners up to date, and queue what has to be processed."""
        ref, after = (event.kind, event.key), event.after
        if event.kind == _EVENTS and event.type == ADDED:
            self._wake.set()
        for uid in _owners(event.before) - _owners(after):
            self._dependents.get(uid, set()).discard(ref)
        for uid in _owners(after):
            self._dependents.setdefault(uid, set()).add(ref)
            if uid not in self._alive:
                self._enqueue(ref)
        if after is None:
            self._forget(event.obj, event.key)
        else:
            self._alive[after["metadata"]["uid"]] = ref
            if after["metadata"].get("deletionTimestamp"):
                self._enqueue(ref)

    def _forget(self, gone: Obj, key: Key) -> None:
        uid = gone["metadata"]["uid"]
        self._alive.pop(uid, None)
        for ref in self._dependents.pop(uid, ()):
            self._enqueue(ref)
        for owner in _owners(gone):
            if owner in self._alive:
                self._enqueue(self._alive[owner])
        if key[0]:
            self._enqueue((NAMESPACE, ("", key[0])))
        self._enqueue_crd(gone)

    def _trim_events(self) -> None:
        """Forget the oldest events: a real server keeps them for an hour, whose length here depends on the clock."""
        events = self._store.collection(_EVENTS)
        if len(events.items) > _MOST_EVENTS:
            by_age = sorted(events.items, key=lambda key: int(events.items[key]["metadata"]["resourceVersion"]))
            for key in by_age[: len(by_age) - _MOST_EVENTS + _MOST_EVENTS // 10]:
                self._store.delete(_EVENTS, key)

    def _enqueue_crd(self, gone: Obj) -> None:
        group = gone["apiVersion"].partition("/")[0]
        for key, stored in self._store.collection(CRD).items.items():
            spec = stored["spec"]
            deleting = stored["metadata"].get("deletionTimestamp")
            if deleting and spec["group"] == group and spec["names"]["kind"] == gone["kind"]:
                self._enqueue((CRD, key))

    def _enqueue(self, ref: ObjectRef) -> None:
        self._queue.append(ref)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._trim_events()
            while self._queue:
                for _ in range(min(_OBJECTS_PER_TURN, len(self._queue))):
                    self._process(*self._queue.popleft())
                await asyncio.sleep(0)

    def _process(self, kind: Kind, key: Key) -> None:
        stored = self._store.get(kind, key)
        if stored is None:
            return
        meta = stored["metadata"]
        if meta.get("deletionTimestamp"):
            self._continue_deletion(kind, key, stored)
        elif _owners(stored) and not any(uid in self._alive for uid in _owners(stored)):
            self._begin(kind, key, "Background")

    def _begin(self, kind: Kind, key: Key, policy: str) -> Obj | None:
        return begin_deletion(self._store, kind, key, policy, self._clock.now())[0]

    def _continue_deletion(self, kind: Kind, key: Key, stored: Obj) -> None:
        """The next step of a deletion that has begun."""
        meta = stored["metadata"]
        finalizers = meta.get("finalizers") or ()
        if ORPHAN in finalizers:
            self._release_dependents(meta["uid"])
            finish_deletion(self._store, kind, key, ORPHAN)
        elif FOREGROUND in finalizers:
            self._delete_blocking_dependents(kind, key, meta["uid"])
        elif kind == NAMESPACE:
            self._empty_namespace(key)
        elif kind == CRD and CRD_CLEANUP in finalizers:
            self._empty_crd(key, stored)

    def _release_dependents(self, uid: str) -> None:
        for kind, key in list(self._dependents.get(uid, ())):
            obj = copied(self._store.collection(kind).items[key])
            left = [owner for owner in obj["metadata"]["ownerReferences"] if owner.get("uid") != uid]
            obj["metadata"]["ownerReferences"] = left
            if not left:
                del obj["metadata"]["ownerReferences"]
            self._store.put(kind, key, obj)

    def _delete_blocking_dependents(self, kind: Kind, key: Key, uid: str) -> None:
        refs = [(k, name) for k, name in self._dependents.get(uid, ()) if _blocks(self._store.get(k, name), uid)]
        if not self._delete_all(refs, "Foreground"):
            finish_deletion(self._store, kind, key, FOREGROUND)

    def _empty_namespace(self, key: Key) -> None:
        name = key[1]
        refs = [(kind, k) for kind in self._store.kinds() for k in self._store.collection(kind).ordered(name)]
        if not self._delete_all(refs) and not self._store.collection(NAMESPACE).items[key]["metadata"].get(
            "finalizers"
        ):
            self._store.delete(NAMESPACE, key)

    def _empty_crd(self, key: Key, crd: Obj) -> None:
        kind = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if not self._delete_all([(kind, k) for k in self._store.collection(kind).ordered()]):
            finish_deletion(self._store, CRD, key, CRD_CLEANUP)

    def _delete_all(self, refs: list[ObjectRef], policy: str = "Background") -> bool:
        """Begin the deletion of each; whether any stays for its finalizers."""
        left = [self._begin(kind, key, policy) for kind, key in refs]
        return any(obj is not None for obj in left)


def _references(obj: Obj | None) -> list[Obj]:
    return (obj["metadata"].get("ownerReferences") or []) if obj else []


def _owners(obj: Obj | None) -> set[str]:
    return {reference["uid"] for reference in _references(obj)}


def _blocks(obj: Obj | None, uid: str) -> bool:
    return any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in _references(obj))
