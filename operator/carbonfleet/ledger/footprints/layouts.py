"""The layouts of the clouds' footprint exports, as each cloud documents them; any other is refused.

AWS: the table CARBON_EMISSIONS of Data Exports,
https://docs.aws.amazon.com/cur/latest/userguide/carbon-emissions-columns.html. Google Cloud: the BigQuery export of
Carbon Footprint, https://cloud.google.com/carbon-footprint/docs/data-schema. Azure: what Carbon Optimization's API
answers to an ItemDetailsReport by Resource,
https://learn.microsoft.com/en-us/rest/api/carbon/carbon-service/query-carbon-emission-reports; no documentation
names the columns of the portal's CSV.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from carbonfleet.ledger.footprints.footprint import CloudFootprint, FootprintError
from carbonfleet.ledger.footprints.records import Record, records

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_PLACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ()._-]{0,62}")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_GRAMS: Final = 1e15
"""A billion tonnes: more is a slip."""
_GRAMS_PER_TONNE: Final = 1e6
_GRAMS_PER_KG: Final = 1e3


class Cloud(StrEnum):
    """Whose export it is."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of an export, and how a row is read."""

    name: str
    source: str
    always: tuple[str, ...]
    """Columns that hold a value in each row."""
    others: tuple[str, ...]
    """Columns that a table must have, and JSON leaves out where they hold nothing."""
    read: Callable[["ExportedRow"], CloudFootprint]
    key: tuple[str, ...]
    """Columns that tell a row from all others, and `always` in part; two rows alike in them are one twice."""


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A record with its place, for complaints."""

    file: Path
    line: int
    record: Record
    month: str
    """Of exports that name none; else empty."""

    def wrong(self, message: str) -> FootprintError:
        """A complaint about it."""
        return FootprintError(self.file, self.line, message)

    def text(self, column: str) -> str:
        """A text; empty where there is none."""
        value = self.record.get(column)
        if value is None:
            return ""
        if isinstance(value, (bool, float, list)):
            raise self.wrong(f"{column} is {value!r:.40}, and no text")
        return str(value).strip()

    def name(self, column: str, form: re.Pattern[str]) -> str:
        """An account or a place; empty where there is none."""
        found = self.text(column)
        if found and not form.fullmatch(found):
            raise self.wrong(f"{column} is {found!r:.60}, which is no such name: export it anew")
        return found

    def grams(self, column: str, each: float) -> float | None:
        """An amount of CO2 equivalent; None where there is none."""
        value = self.record.get(column)
        if value is None or value == "":
            return None
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            raise self.wrong(f"{column} is {value!r:.40}, and no number with a decimal point: export it anew")
        if isinstance(value, (bool, list)):
            raise self.wrong(f"{column} is {value!r:.40}, and no number")
        try:
            found = float(value) * each
        except (TypeError, ValueError, OverflowError) as error:
            raise self.wrong(f"{column} is {value!r:.40}, and no number") from error
        if not math.isfinite(found) or not 0 <= found <= _MOST_GRAMS:
            raise self.wrong(f"{column} is {value!r:.40}, which nothing can emit: export it anew")
        return found

    def day(self, column: str) -> date:
        """A date, or the date of a time in UTC."""
        value = self.record.get(column)
        if isinstance(value, datetime):
            return value.astimezone(UTC).date() if value.tzinfo else value.date()
        if isinstance(value, date):
            return value
        try:
            moment = datetime.fromisoformat(self.text(column))
        except ValueError as error:
            raise self.wrong(f"{column} is {value!r:.40}, and no date such as 2026-01-31") from error
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date()

    def first_of_month(self, column: str) -> date:
        """A date that begins a month."""
        found = self.day(column)
        if found.day != 1:
            raise self.wrong(f"{column} is {found}: only whole months can be compared; export it by month")
        return found


def _aws(row: ExportedRow) -> CloudFootprint:
    begin, end = row.first_of_month("usage_period_start"), row.day("usage_period_end")
    following = (begin + timedelta(days=32)).replace(day=1)
    if end not in (following, following - timedelta(days=1)):
        raise row.wrong(f"its period is {begin} to {end}: only whole months can be compared; export it by month")
    for method in ("lbm", "mbm"):
        column = f"total_{method}_emissions_unit"
        if (unit := row.text(column)) not in ("", "MTCO2e"):
            raise row.wrong(f"{column} is {unit!r:.40}, and only MTCO2e is documented")
    return CloudFootprint(
        account=row.name("usage_account_id", _ACCOUNT),
        region=row.name("region_code", _PLACE),
        month=f"{begin:%Y-%m}",
        service=row.text("product_code"),
        model=row.text("model_version"),
        location_based_grams=row.grams("total_lbm_emissions_value", _GRAMS_PER_TONNE),
        market_based_grams=row.grams("total_mbm_emissions_value", _GRAMS_PER_TONNE),
        unstated_grams=None,
        line=row.line,
    )


def _google(row: ExportedRow) -> CloudFootprint:
    return CloudFootprint(
        account=row.name("project.id", _ACCOUNT),
        region=row.name("location.region", _PLACE),
        month=f"{row.first_of_month('usage_month'):%Y-%m}",
        service=row.text("service.description"),
        model=row.text("carbon_model_version"),
        location_based_grams=row.grams("carbon_footprint_total_kgCO2e.location_based", _GRAMS_PER_KG),
        market_based_grams=row.grams("carbon_footprint_total_kgCO2e.market_based", _GRAMS_PER_KG),
        unstated_grams=None,
        line=row.line,
    )


def _azure(row: ExportedRow) -> CloudFootprint:
    if not row.month:
        raise row.wrong("it does not say which month it is of: add --azure-month 2026-01, as it was asked for")
    return CloudFootprint(
        account=row.name("subscriptionId", _ACCOUNT).lower(),
        region=row.name("location", _PLACE).replace(" ", "").lower(),
        month=row.month,
        service=row.text("resourceType"),
        model="",
        location_based_grams=None,
        market_based_grams=None,
        unstated_grams=row.grams("latestMonthEmissions", _GRAMS_PER_KG),
        line=row.line,
    )


LAYOUTS: Final[Mapping[Cloud, Layout]] = MappingProxyType(
    {
        Cloud.AWS: Layout(
            "the table CARBON_EMISSIONS of AWS Data Exports",
            "https://docs.aws.amazon.com/cur/latest/userguide/carbon-emissions-columns.html",
            ("usage_account_id", "usage_period_start", "usage_period_end", "model_version"),
            ("region_code", "product_code", "total_mbm_emissions_value", "total_mbm_emissions_unit"),
            _aws,
            (
                *("payer_account_id", "usage_account_id", "region_code", "location", "product_code"),
                *("usage_period_start", "model_version"),
            ),
        ),
        Cloud.GCP: Layout(
            "the BigQuery export of Google Cloud's Carbon Footprint",
            "https://cloud.google.com/carbon-footprint/docs/data-schema",
            ("usage_month", "carbon_model_version"),
            (
                *("project.id", "location.region", "service.description"),
                "carbon_footprint_total_kgCO2e.location_based",
                "carbon_footprint_total_kgCO2e.market_based",
            ),
            _google,
            (
                *("usage_month", "billing_account_id", "project.id", "project.number", "service.id"),
                *("service.description", "location.location", "location.region", "carbon_model_version"),
            ),
        ),
        Cloud.AZURE: Layout(
            "an ItemDetailsReport by Resource of Azure's Carbon Optimization API",
            "https://learn.microsoft.com/en-us/rest/api/carbon/carbon-service/query-carbon-emission-reports",
            ("subscriptionId", "location", "resourceId", "latestMonthEmissions"),
            (),
            _azure,
            ("subscriptionId", "resourceId", "location", "resourceType"),
        ),
    }
)


def footprints_in(cloud: Cloud, files: Iterable[Path], azure_month: str = "") -> tuple[CloudFootprint, ...]:
    """The rows of a cloud's exports. Raises FootprintError for whatever is not as the cloud documents it, OSError."""
    layout, seen = LAYOUTS[cloud], dict[tuple[str, ...], str]()
    return tuple(each for file in files for each in _read(layout, file, azure_month, seen))


