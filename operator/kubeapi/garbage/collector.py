"""What follows from a deletion: dependents of an owner, the content of a namespace, the objects of a CRD."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from kubeapi.garbage.finalizers import CRD_CLEANUP, FOREGROUND, ORPHAN, begin_deletion, finish_deletion
from kubeapi.objects import Obj, copied
from kubeapi.registry import CRD, NAMESPACE
from kubeapi.settings import Clock
from kubeapi.storage import Key, Kind, Store

Place = tuple[Kind, Key]

_EVENTS: Final = ("", "events")
_MOST_EVENTS: Final = 10_000

_STEPS_PER_TURN = 100
"""How many objects are looked at before other requests get a turn."""


class Collector:
    """Watches every write and deletes, in the background, what its owner, namespace or CRD no longer holds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._dependents: dict[str, set[Place]] = {}
        self._alive: dict[str, Place] = {}
        self._due: deque[Place] = deque()
        self._orphaned: deque[str] = deque()
        self._wake = asyncio.Event()
        for kind in store.kinds():
            for key, stored in store.collection(kind).items.items():
                self.observe(kind, key, None, stored)

    def observe(self, kind: Kind, key: Key, before: Obj | None, after: Obj | None) -> None:
        """Keep the index of owners up to date, and note what has to be looked at."""
        place = (kind, key)
        if kind == _EVENTS and before is None and len(self._store.collection(kind).items) > _MOST_EVENTS:
            self._wake.set()
        for uid in _owners(before) - _owners(after):
            self._dependents.get(uid, set()).discard(place)
        for uid in _owners(after):
            self._dependents.setdefault(uid, set()).add(place)
            if uid not in self._alive:
                self._note(place)
        if after is None:
            self._forget(before, key)
        else:
            self._alive[after["metadata"]["uid"]] = place
            if after["metadata"].get("deletionTimestamp"):
                self._note(place)

    def _forget(self, gone: Obj | None, key: Key) -> None:
        if gone is not None:
            uid = gone["metadata"]["uid"]
            self._alive.pop(uid, None)
            if self._dependents.get(uid):
                self._orphaned.append(uid)
                self._wake.set()
            for owner in _owners(gone):
                if owner in self._alive:
                    self._note(self._alive[owner])
        if key[0]:
            self._note((NAMESPACE, ("", key[0])))
        if gone is not None and "/" in gone["apiVersion"]:
            self._note_crd(gone)

    def _trim_events(self) -> None:
        """Forget the oldest events: a real server keeps them for an hour, whose length here depends on the clock."""
        events = self._store.collection(_EVENTS)
        if len(events.items) > _MOST_EVENTS:
            by_age = sorted(events.items, key=lambda key: int(events.items[key]["metadata"]["resourceVersion"]))
            for key in by_age[: len(by_age) - _MOST_EVENTS + _MOST_EVENTS // 10]:
                self._store.delete(_EVENTS, key)

    def _note_crd(self, gone: Obj) -> None:
        group = gone["apiVersion"].partition("/")[0]
        for key, stored in self._store.collection(CRD).items.items():
            spec = stored["spec"]
            deleting = stored["metadata"].get("deletionTimestamp")
            if deleting and spec["group"] == group and spec["names"]["kind"] == gone["kind"]:
                self._note((CRD, key))

    def _note(self, place: Place) -> None:
        self._due.append(place)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._trim_events()
            steps = 0
            while self._due or self._orphaned:
                if self._orphaned:
                    self._collect_dependents(self._orphaned.popleft())
                else:
                    self._look_at(*self._due.popleft())
                steps += 1
                if steps % _STEPS_PER_TURN == 0:
                    await asyncio.sleep(0)

    def _collect_dependents(self, uid: str) -> None:
        for place in list(self._dependents.pop(uid, ())):
            self._look_at(*place)

    def _look_at(self, kind: Kind, key: Key) -> None:
        stored = self._store.get(kind, key)
        if stored is None:
            return
        meta = stored["metadata"]
        if meta.get("deletionTimestamp"):
            self._go_on(kind, key, stored)
        elif _owners(stored) and not any(uid in self._alive for uid in _owners(stored)):
            self._begin(kind, key, "Background")

    def _begin(self, kind: Kind, key: Key, policy: str) -> Obj | None:
        return begin_deletion(self._store, kind, key, policy, self._clock.now())[0]

    def _go_on(self, kind: Kind, key: Key, stored: Obj) -> None:
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
        blocked = False
        for child_kind, child_key in list(self._dependents.get(uid, ())):
            stored = self._store.collection(child_kind).items[child_key]
            if _blocks(stored, uid):
                left = self._begin(child_kind, child_key, "Foreground")
                blocked = blocked or left is not None
        if not blocked:
            finish_deletion(self._store, kind, key, FOREGROUND)

    def _empty_namespace(self, key: Key) -> None:
        name = key[1]
        places = [(kind, k) for kind in self._store.kinds() for k in self._store.collection(kind).ordered(name)]
        if self._delete_all(iter(places)):
            return
        stored = self._store.get(NAMESPACE, key)
        if stored is not None and stored["metadata"].get("finalizers"):
            return
        self._store.delete(NAMESPACE, key)

    def _empty_crd(self, key: Key, crd: Obj) -> None:
        kind = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if not self._delete_all((kind, k) for k in list(self._store.collection(kind).ordered())):
            finish_deletion(self._store, CRD, key, CRD_CLEANUP)

    def _delete_all(self, places: Iterator[Place]) -> bool:
        """Begin the deletion of each; whether any stays for its finalizers."""
        stays = False
        for kind, key in places:
            left = self._begin(kind, key, "Background")
            stays = stays or left is not None
        return stays


def _owners(stored: Obj | None) -> set[str]:
    references = stored["metadata"].get("ownerReferences") if stored else None
    return {reference["uid"] for reference in references} if references else set()


def _blocks(obj: Obj, uid: str) -> bool:
    references = obj["metadata"].get("ownerReferences") or ()
    return any(ref.get("uid") == uid and ref.get("blockOwnerDeletion") for ref in references)
