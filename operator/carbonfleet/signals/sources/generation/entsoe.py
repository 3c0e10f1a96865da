"""ENTSO-E's Transparency Platform: actual generation per production type in Europe's bidding zones, with a free token.

Shape and quirks: https://transparencyplatform.zendesk.com (Web API guide), document type A75, process type A16: an XML
document with a series for each production type (code list PsrType, B01 to B25), and one of its own for what storage and
plants consume; curve type A03 leaves out points that repeat the one before; resolutions differ between types; times in
UTC; "no matching data" is an acknowledgement document with HTTP 200 or 400; 400 requests a minute, then ten minutes of
429. Free reuse (CC BY 4.0) of generation data, with ENTSO-E Transparency Platform named as the source.

ElementTree reads it, with its own bounds: `entsoe-py` would bring pandas and Beautiful Soup for one document.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from xml.etree import ElementTree

from carbonfleet.api.wire import Wire, ZoneKey
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, HttpAnswer, Key
from carbonfleet.signals.reading import HOUR
from carbonfleet.signals.source import (
    BadKeyError,
    MistrustedError,
    NoDataError,
    PlaceName,
    RefusedError,
    UnavailableError,
    provider_client,
)
from carbonfleet.signals.sources.generation.mix import Fuel
from carbonfleet.signals.sources.generation.provider import FuelSamples, MixSource
from carbonfleet.signals.validation import parse_time

TOKEN_VARIABLE: Final = "ENTSOE_TOKEN"  # noqa: S105 - the variable's name
REGISTRATION: Final = "https://transparency.entsoe.eu (register, then ask transparency@entsoe.eu for API access)"
MOST_ELEMENTS: Final = 1_000_000
"""Two months of quarter hours of twenty types have about 500,000."""
_LONGEST_RANGE: Final = timedelta(days=62)
_STEPS: Final = {
    "PT15M": timedelta(minutes=15),
    "PT30M": timedelta(minutes=30),
    "PT60M": HOUR,
    "PT1H": HOUR,
}
FUELS: Final[Mapping[str, Fuel | None]] = {
    "B01": Fuel.BIOMASS,
    "B02": Fuel.LIGNITE,
    "B03": Fuel.COAL,
    "B04": Fuel.GAS,
    "B05": Fuel.COAL,
    "B06": Fuel.OIL,
    "B07": Fuel.OIL_SHALE,
    "B08": Fuel.PEAT,
    "B09": Fuel.GEOTHERMAL,
    "B10": None,
    "B11": Fuel.HYDRO,
    "B12": Fuel.HYDRO,
    "B13": Fuel.MARINE,
    "B14": Fuel.NUCLEAR,
    "B15": Fuel.BIOMASS,
    "B16": Fuel.SOLAR,
    "B17": Fuel.OTHER,
    "B18": Fuel.WIND_OFFSHORE,
    "B19": Fuel.WIND_ONSHORE,
    "B20": Fuel.OTHER,
    # Lines, substations and transformers, and energy storage.
    "B21": None,
    "B22": None,
    "B23": None,
    "B24": None,
    "B25": None,
}
AREAS: Final[Mapping[str, str]] = {
    "AL": "10YAL-KESH-----5",
    "AT": "10YAT-APG------L",
    "BA": "10YBA-JPCC-----D",
    "BE": "10YBE----------2",
    "BG": "10YCA-BULGARIA-R",
    "CH": "10YCH-SWISSGRIDZ",
    "CY": "10YCY-1001A0003J",
    "CZ": "10YCZ-CEPS-----N",
    "DE": "10Y1001A1001A83F",
    "DK-DK1": "10YDK-1--------W",
    "DK-DK2": "10YDK-2--------M",
    "EE": "10Y1001A1001A39I",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "GB-NIR": "10Y1001A1001A016",
    "GR": "10YGR-HTSO-----Y",
    "HR": "10YHR-HEP------M",
    "HU": "10YHU-MAVIR----U",
    "IE": "10YIE-1001A00010",
    "IT-CNO": "10Y1001A1001A70O",
    "IT-CSO": "10Y1001A1001A71M",
    "IT-NO": "10Y1001A1001A73I",
    "IT-SAR": "10Y1001A1001A74G",
    "IT-SIC": "10Y1001A1001A75E",
    "IT-SO": "10Y1001A1001A788",
    "LT": "10YLT-1001A0008Q",
    "LU": "10YLU-CEGEDEL-NQ",
    "LV": "10YLV-1001A00074",
    "ME": "10YCS-CG-TSO---S",
    "MK": "10YMK-MEPSO----8",
    "NL": "10YNL----------L",
    "NO-NO1": "10YNO-1--------2",
    "NO-NO2": "10YNO-2--------T",
    "NO-NO3": "10YNO-3--------J",
    "NO-NO4": "10YNO-4--------9",
    "NO-NO5": "10Y1001A1001A48H",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "RO": "10YRO-TEL------P",
    "RS": "10YCS-SERBIATSOV",
    "SE-SE1": "10Y1001A1001A44P",
    "SE-SE2": "10Y1001A1001A45N",
    "SE-SE3": "10Y1001A1001A46L",
    "SE-SE4": "10Y1001A1001A47J",
    "SI": "10YSI-ELES-----O",
    "SK": "10YSK-SEPS-----K",
}
"""Energy identification codes of areas, by Electricity Maps' keys."""


