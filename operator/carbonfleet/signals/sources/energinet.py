"""Energinet's Energi Data Service: direct emissions of what Denmark's two zones use, measured and forecast, no key.

Shape and quirks: https://www.energidataservice.dk/guides/api-guides, datasets CO2Emis and CO2EmisProg: five minutes,
g/kWh with imports; times without an offset, in UTC in the column Minutes5UTC; `start` and `end` are Danish time unless
`timezone=UTC`; newest first unless sorted; a hundred rows unless `limit=0`; 40 requests in ten seconds, then five
minutes of 429. CC BY 4.0, "Source: Energinet (www.energidataservice.dk)".
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Foreign, Wire
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint
from carbonfleet.signals.reading import Kind, Reason
from carbonfleet.signals.source import (
    Ask,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    UnavailableError,
    UnknownZoneError,
    provider_client,
    tried,
)
from carbonfleet.signals.validation import Frame, Point, batch_of, read_items, shown

AREAS: Final[Mapping[str, str]] = {"DK-DK1": "DK1", "DK-DK2": "DK2"}
_STEP: Final = timedelta(minutes=5)
_LONGEST_RANGE: Final = timedelta(days=31)


class _Record(Foreign):
    at: object = Field(default=None, alias="Minutes5UTC")
    area: object = Field(default=None, alias="PriceArea")
    grams_per_kwh: object = Field(default=None, alias="CO2Emission")


class EnerginetSettings(Wire):
    """Energinet's Energi Data Service: Denmark, direct emissions, without a key."""

    type: Literal["energinet"] = "energinet"
    endpoint: Endpoint = Endpoint(
        url="https://api.energidataservice.dk", read_seconds=30, requests_per_minute=60, throttle_seconds=300
    )


class Energinet:
    """What Denmark uses: plants, and imports by the neighbours' emissions."""

    name = "energinet"
    remote = True

    def __init__(self, settings: EnerginetSettings, clock: Clock) -> None:
        self._client = provider_client(settings.endpoint, clock)

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Denmark's two zones, direct; never mixed with lifecycle values."""
        return zone in AREAS and kind is SignalKind.AVERAGE_DIRECT and feed is not Feed.STATIC

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """One request. Raises SourceError."""
        area = AREAS.get(ask.zone)
        if area is None:
            raise UnknownZoneError(f"{self.name} knows {', '.join(AREAS)}, and no {ask.zone}")
        start, end = ask.start, ask.end if ask.feed is Feed.FORECAST else min(ask.end, now)
        query = {
            "start": _minute(max(start, end - _LONGEST_RANGE)),
            "end": _minute(end + _STEP),
            "timezone": "UTC",
            "filter": json.dumps({"PriceArea": [area]}),
            "columns": "Minutes5UTC,PriceArea,CO2Emission",
            "sort": "Minutes5UTC",
            "limit": 0,
        }
        answer = self._client.get(f"dataset/CO2Emis{'Prog' * (ask.feed is Feed.FORECAST)}", query, {})
        if answer.status != 200:
            raise UnavailableError(f"{self.name} answered HTTP {answer.status}: {answer.text[:200]}")
        records = answer.body.get("records") if isinstance(answer.body, dict) else None
        if not isinstance(records, list):
            raise MistrustedError(f"{self.name} answered in a form that is not documented")
        points = (_point(record, area) for record in read_items(records, _Record))
        return batch_of(points, Frame(ask, self.name, _STEP, now))

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Denmark's zones; it needs no key."""
        return tried(self, zones, now, self._client, "CC BY 4.0, Energinet")


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


def _point(record: _Record, area: str) -> Point:
    refused = None if record.area == area else (Reason.WRONG_ZONE, f"of area {shown(record.area)}")
    at = f"{record.at}+00:00" if isinstance(record.at, str) else record.at
    return Point(at, record.grams_per_kwh, refused=refused)
