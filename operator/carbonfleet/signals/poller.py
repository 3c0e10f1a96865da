"""Asking the sources in their declared order, in the background where that may take long."""

import logging
import random
import threading
from collections import Counter
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
_KEY_GOOD: Final = timedelta(hours=1)
_REFUSALS_BELIEVED: Final = 3
_Question = tuple[str, str, Kind, Feed]
"""Source, zone, kind and feed."""
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
        self._refusals: dict[_Question, tuple[datetime, SourceError]] = {}
        self._refused: Counter[_Question] = Counter()
        """How often in a row."""
        self._answered: dict[_Question | str, datetime] = {}
        """When last, by question and by source."""
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
            batch = source.fetch(ask, now)
        except (RefusedError, BadKeyError) as refusal:
            if (weighed := self._weighed(key, refusal, now)) is not refusal:
                raise weighed from refusal
            raise
        except SourceError:
            raise
        except Exception as unforeseen:  # One source's fault must not stop the others.
            fault = f"{source.name} failed on {ask.zone}: {said(unforeseen)}"
            _log.exception("%s", fault)
            raise UnavailableError(fault) from unforeseen
        with self._lock:
            self._answered[key] = self._answered[source.name] = now
            self._refused.pop(key, None)
        return batch

    def _weighed(self, key: _Question, refusal: SourceError, now: datetime) -> SourceError:
        """A refusal beside what the source answered before.

        What was answered before is asked again, unless it is refused a third time in a row; a key with which other
        questions were answered within the hour is no wrong key. Other refusals are remembered.
        """
        span = _KEY_REMEMBERED if isinstance(refusal, BadKeyError) else _REFUSAL_REMEMBERED
        with self._lock:
            self._refused[key] += 1
            if key in self._answered and self._refused[key] < _REFUSALS_BELIEVED:
                return UnavailableError(f"{refusal.message}; it answered this before, and is asked again")
            elsewhere = self._answered.get(key[0])
            if isinstance(refusal, BadKeyError) and elsewhere is not None and now - elsewhere <= _KEY_GOOD:
                refusal = RefusedError(f"{refusal.message}; it answers for others, so that the key is good")
            self._refusals[key] = (now + span, refusal)
            return refusal


def jittered(span: timedelta) -> timedelta:
    """`span`, lengthened by up to a tenth, so that zones do not all fall due together."""
    return span * random.uniform(1.0, 1.1)  # noqa: S311 - jitter is no secret