class EntsoeSettings(Wire):
    """ENTSO-E's Transparency Platform: Europe's bidding zones, with a free token."""

    type: Literal["entsoe"] = "entsoe"
    endpoint: Endpoint = Endpoint(url="https://web-api.tp.entsoe.eu", read_seconds=60, throttle_seconds=600)
    token: Key = Key(variable=TOKEN_VARIABLE)
    areas: Mapping[ZoneKey, PlaceName] = {}
    """The identification code of an area for a zone, over our table's."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What was made in [start, start + step), in MW."""

    start: datetime
    step: timedelta
    megawatts: float


class _Bounded(ElementTree.TreeBuilder):
    """Builds no document that declares entities, nor one of countless elements."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST_ELEMENTS

    def doctype(self, *_: object) -> None:
        raise ValueError("a document type is declared")

    def start(self, tag: str, attrs: dict[str, str], /) -> "ElementTree.Element":
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")
        # Namespaces change with versions of the document.
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str, /) -> "ElementTree.Element":
        return super().end(tag.rpartition("}")[2])


def read_document(raw: bytes) -> "ElementTree.Element":
    """The root of an XML document, without namespaces. Raises ValueError."""
    parser = ElementTree.XMLParser(target=_Bounded())  # noqa: S314 - see _Bounded
    try:
        parser.feed(raw)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not an XML document: {error}") from error
    return root


class Entsoe:
    """Actual generation of one area at a time."""

    name = "entsoe"
    licence = "CC BY 4.0, ENTSO-E Transparency Platform"

    def __init__(self, settings: EntsoeSettings, clock: Clock) -> None:
        self._settings = settings
        self.client = provider_client(settings.endpoint, clock, read_document)

    def place(self, zone: str) -> str | None:
        """The area's identification code."""
        return self._settings.areas.get(zone) or AREAS.get(zone)

    def samples(self, place: str, start: datetime, end: datetime) -> FuelSamples:
        """At most 62 days, in one request."""
        token = self._settings.token.read()
        if not token.get_secret_value():
            raise BadKeyError(
                f"no ENTSO-E token is set: {TOKEN_VARIABLE} takes one, free of charge from {REGISTRATION}"
            )
        query = {
            "securityToken": token,
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": place,
            "periodStart": _minute(max(start, end - _LONGEST_RANGE)),
            "periodEnd": _minute(end),
        }
        answer = self.client.get("api", query, {})
        return _samples(_document(answer, place), place)


def _minute(moment: datetime) -> str:
    """Whole hours are asked for: other periods are refused."""
    return moment.astimezone(UTC).strftime("%Y%m%d%H00")


