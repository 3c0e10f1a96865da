"""What follows from a deletion: dependents of an owner, the content of a namespace, the objects of a CRD."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from kubeapi import kinds
from kubeapi.clock import Clock
from kubeapi.deletes import CRD_CLEANUP, FOREGROUND, ORPHAN, Deletes
from kubeapi.journal import Key, Kind
from kubeapi.store import Store, Stored
from kubeapi.values import Obj, decode

Place = tuple[Kind, Key]

_EVENTS: Final = ("", "events")
_MOST_EVENTS: Final = 10_000

_STEPS_PER_TURN = 100
"""How many objects are looked at before other requests get a turn."""


class Collector:
    """Watches every write and, in the background, deletes what its owner, namespace or CRD no longer
    holds."""

    def __init__(self, store: Store, deletes: Deletes, clock: Clock) -> None:
        self._store = store
        self._deletes = deletes
        self._clock = clock
        self._dependents: dict[str, set[Place]] = {}
        self._alive: dict[str, Place] = {}
        self._due: deque[Place] = deque()
        self._orphaned: deque[str] = deque()
        self._wake = asyncio.Event()
        for kind in store.kinds():
            for key, stored in store.collection(kind).items.items():
                self.observe(kind, key, None, stored)

    def observe(self, kind: Kind, key: Key, before: Stored | None, after: Stored | None) -> None:
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
            self._alive[after.obj["metadata"]["uid"]] = place
            if after.obj["metadata"].get("deletionTimestamp"):
                self._note(place)

    def _forget(self, gone: Stored | None, key: Key) -> None:
        if gone is not None:
            uid = gone.obj["metadata"]["uid"]
            self._alive.pop(uid, None)
            if self._dependents.get(uid):
                self._orphaned.append(uid)
                self._wake.set()
            for owner in _owners(gone):
                if owner in self._alive:
                    self._note(self._alive[owner])
        if key[0]:
            self._note((kinds.NAMESPACE, ("", key[0])))
        if gone is not None and "/" in gone.obj["apiVersion"]:
            self._note_crd(gone.obj)

    def _trim_events(self) -> None:
        """Forget the oldest events: a real server keeps them for an hour, whose length here depends on the clock."""
        events = self._store.collection(_EVENTS)
        if len(events.items) > _MOST_EVENTS:
            by_age = sorted(events.items, key=lambda key: events.items[key].version)
            for key in by_age[: len(by_age) - _MOST_EVENTS + _MOST_EVENTS // 10]:
                self._store.delete(_EVENTS, key)

    def _note_crd(self, gone: Obj) -> None:
        group = gone["apiVersion"].partition("/")[0]
        for key, stored in self._store.collection(kinds.CRD).items.items():
            spec = stored.obj["spec"]
            deleting = stored.obj["metadata"].get("deletionTimestamp")
            if deleting and spec["group"] == group and spec["names"]["kind"] == gone["kind"]:
                self._note((kinds.CRD, key))

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
        meta = stored.obj["metadata"]
        if meta.get("deletionTimestamp"):
            self._go_on(kind, key, stored)
        elif _owners(stored) and not any(uid in self._alive for uid in _owners(stored)):
            self._deletes.start(kind, key, "Background", self._clock.now())

    def _go_on(self, kind: Kind, key: Key, stored: Stored) -> None:
        """The next step of a deletion that has begun."""
        meta = stored.obj["metadata"]
        finalizers = meta.get("finalizers") or ()
        if ORPHAN in finalizers:
            self._release_dependents(meta["uid"])
            self._deletes.finish(kind, key, ORPHAN)
        elif FOREGROUND in finalizers:
            self._delete_blocking_dependents(kind, key, meta["uid"])
        elif kind == kinds.NAMESPACE:
            self._empty_namespace(key)
        elif kind == kinds.CRD and CRD_CLEANUP in finalizers:
            self._empty_crd(key, stored.obj)

    def _release_dependents(self, uid: str) -> None:
        for kind, key in list(self._dependents.get(uid, ())):
            obj = decode(self._store.collection(kind).items[key].raw)
            left = [owner for owner in obj["metadata"]["ownerReferences"] if owner.get("uid") != uid]
            obj["metadata"]["ownerReferences"] = left
            if not left:
                del obj["metadata"]["ownerReferences"]
            self._store.put(kind, key, obj)

    def _delete_blocking_dependents(self, kind: Kind, key: Key, uid: str) -> None:
        blocked = False
        for child_kind, child_key in list(self._dependents.get(uid, ())):
            stored = self._store.collection(child_kind).items[child_key]
            if _blocks(stored.obj, uid):
                left, _ = self._deletes.start(child_kind, child_key, "Foreground", self._clock.now())
                blocked = blocked or left is not None
        if not blocked:
            self._deletes.finish(kind, key, FOREGROUND)

    def _empty_namespace(self, key: Key) -> None:
        name = key[1]
        places = [(kind, k) for kind in self._store.kinds() for k in self._store.collection(kind).ordered(name)]
        if self._delete_all(iter(places)):
            return
        stored = self._store.get(kinds.NAMESPACE, key)
        if stored is not None and stored.obj["metadata"].get("finalizers"):
            return
        self._store.delete(kinds.NAMESPACE, key)

    def _empty_crd(self, key: Key, crd: Obj) -> None:
        kind = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if not self._delete_all((kind, k) for k in list(self._store.collection(kind).ordered())):
            self._deletes.finish(kinds.CRD, key, CRD_CLEANUP)

    def _delete_all(self, places: Iterator[Place]) -> bool:
        """Begin the deletion of each; whether any stays for its finalizers."""
        stays = False
        for kind, key in places:
            left, _ = self._deletes.start(kind, key, "Background", self._clock.now())
            stays = stays or left is not None
        return stays


def _owners(stored: Stored | None) -> set[str]:
    references = stored.obj["metadata"].get("ownerReferences") if stored else None
    return {reference["uid"] for reference in references} if references else set()


def _blocks(obj: Obj, uid: str) -> bool:
    references = obj["metadata"].get("ownerReferences") or ()
    return any(ref.get("uid") == uid and ref.get("blockOwnerDeletion") for ref in references)