def _read(layout: Layout, file: Path, month: str, seen: dict[tuple[str, ...], str]) -> Iterator[CloudFootprint]:
    columns, found = records(file)
    if columns is not None:
        _has(layout, file, 1, columns, (*layout.always, *layout.others))
    count = 0
    for line, record in found:
        row = ExportedRow(file, line, record, month)
        _has(layout, file, line, [name for name in layout.always if record.get(name) not in (None, "")], layout.always)
        footprint = layout.read(row)
        key = tuple(str(record.get(name) or "") for name in layout.key) + ((footprint.month,) if month else ())
        if key in seen:
            raise row.wrong(f"it is the row of {seen[key]} again, and would count twice: take one of them out")
        seen[key] = f"{file}:{line}"
        count += 1
        yield footprint
    if not count:
        raise FootprintError(file, 1, "it has no rows: export it anew")


def _has(layout: Layout, file: Path, line: int, columns: Collection[str], wanted: tuple[str, ...]) -> None:
    if missing := [name for name in wanted if name not in columns]:
        what = f"{missing[0]} and {len(missing) - 1} more" if len(missing) > 1 else missing[0]
        raise FootprintError(file, line, f"it lacks {what}; what is read is {layout.name}: {layout.source}")


def newest(rows: Iterable[CloudFootprint]) -> tuple[tuple[CloudFootprint, ...], frozenset[tuple[str, str]]]:
    """The rows of each month by the newest version of the cloud's method; months that were left out in an older one."""
    kept = tuple(rows)
    latest: dict[str, str] = {}
    for row in kept:
        latest[row.month] = max(latest.get(row.month, ""), row.model, key=_version)
    older = frozenset((row.month, row.model) for row in kept if row.model != latest[row.month])
    return tuple(row for row in kept if row.model == latest[row.month]), older


def _version(text: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text)), text
