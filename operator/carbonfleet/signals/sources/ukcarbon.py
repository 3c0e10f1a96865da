"""The Carbon Intensity API of Great Britain (NESO): half hours, no key; direct emissions, and the mix they come from.

https://carbon-intensity.github.io/api-definitions/: `intensity` is direct; `generation` gives each fuel's share in
percent, imports among them, of which a lifecycle intensity of what is made in the country follows. CC BY 4.0, NESO.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Foreign, Wire
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer
from carbonfleet.signals.reading import Kind
from carbonfleet.signals.source import (
    Ask,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    UnavailableError,
    provider_client,
    tried,
)
from carbonfleet.signals.sources.generation import Fuel, FuelSamples, mix_batch
from carbonfleet.signals.validation import Frame, Item, Point, batch_of, parse_time, read_items, shown

ZONE: Final = "GB"
_STEP: Final = timedelta(minutes=30)
_LONGEST_RANGE: Final = timedelta(days=14)
FUELS: Final[Mapping[str, Fuel | None]] = {
    "biomass": Fuel.BIOMASS,
    "coal": Fuel.COAL,
    "gas": Fuel.GAS,
    "hydro": Fuel.HYDRO,
    "nuclear": Fuel.NUCLEAR,
    "oil": Fuel.OIL,
    "other": Fuel.OTHER,
    "solar": Fuel.SOLAR,
    "wind": Fuel.WIND_ONSHORE,
    "imports": None,
    "storage": None,
}


class _Intensity(Foreign):
    forecast: object = None
    actual: object = None


class _Slot(Foreign):
    starts: object = Field(default=None, alias="from")
    intensity: object = None


class _Share(Foreign):
    fuel: object = None
    percent: object = Field(default=None, alias="perc")


class _Mix(Foreign):
    starts: object = Field(default=None, alias="from")
    shares: object = Field(default=None, alias="generationmix")


class UkCarbonSettings(Wire):
    """The Carbon Intensity API of Great Britain."""

    type: Literal["uk-carbon-intensity"] = "uk-carbon-intensity"
    endpoint: Endpoint = Endpoint(url="https://api.carbonintensity.org.uk")


class UkCarbon:
    """National values: what the plants emit, as the API says it; with the lifecycle, by the mix, without imports."""

    name = "uk-carbon-intensity"
    remote = True

    def __init__(self, settings: UkCarbonSettings, clock: Clock) -> None:
        self._client = provider_client(settings.endpoint, clock)

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Great Britain as a whole: direct, measured and forecast; lifecycle, measured."""
        if kind is SignalKind.AVERAGE_LIFECYCLE:
            return zone == ZONE and feed in (Feed.MEASURED, Feed.PAST)
        return zone == ZONE and kind is SignalKind.AVERAGE_DIRECT and feed is not Feed.STATIC

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One request. Raises SourceError."""
        if ask.kind is SignalKind.AVERAGE_LIFECYCLE:
            return mix_batch(self.name, _samples(self._answer("generation", ask, now, _Mix)), ask, now)
        slots = _asked(self._answer("intensity", ask, now, _Slot), ask, now)
        return batch_of((_point(slot, ask) for slot in slots), Frame(ask, self.name, _STEP, now))

    def _answer(self, what: str, ask: Ask, now: datetime, form: type[Item]) -> list[Item]:
        answer = self._client.get(f"{what}/{_span(ask, now)}", {}, {})
        if answer.status != 200:
            raise UnavailableError(f"the UK Carbon Intensity API answered HTTP {answer.status}: {_said(answer)}")
        found = answer.body.get("data") if isinstance(answer.body, dict) else None
        if not isinstance(found, list):
            raise MistrustedError("the UK Carbon Intensity API answered in an unknown form")
        return read_items(found, form)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Great Britain; it needs no key."""
        return tried(self, zones, now, self._client, "CC BY 4.0, NESO")


def _samples(mixes: Iterable[_Mix]) -> FuelSamples:
    """Percent of each fuel in each half hour."""
    samples = FuelSamples(_STEP)
    for mix in mixes:
        start = parse_time(mix.starts)
        if start is None or start.timestamp() % _STEP.total_seconds():
            continue
        for share in read_items(mix.shares, _Share):
            name = shown(share.fuel)
            if (fuel := FUELS.get(name, Fuel.OTHER)) is not None:
                samples.add(name, fuel, start, share.percent)
    return samples


def _span(ask: Ask, now: datetime) -> str:
    if ask.feed is Feed.FORECAST:
        return f"{_minute(now)}/fw48h"
    # They refuse more than 14 days at once.
    start = max(ask.start, ask.end - _LONGEST_RANGE) if ask.feed is Feed.MEASURED else ask.start
    end = min(ask.end, start + _LONGEST_RANGE)
    return f"{_minute(start)}/{_minute(end)}"


def _minute(moment: datetime) -> str:
    """Times in paths have no seconds."""
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def _asked(slots: Iterable[_Slot], ask: Ask, now: datetime) -> Iterable[_Slot]:
    """Without the slot before `from` that answers often lead with; the one that holds `now` stays."""
    first = (now if ask.feed is Feed.FORECAST else ask.start) - _STEP
    for slot in slots:
        start = parse_time(slot.starts)
        if start is None or start > first:
            yield slot


def _point(slot: _Slot, ask: Ask) -> Point:
    (values,) = read_items([slot.intensity], _Intensity)
    return Point(slot.starts, values.forecast if ask.feed is Feed.FORECAST else values.actual)


def _said(answer: HttpAnswer) -> str:
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    return str(error.get("message") if isinstance(error, dict) else answer.text)[:200]
