"""Recorded series in CSV files, and series made by code, as sources of signals."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire
from carbonfleet.clock import Clock
from carbonfleet.signals.reading import HOUR, Kind, Reading, floor_hour, unit_of
from carbonfleet.signals.series import Trace, ZoneKind, read_trace
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError

Curve = Callable[[str, SignalKind, datetime], float | None]
"""The value of a zone in the hour that begins at a moment; None where there is none."""
_LEAST_KNOWN: Final = 0.5
"""The share of an hour that finer values must cover for their mean to stand for it."""


class TraceSettings(Wire):
    """A recorded or made series in a CSV file. Its future serves as a perfect forecast."""

    type: Literal["trace"] = "trace"
    path: Path
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./-]*$", max_length=64)] = "trace"
    forecast: bool = True
    """False: what is to come stays unknown."""


class TraceSource:
    """A curve over time, replayed: what is past is measured, what is to come is the forecast."""

    remote = False

    def __init__(
        self,
        name: str,
        covered: Collection[ZoneKind],
        curve: Curve,
        *,
        with_forecast: bool = True,
        troubles: Mapping[str, str] | None = None,
    ) -> None:
        """`troubles`: what a check is to say of a zone."""
        self.name = name
        self._troubles = troubles or {}
        self._covered = frozenset(covered)
        self._curve = curve
        self._with_forecast = with_forecast

    @classmethod
    def of(cls, name: str, trace: Trace, *, with_forecast: bool = True) -> "TraceSource":
        """A source that replays `trace` by the hour; of finer values it takes the mean."""
        hourly = {key: series.averaged(HOUR, _LEAST_KNOWN) for key, series in trace.series.items()}

        def curve(zone: str, kind: SignalKind, hour: datetime) -> float | None:
            entry = hourly[zone, kind].get(hour)
            return entry[0] if entry else None

        return cls(name, hourly, curve, with_forecast=with_forecast, troubles=_troubles(trace))

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """What the curve covers; a value of one hour is no factor for all."""
        feeds = {Feed.MEASURED, Feed.PAST} | ({Feed.FORECAST} if self._with_forecast else set())
        return (zone, kind) in self._covered and feed in feeds

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """Hourly values of the asked range, measured ones up to the current hour. Raises NoDataError."""
        readings = tuple(self._readings(ask, now))
        if not readings:
            raise NoDataError(f"{self.name} has no value of {ask.zone} from {ask.start} to {ask.end}")
        return Batch(ask, self.name, now, now, readings, exact=True)

    def _readings(self, ask: Ask, now: datetime) -> Iterator[Reading]:
        if not isinstance(ask.kind, SignalKind) or not self.offers(ask.zone, ask.kind, ask.feed):
            return
        end = ask.end if ask.feed is Feed.FORECAST else min(ask.end, now)
        hour = floor_hour(ask.start)
        settled = ask.feed is not Feed.FORECAST
        while hour < end:
            value = self._curve(ask.zone, ask.kind, hour)
            if value is not None:
                unit = unit_of(ask.kind)
                yield Reading(ask.zone, hour, HOUR, value, ask.kind, unit, self.name, settled, now)
            hour += HOUR

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Which of the zones the trace holds, and what of them was refused."""
        held = {zone for zone, _ in self._covered}
        return tuple(
            Finding(self.name, zone, True, "Ready", "; ".join(filter(None, ("in the trace", self._troubles.get(zone)))))
            if zone in held
            else Finding(
                self.name, zone, False, "UnknownZone", self._troubles.get(zone) or f"the trace holds no zone {zone}"
            )
            for zone in sorted(zones)
        )


def _troubles(trace: Trace) -> Mapping[str, str]:
    """By zone: why it has no series, or how many rows were refused and why the first one was."""
    first = {row.zone: row for row in reversed(trace.rejected)}
    found = {zone: f"{count} rows are refused, the first: {first[zone]}" for zone, count in trace.refused.items()}
    return found | {zone: fault for (zone, _), fault in trace.faults.items()}


def trace_source(settings: TraceSettings, clock: Clock) -> TraceSource:
    """The series in a file. Raises TraceError."""
    return TraceSource.of(settings.name, read_trace(settings.path), with_forecast=settings.forecast)
