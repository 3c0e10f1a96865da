"""One factor for each zone: the last link before a job's own rule for the loss of all signals."""

from collections.abc import Collection, Mapping
from datetime import datetime

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.reading import Kind, Reading, unit_of
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError


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
            Finding(self.name, zone, True, "Ready", f"{self._factors[zone][0]:g} g/kWh")
            if zone in self._factors
            else Finding(self.name, zone, False, "NoFactor", "no static factor is declared")
            for zone in sorted(zones)
        )
