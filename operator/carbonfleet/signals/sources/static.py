"""One factor for each zone: the last link before a job's own rule for the loss of all signals."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire, ZoneKey
from carbonfleet.clock import Clock
from carbonfleet.signals.reading import Kind, Reading, unit_of
from carbonfleet.signals.regions import annual_factors
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError

Grams = Annotated[float, Field(ge=0, le=2000)]


class StaticSettings(Wire):
    """One factor for each zone, the last resort."""

    type: Literal["static"] = "static"
    kind: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    grams_per_kwh: Annotated[Mapping[ZoneKey, Grams], Field(max_length=1000)] = {}
    annual_averages: bool = False
    """True: for other zones, the grid's annual average as the region table gives it."""


class StaticFactors:
    """Factors that people declared, each with its own origin."""

    remote = False
    name = "static"

    def __init__(self, kind: SignalKind, factors: Mapping[str, tuple[float, str]]) -> None:
        """`factors`: g/kWh and origin, by zone."""
        self._kind = kind
        self._factors = dict(factors)

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """A factor is neither measured nor forecast: it has a feed of its own."""
        return kind is self._kind and zone in self._factors and feed is Feed.STATIC

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """The factor over the whole asked span. Raises NoDataError."""
        if not self.offers(ask.zone, ask.kind, ask.feed):
            raise NoDataError(f"no static factor is declared for {ask.zone}")
        value, origin = self._factors[ask.zone]
        reading = Reading(
            ask.zone, ask.start, ask.end - ask.start, value, ask.kind, unit_of(ask.kind), origin, False, now
        )
        return Batch(ask, self.name, now, now, (reading,))

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Which of the zones have a factor."""
        return tuple(
            Finding(self.name, zone, True, "Ready", "{:g} g/kWh, {}".format(*self._factors[zone]))
            if zone in self._factors
            else Finding(self.name, zone, False, "NoFactor", "no static factor is declared")
            for zone in sorted(zones)
        )


def static_source(settings: StaticSettings, clock: Clock) -> StaticFactors:
    """The declared factors, over the region table's annual means where these are wanted."""
    declared = {zone: (grams, "static, as declared") for zone, grams in settings.grams_per_kwh.items()}
    annual = annual_factors(settings.kind) if settings.annual_averages else {}
    return StaticFactors(settings.kind, {**annual, **declared})