def _document(answer: HttpAnswer, place: str) -> "ElementTree.Element":
    root = answer.body
    if answer.status in (401, 403):
        raise BadKeyError(f"ENTSO-E refuses the token: check {TOKEN_VARIABLE}, or get one at {REGISTRATION}")
    if isinstance(root, ElementTree.Element) and root.tag == "Acknowledgement_MarketDocument":
        said = (root.findtext("Reason/text") or "")[:200]
        if "no matching data" in said.lower():
            raise NoDataError(f"ENTSO-E has no generation of {place}: {said}")
        raise RefusedError(f"ENTSO-E can't answer for {place} (HTTP {answer.status}): {said}")
    if answer.status != 200:
        raise UnavailableError(f"ENTSO-E answered HTTP {answer.status}: {answer.text[:200]}")
    if not isinstance(root, ElementTree.Element) or root.tag != "GL_MarketDocument":
        raise MistrustedError("ENTSO-E answered with another document than that of generation")
    return root


def _samples(root: "ElementTree.Element", place: str) -> FuelSamples:
    """All types in the finest step of any; a coarser value holds for several."""
    found: dict[str, list[_Value]] = {}
    lost = FuelSamples(HOUR)
    for series in root.iter("TimeSeries"):
        psr = series.findtext("MktPSRType/psrType") or ""
        if FUELS.get(psr, Fuel.OTHER) is None or series.find("outBiddingZone_Domain.mRID") is not None:
            continue  # storage, or what is consumed
        if why := _other(series, place):
            lost.lose(psr, why)
            continue
        repeats = series.findtext("curveType") == "A03"
        for period in series.iter("Period"):
            if (times := _times(period)) is None:
                lost.lose(psr, "a period without times, or in steps that are not known")
            else:
                found.setdefault(psr, []).extend(_values(period, *times, repeats))
    if not found and not lost.lost:
        raise NoDataError(f"ENTSO-E has no generation of {place}")
    steps = (value.step for values in found.values() for value in values)
    samples = FuelSamples(min(steps, default=HOUR), lost=lost.lost)
    for psr, values in found.items():
        for value in values:
            for part in range(value.step // samples.step):
                samples.add(psr, FUELS.get(psr) or Fuel.OTHER, value.start + samples.step * part, value.megawatts)
    return samples


def _other(series: "ElementTree.Element", place: str) -> str:
    """Why it is not what was asked for; empty where it is."""
    area = series.findtext("inBiddingZone_Domain.mRID", place)
    unit = series.findtext("quantity_Measure_Unit.name", "MAW")
    if (area, unit) == (place, "MAW"):
        return ""
    return f"asked for MAW of {place}, ENTSO-E answered {unit} of {area}"[:300]


def _times(period: "ElementTree.Element") -> tuple[datetime, datetime, timedelta] | None:
    """Its start, end and step."""
    start, end = (parse_time(period.findtext(f"timeInterval/{name}")) for name in ("start", "end"))
    step = _STEPS.get(period.findtext("resolution") or "")
    if start is None or end is None or step is None or not start < end <= start + 2 * _LONGEST_RANGE:
        return None
    return start, end, step


def _values(
    period: "ElementTree.Element", start: datetime, end: datetime, step: timedelta, repeats: bool
) -> Iterator[_Value]:
    """What is given, and with curve type A03 what it stands for until the next point."""
    points, held = _points(period), None
    for position in range(1, (end - start) // step + 1):
        held = points.get(position, held if repeats else None)
        if held is not None:
            yield _Value(start + step * (position - 1), step, held)


def _points(period: "ElementTree.Element") -> dict[int, float]:
    """By position the quantity; NaN, which spoils the slot, for what is no number and where a point has no position."""
    points: dict[int, float] = {}
    last = 0
    for point in period.iter("Point"):
        position, quantity = point.findtext("position") or "", point.findtext("quantity") or ""
        if re.fullmatch(r"[0-9]{1,6}", position):
            last = int(position)
            points[last] = float(quantity) if re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,20})?", quantity) else math.nan
        else:
            points.setdefault(last + 1, math.nan)  # until the next one it may be anywhere
    return points


def entsoe_source(settings: EntsoeSettings, clock: Clock) -> MixSource:
    """The source that settings describe."""
    return MixSource(Entsoe(settings, clock))
