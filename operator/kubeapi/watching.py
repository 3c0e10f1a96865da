"""Watches: each event is serialised once and handed to every client that follows its kind."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator

from kubeapi.calls import Call
from kubeapi.clock import Clock
from kubeapi.conversion import to_served
from kubeapi.errors import bad_request, expired
from kubeapi.reads import Reads, Shape, raw_of, selector_of
from kubeapi.resources import Resource
from kubeapi.selectors import Selector
from kubeapi.store import ADDED, DELETED, MODIFIED, Collection, Event, Store, Stored
from kubeapi.table import make_table, partial_metadata
from kubeapi.values import Obj, encode

_MOST_BEHIND = 50_000
"""Events that a slow client may be behind before its watch is ended (it then lists again)."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    """One client's watch: what it still has to be sent, in order."""

    def __init__(
        self, store: Store, reads: Reads, call: Call, shape: Shape, clock: Clock, bookmark_seconds: float
    ) -> None:
        self._store = store
        self._call = call
        self._clock = clock
        self._shape = shape
        self._resource: Resource = call.resource
        self._selector: Selector | None = selector_of(call)
        self._bookmark_seconds = bookmark_seconds
        self._bookmarks = call.flag("allowWatchBookmarks")
        self._collection: Collection = store.collection(call.resource.storage)
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._start(reads)

    def _start(self, reads: Reads) -> None:
        """Queue what the client has missed, and listen from here on."""
        text = self._call.query.get("resourceVersion", "")
        initial = self._call.flag("sendInitialEvents")
        if text and not text.isdigit():
            raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
        if initial and not self._bookmarks:
            raise bad_request("sendInitialEvents is forbidden unless allowWatchBookmarks is set")
        version = int(text or 0)
        if initial or version == 0:
            self._queue.extend(self._line(ADDED, stored) for stored in reads.select(self._call))
            version = self._store.version
        elif version < self._collection.floor or version > self._store.version:
            status = expired(f"too old resource version: {version} ({self._collection.floor})").status()
            self._queue.append(_wrapped("ERROR", encode(status)))
            self._ended = True
            return
        else:
            for event in self._collection.log:
                if event.version > version:
                    self._take(event)
        if initial:
            self._queue.append(self._bookmark(version, {INITIAL_EVENTS_END: "true"}))
        self._seen = version
        self._collection.listeners.add(self._hear)

    def _hear(self, event: Event) -> None:
        """A committed event; those that the first listing already held are passed over."""
        if event.version > self._seen:
            self._take(event)
            self._wake.set()
        if len(self._queue) > _MOST_BEHIND:
            self.end()

    def end(self) -> None:
        """Send what is queued and close."""
        self._ended = True
        self._wake.set()

    def _take(self, event: Event) -> None:
        namespace = self._call.target.namespace
        if namespace and event.key[0] != namespace:
            return
        if self._selector is None:
            self._queue.append(self._shared(event))
            return
        is_in = event.type != DELETED and self._matches(event.stored)
        was_in = event.before is not None and self._matches(event.before)
        if is_in:
            self._queue.append(self._line(MODIFIED if was_in else ADDED, event.stored))
        elif was_in:
            self._queue.append(self._line(DELETED, event.stored))

    def _matches(self, stored: Stored) -> bool:
        return self._selector is None or self._selector(to_served(self._resource, stored.obj))

    def _shared(self, event: Event) -> bytes:
        """The event's line, made by the first watch that needs it in this version."""
        if self._shape.table or self._shape.metadata_only:
            return self._line(event.type, event.stored)
        line = event.lines.get(self._resource.api_version)
        if line is None:
            line = event.lines[self._resource.api_version] = self._line(event.type, event.stored)
        return line

    def _line(self, kind: str, stored: Stored) -> bytes:
        if self._shape.table:
            obj = to_served(self._resource, stored.obj)
            meta = {"resourceVersion": str(stored.version)}
            return _wrapped(
                kind, encode(make_table(self._resource, [obj], self._clock.now(), meta, self._shape.include))
            )
        if self._shape.metadata_only:
            return _wrapped(kind, encode(partial_metadata(stored.obj)))
        return _wrapped(kind, raw_of(self._resource, stored))

    def _bookmark(self, version: int, annotations: Obj | None = None) -> bytes:
        meta: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj: Obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        if self._shape.table:
            obj = {**make_table(self._resource, [], self._clock.now(), meta, "None")}
            obj["rows"] = [
                {
                    "cells": [],
                    "object": {
                        "kind": "PartialObjectMetadata",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": meta,
                    },
                }
            ]
        elif self._shape.metadata_only:
            obj = partial_metadata(obj)
        return _wrapped("BOOKMARK", encode(obj))

    def close(self) -> None:
        """Stop listening."""
        self._collection.listeners.discard(self._hear)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What to send, as it comes, until the client's timeout; everything that waits goes in one write."""
        loop = asyncio.get_running_loop()
        seconds = self._call.seconds("timeoutSeconds") or random.uniform(1800, 3600)  # noqa: S311
        deadline = loop.time() + seconds
        while True:
            if self._queue:
                chunk = b"".join(self._queue)
                self._queue.clear()
                yield chunk
            left = deadline - loop.time()
            if self._ended or left <= 0:
                break
            if not await self._woken(min(left, self._bookmark_seconds)) and self._bookmarks and not self._queue:
                self._queue.append(self._bookmark(max(self._seen, self._store.committed)))

    async def _woken(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True


def _wrapped(kind: str, raw: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)
