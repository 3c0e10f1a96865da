"""Grid data for the demo: a small made trace of three zones, or live forecasts fetched once and replayed."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire, ZoneKey
from carbonfleet.clock import Clock
from carbonfleet.signals.reading import HOUR
from carbonfleet.signals.series import Series, Trace
from carbonfleet.signals.source import Ask, Feed, Source
from carbonfleet.signals.sources.electricitymaps import ElectricityMaps, ElectricityMapsSettings
from carbonfleet.signals.sources.trace import TraceSource

SOURCE_NAME: Final = "demo-trace"


class DemoGridSettings(Wire):
    """The demo's grid: a made trace, or live forecasts fetched once at start and replayed."""

    type: Literal["demo"] = "demo"
    replay: ElectricityMapsSettings | None = None
    zones: Annotated[tuple[ZoneKey, ...], Field(max_length=32)] = ("NO-NO1", "CA-QC", "US-MIDA-PJM")
    """The zones to fetch for a replay."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A daily wave between two values, in g/kWh, and the UTC hour at which it is lowest."""

    low: float
    high: float
    cleanest_hour: float


# Ranges: 21 routing decisions of 15 to 18 December 2025 over Norway, Quebec and Ohio, live values
# of Electricity Maps. The daily shape is made: cleanest at 03 local time, with a small second wave.
_SHAPES: Final = {
    "NO-NO1": _Shape(33.0, 39.0, 2.0),
    "CA-QC": _Shape(40.0, 63.0, 8.0),
    "US-MIDA-PJM": _Shape(472.0, 580.0, 8.0),
}

ZONES: Final = tuple(_SHAPES)
"""The trace's zones."""


def demo_value(zone: str, kind: SignalKind, hour: datetime) -> float | None:
    """The made intensity of a zone in the UTC hour at `hour`, in g/kWh; None for other zones and kinds."""
    shape = _SHAPES.get(zone)
    if shape is None or kind is not SignalKind.AVERAGE_LIFECYCLE:
        return None
    moment = hour.astimezone(UTC)
    phase = 2 * math.pi * (moment.hour - shape.cleanest_hour) / 24
    # Days differ by a tenth of the range, so that a profile is not a perfect forecast.
    day = 0.1 * math.sin(2.4 * moment.toordinal())
    wave = 0.5 - 0.5 * math.cos(phase) + 0.06 * math.sin(2 * phase)
    share = min(1.0, max(0.0, 0.08 + 0.84 * wave + day * (1 - abs(2 * wave - 1))))
    return round(shape.low + (shape.high - shape.low) * share, 1)


def demo_trace() -> TraceSource:
    """The made trace as a source; the same hour always has the same value."""
    covered = [(zone, SignalKind.AVERAGE_LIFECYCLE) for zone in _SHAPES]
    return TraceSource(SOURCE_NAME, covered, demo_value)


def replayed(source: Source, zones: Collection[str], now: datetime) -> TraceSource:
    """What a live source says of the last day and the next three, as a trace to replay at any speed.

    Named after its source, such as `electricitymaps/v3 replayed`. The live values are fetched once, here.
    Raises SourceError when a zone can't be had.
    """
    kind = SignalKind.AVERAGE_LIFECYCLE
    series: dict[tuple[str, SignalKind], Series] = {}
    for zone in sorted(zones):
        hours: dict[datetime, tuple[float, bool]] = {}
        for feed in (Feed.FORECAST, Feed.MEASURED):
            ask = Ask(zone, kind, feed, now - timedelta(days=1), now + timedelta(days=3))
            hours |= {reading.start: (reading.value, reading.settled) for reading in source.fetch(ask, now).readings}
        series[zone, kind] = Series(HOUR, hours)
    return TraceSource.of(f"{source.name} replayed", Trace(series))


def demo_source(settings: DemoGridSettings, clock: Clock) -> Source:
    """The made trace, or a replay of live values. Raises SourceError where these can't be had."""
    if settings.replay is None:
        return demo_trace()
    return replayed(ElectricityMaps(settings.replay, clock), settings.zones, clock.now())
