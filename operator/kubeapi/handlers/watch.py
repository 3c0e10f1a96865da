"""Watches: every change of a kind, in order, for each client that follows it."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from kubeapi.call import Call
from kubeapi.errors import bad_request, expired
from kubeapi.handlers.read import select, selector_of
from kubeapi.handlers.table import Shape
from kubeapi.objects import Obj, encode
from kubeapi.registry import to_served
from kubeapi.service import Service
from kubeapi.storage import ADDED, DELETED, MODIFIED, Event

_MOST_BEHIND: Final = 50_000
"""Events that a slow client may be behind before its watch is ended (it then lists again)."""

_INITIAL_EVENTS_END: Final = {"k8s.io/initial-events-end": "true"}


class Watch:
    """One client's watch: what it still has to be sent, in order."""

    def __init__(self, service: Service, call: Call, shape: Shape, bookmark_seconds: float) -> None:
        self._store = service.store
        self._clock = service.clock
        self._call = call
        self._shape = shape
        self._selector = selector_of(call)
        self._bookmark_seconds = bookmark_seconds
        self._bookmarks = call.flag("allowWatchBookmarks")
        self._collection = service.store.collection(call.resource.storage)
        self._queue: deque[tuple[str, Obj]] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._start()

    def _start(self) -> None:
        """Queue what the client has missed, and listen from here on."""
        text = self._call.query.get("resourceVersion", "")
        initial = self._call.flag("sendInitialEvents")
        if text and not text.isdigit():
            raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
        if initial and not self._bookmarks:
            raise bad_request("sendInitialEvents is forbidden unless allowWatchBookmarks is set")
        version = int(text or 0)
        if initial or version == 0:
            self._queue.extend((ADDED, self._shaped(obj)) for obj in select(self._store, self._call))
            version = self._store.version
        elif version < self._collection.floor or version > self._store.version:
            self._queue.append(
                ("ERROR", expired(f"too old resource version: {version} ({self._collection.floor})").status())
            )
            self._ended = True
            return
        else:
            for event in self._collection.log:
                if event.version > version:
                    self._enqueue(event)
        if initial:
            self._queue.append(("BOOKMARK", self._bookmark(version, _INITIAL_EVENTS_END)))
        self._seen = version
        self._collection.listeners.add(self._on_event)

    def _on_event(self, event: Event) -> None:
        """A committed event; those that the first listing already held are passed over."""
        if event.version > self._seen:
            self._enqueue(event)
            self._wake.set()
        if len(self._queue) > _MOST_BEHIND:
            self.end()

    def end(self) -> None:
        """Send what is queued and close."""
        self._ended = True
        self._wake.set()

    def _enqueue(self, event: Event) -> None:
        """Queue an event as this watch sees it: what leaves the selection is deleted, what enters it is added."""
        namespace = self._call.target.namespace
        if namespace and event.key[0] != namespace:
            return
        is_in = event.type != DELETED and self._selects(event.obj)
        was_in = event.before is not None and self._selects(event.before)
        if is_in or was_in:
            kind = DELETED if not is_in else MODIFIED if was_in else ADDED
            self._queue.append((kind, self._shaped(to_served(self._call.resource, event.obj))))

    def _selects(self, obj: Obj) -> bool:
        return self._selector(to_served(self._call.resource, obj))

    def _shaped(self, obj: Obj) -> Obj:
        return self._shape.one(self._call.resource, obj, self._clock.now())

    def _bookmark(self, version: int, annotations: Obj | None = None) -> Obj:
        meta: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        resource = self._call.resource
        obj = self._shaped({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta})
        if self._shape.table:
            row = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
            obj |= {"metadata": meta, "rows": [{"cells": [], "object": row}]}
        return obj

    def close(self) -> None:
        """Stop listening."""
        self._collection.listeners.discard(self._on_event)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What to send, as it comes, until the client's timeout; everything that waits goes in one write."""
        loop = asyncio.get_running_loop()
        seconds = self._call.seconds("timeoutSeconds") or random.uniform(1800, 3600)  # noqa: S311
        deadline = loop.time() + seconds
        while True:
            if self._queue:
                lines = [b'{"type":"%b","object":%b}\n' % (kind.encode(), encode(obj)) for kind, obj in self._queue]
                self._queue.clear()
                yield b"".join(lines)
            left = deadline - loop.time()
            if self._ended or left <= 0:
                break
            if not await self._woken(min(left, self._bookmark_seconds)) and self._bookmarks and not self._queue:
                self._queue.append(("BOOKMARK", self._bookmark(max(self._seen, self._store.committed))))

    async def _woken(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True
