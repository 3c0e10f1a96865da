"""Asking the sources in their declared order, in the background where that may take long."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from carbonfleet.faults import only, said
from carbonfleet.signals.reading import Kind, family
from carbonfleet.signals.source import (
    Ask,
    BadKeyError,
    Batch,
    Feed,
    RefusedError,
    Source,
    SourceError,
    UnavailableError,
)

_REFUSAL_REMEMBERED: Final = timedelta(hours=24)
_KEY_REMEMBERED: Final = timedelta(minutes=5)
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ZoneQuery:
    """What to find out of one zone and kind: the first of `asks` that any source answers."""

    asks: tuple[Ask, ...]
    now: datetime
    besides: str = ""
    """A family of sources that is not asked: it has answered, and another is to confirm it."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """How an query ended: an answer or none, and every failure on the way."""

    query: ZoneQuery
    batch: Batch | None
    failures: tuple[tuple[str, Feed, SourceError], ...]
    """Source, feed and what went wrong."""


class Poller:
    """Runs queries; remembers what sources refused for good."""

    def __init__(self, sources: Sequence[Source], workers: int) -> None:
        self._sources = tuple(sources)
        self._refusals: dict[tuple[str, str, Kind, Feed], tuple[datetime, SourceError]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="signals")

    def close(self) -> None:
        """Drop what waits; what is under way ends by its own time-out."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have something computed in the background."""
        return self._pool.submit(work)

    def offering(self, zone: str, kind: Kind, feed: Feed) -> tuple[Source, ...]:
        """The sources that could answer, in their order."""
        found = []
        for source in self._sources:
            with only(f"{source.name}: whether it offers {zone} can't be told"):
                if source.offers(zone, kind, feed):
                    found.append(source)
        return tuple(found)

    def _asked(self, query: ZoneQuery, ask: Ask) -> tuple[Source, ...]:
        return tuple(each for each in self.offering(ask.zone, ask.kind, ask.feed) if family(each.name) != query.besides)

    def send(self, query: ZoneQuery) -> Future[PollResult]:
        """The outcome to come; it is there at once when no remote source could be asked."""
        if any(source.remote for ask in query.asks for source in self._asked(query, ask)):
            return self._pool.submit(self.run, query)
        done: Future[PollResult] = Future()
        done.set_result(self.run(query))
        return done

    def run(self, query: ZoneQuery) -> PollResult:
        """Ask until somebody answers. Never raises."""
        failures: list[tuple[str, Feed, SourceError]] = []
        for ask in query.asks:
            for source in self._asked(query, ask):
                try:
                    return PollResult(query, self.fetch(source, ask, query.now), tuple(failures))
                except SourceError as error:
                    failures.append((source.name, ask.feed, error))
                    _log.debug("%s of %s from %s: %s", ask.feed, ask.zone, source.name, error)
        return PollResult(query, None, tuple(failures))

    def fetch(self, source: Source, ask: Ask, now: datetime) -> Batch:
        """One source's answer, unless it refused this question for good before. Raises SourceError."""
        key = (source.name, ask.zone, ask.kind, ask.feed)
        with self._lock:
            until, error = self._refusals.get(key, (now, None))
        if error is not None and now < until:
            raise error
        try:
            return source.fetch(ask, now)
        except SourceError as refusal:
            self._remember(key, refusal, now)
            raise
        except Exception as unforeseen:  # One source's fault must not stop the others.
            fault = f"{source.name} failed on {ask.zone}: {said(unforeseen)}"
            _log.exception("%s", fault)
            raise UnavailableError(fault) from unforeseen

    def _remember(self, key: tuple[str, str, Kind, Feed], error: SourceError, now: datetime) -> None:
        spans = {RefusedError: _REFUSAL_REMEMBERED, BadKeyError: _KEY_REMEMBERED}
        span = next((span for kind, span in spans.items() if isinstance(error, kind)), None)
        if span is not None:
            with self._lock:
                self._refusals[key] = (now + span, error)


def jittered(span: timedelta) -> timedelta:
    """`span`, lengthened by up to a tenth, so that zones do not all fall due together."""
    return span * random.uniform(1.0, 1.1)  # noqa: S311 - jitter is no secret
