"""When each spoke's agent was last heard, by the hub's own clock, and by how much the agent's is off."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from carbonfleet.api.wire import Time
from carbonfleet.clock import Clock
from carbonfleet.faults import only
from carbonfleet.kube import Object, name_of

MOST_SKEW: Final = timedelta(minutes=1)
"""A clock that is off by less is not worth a word."""
_ON_ITS_WAY: Final = timedelta(seconds=5)
"""Of real time, from an agent's look at its clock until the hub has the heartbeat."""
_TIME: Final = TypeAdapter(Time)
_NONE: Final = timedelta()


@dataclass(frozen=True, slots=True)
class Heard:
    """The last heartbeat of an agent."""

    at: datetime | None
    """When it came, by the hub's clock; of one from before the hub's start, when the agent says that it wrote it, and
    None where it says so by a clock that is ahead: it may be of any age.
    """
    skew: timedelta = _NONE
    """By how much the agent's clock is ahead of the hub's, below zero where it is behind; as far as that is certain."""


@dataclass(frozen=True, slots=True)
class _Beat:
    written: datetime
    """By the agent's clock."""
    heard_at: float | None
    """By the hub's, in seconds that never go back."""
    apart: timedelta
    """By how much the two differed at least."""
    skew: timedelta = _NONE


@dataclass(slots=True)
class Heartbeats:
    """Notes when heartbeats change: their own dates say nothing where a clock is wrong, or a spoke lies.

    What it remembers can be lost: after a start, heartbeats that are there are believed, save those from the future.
    """

    clock: Clock
    status_field: str = "heartbeatTime"
    """Of a SpokeCluster's status."""
    _known: dict[str, _Beat] = field(default_factory=dict)
    _looked_at: float | None = None

    def hear(self, bodies: Iterable[Object], now: datetime) -> dict[str, Heard]:
        """By spoke: the last heartbeat, of those that ever sent one; `bodies` are SpokeClusters."""
        since_start = self.clock.elapsed_seconds()
        known: dict[str, _Beat] = {}
        heard: dict[str, Heard] = {}
        for body in bodies:
            with only(f"{self.status_field} of SpokeCluster {name_of(body)} can't be told"):
                name, written = str(body["metadata"]["name"]), _written(body, self.status_field)
                if written is not None:
                    known[name] = beat = self._beat(name, written, now, since_start)
                    heard[name] = Heard(_moment(beat.heard_at, now, since_start), beat.skew)
        self._known, self._looked_at = known, since_start
        return heard

    def _beat(self, name: str, written: datetime, now: datetime, since_start: float) -> _Beat:
        known = self._known.get(name)
        if known is not None and known.written == written:
            return known
        ahead = max(_NONE, written - now)
        if self._looked_at is None:
            skew, age = self._worth_a_word(ahead), max(_NONE, now - written)
            return _Beat(written, None if skew else since_start - age.total_seconds(), ahead, skew)
        # It was not there when we looked last, so a clock that dates it before that look is behind.
        last_look = now - timedelta(seconds=since_start - self._looked_at)
        apart = ahead or min(_NONE, written - last_look)
        # A heartbeat may have been held up on its way, two in a row hardly.
        certain = apart if apart >= _NONE else max(apart, min(_NONE, known.apart if known else _NONE))
        return _Beat(written, since_start, apart, self._worth_a_word(certain))

    def _worth_a_word(self, skew: timedelta) -> timedelta:
        return skew if abs(skew) > max(MOST_SKEW, _ON_ITS_WAY * self.clock.speed) else _NONE


def alive_within(heard: Mapping[str, Heard], now: datetime, grace: timedelta) -> frozenset[str]:
    """Spokes that were heard within `grace`."""
    return frozenset(name for name, last in heard.items() if last.at is not None and now - last.at <= grace)


def next_silence(heard: Mapping[str, Heard], now: datetime, grace: timedelta) -> datetime | None:
    """When the first of the spokes that are alive is so no longer, unless it is heard again; None where none is."""
    moments = (last.at + grace for last in heard.values() if last.at is not None)
    return min((moment for moment in moments if moment >= now), default=None)


def _moment(heard_at: float | None, now: datetime, since_start: float) -> datetime | None:
    return None if heard_at is None else now - timedelta(seconds=since_start - heard_at)


def _written(body: Object, name: str) -> datetime | None:
    try:
        return _TIME.validate_python(body["status"][name])
    except (ValidationError, KeyError, TypeError):
        return None
