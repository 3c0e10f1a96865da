"""The objects in memory, their resource versions, and the log that watches read."""

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from kubeapi.objects import Obj, encode
from kubeapi.storage.journal import ADDED, DELETED, MODIFIED, RESTART_GAP, Event, Journal, Key, Kind

Listener = Callable[[Event], None]


class Collection:
    """All objects of one kind. An object in it is replaced, never changed in place."""

    __slots__ = ("_keys", "floor", "items", "listeners", "log")

    def __init__(self, log_events: int, floor: int) -> None:
        self.items: dict[Key, Obj] = {}
        self._keys: list[Key] = []
        self.log: deque[Event] = deque(maxlen=log_events)
        self.floor = floor
        """Changes up to this version are no longer in the log."""
        self.listeners: set[Listener] = set()

    def put(self, key: Key, obj: Obj) -> None:
        """Add or replace an object."""
        if key not in self.items:
            insort(self._keys, key)
        self.items[key] = obj

    def remove(self, key: Key) -> None:
        """Drop an object that is there."""
        del self.items[key]
        del self._keys[bisect_left(self._keys, key)]

    def ordered(self, namespace: str = "", after: Key | None = None) -> Iterator[Key]:
        """Keys in order: of one namespace or of all, from the start or after a key."""
        start = bisect_left(self._keys, (namespace, "")) if namespace else 0
        if after is not None:
            start = max(start, bisect_left(self._keys, (after[0], after[1] + "\0")))
        for index in range(start, len(self._keys)):
            key = self._keys[index]
            if namespace and key[0] != namespace:
                return
            yield key

    def publish(self, event: Event) -> None:
        """Log a committed change and tell the watches."""
        if len(self.log) == self.log.maxlen:
            self.floor = self.log[0].version
        self.log.append(event)
        for listener in tuple(self.listeners):
            listener(event)


class Store:
    """Every collection, one sequence of resource versions, and the journal beneath.

    A write is seen by reads at once and by watches once it is committed. A version that was read
    but lost in a crash is never given out again: versions jump by RESTART_GAP at each start.
    """

    def __init__(self, path: Path, log_events: int) -> None:
        self._log_events = log_events
        self._collections: dict[Kind, Collection] = {}
        self.observers: list[Listener] = []
        """Called at once with each write, before it is committed."""
        self.journal = Journal(path, self._publish)
        last = self.journal.last_version()
        self.version = last + RESTART_GAP if last else 1
        self.committed = self.version
        self._floor = self.version
        for kind, key, obj in self.journal.load():
            self.collection(kind).put(key, obj)

    def collection(self, kind: Kind) -> Collection:
        """The objects of one kind; an empty collection where none was ever stored."""
        found = self._collections.get(kind)
        if found is None:
            found = self._collections[kind] = Collection(self._log_events, self._floor)
        return found

    def kinds(self) -> list[Kind]:
        """The kinds that have objects."""
        return [kind for kind, collection in self._collections.items() if collection.items]

    def get(self, kind: Kind, key: Key) -> Obj | None:
        """The newest version of an object."""
        return self.collection(kind).items.get(key)

    def put(self, kind: Kind, key: Key, obj: Obj) -> asyncio.Future[None]:
        """Write an object, which gets the next resource version; the future is done once it is on disk."""
        collection = self.collection(kind)
        before = collection.items.get(key)
        self._stamp(obj)
        body = encode(obj)  # before all else: nobody sees an object that cannot be kept
        collection.put(key, obj)
        return self._record(Event(MODIFIED if before else ADDED, kind, key, self.version, obj, before), body)

    def delete(self, kind: Kind, key: Key) -> asyncio.Future[None]:
        """Remove an object that is there; its last state carries the version of its deletion."""
        collection = self.collection(kind)
        before = collection.items[key]
        gone = {**before, "metadata": dict(before["metadata"])}
        self._stamp(gone)
        collection.remove(key)
        return self._record(Event(DELETED, kind, key, self.version, gone, before), None)

    def _stamp(self, obj: Obj) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)

    def _record(self, event: Event, body: bytes | None) -> asyncio.Future[None]:
        for observer in self.observers:
            observer(event)
        return self.journal.append(event, body)

    def _publish(self, batch: list[Event]) -> None:
        for event in batch:
            self.committed = event.version
            self.collection(event.kind).publish(event)
