"""The clouds' footprints beside the ledger, by account, region and month, with why they differ."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import fsum
from types import MappingProxyType
from typing import Final

from carbonfleet.amounts import difference
from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.entry import Entry, EntryKind
from carbonfleet.ledger.exports import MarketFactors
from carbonfleet.ledger.footprints.footprint import CloudFootprint
from carbonfleet.ledger.footprints.layouts import Cloud, newest
from carbonfleet.ledger.footprints.reasons import Cause, Why

Key = tuple[str, str, str]
"""Account, region and month."""
ELSEWHERE: Final = ""
"""In place of a region: the account's others."""
_PUBLISHED: Final[Mapping[Cloud, int]] = MappingProxyType({Cloud.GCP: 15, Cloud.AZURE: 19})
"""The day of the following month; AWS documents none. https://cloud.google.com/carbon-footprint/docs/export and
https://learn.microsoft.com/en-us/azure/carbon-optimization/api-export-data."""


_SCOPE_3: Final = 3
"""The version of AWS's method that counts it first:
https://aws.amazon.com/blogs/aws/aws-customer-carbon-footprint-tool-now-includes-scope-3-emissions."""


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """The ledger's part of a line. Grams are of CO2 equivalent."""

    attempts: int
    settled: int
    facility_kwh: float
    operational_grams: float
    transfer_grams: float
    embodied_grams: float
    location_based_grams: float
    """In all: operational by the grid's average, transfer and embodied; without attempts by a marginal signal."""
    uncertainty_grams: float
    market_based_grams: float | None
    """In all, operational by declared factors; None where an attempt has none."""
    marginal_grams: float
    """Of attempts by a marginal signal, which are in none of these sums."""


@dataclass(frozen=True, slots=True)
class CloudFigures:
    """The cloud's part of a line."""

    services: int
    largest_service: str
    model: str
    location_based_grams: float | None
    market_based_grams: float | None
    unstated_grams: float | None
    without_value: int
    """Rows."""

    @property
    def compared_grams(self) -> float | None:
        """What stands against the ledger's location-based figure: the same, or else what there is."""
        known = (self.location_based_grams, self.unstated_grams, self.market_based_grams)
        return next((each for each in known if each is not None), None)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A line: an account's region and month, by the cloud and by the ledger; None where one has nothing."""

    cloud: Cloud | None
    account: str
    region: str
    """Empty: all regions of the account where nothing trained."""
    month: str
    by_cloud: CloudFigures | None
    by_ledger: LedgerFigures | None
    reasons: tuple[Cause, ...]

    @property
    def difference_grams(self) -> float | None:
        """The cloud's figure less the ledger's; None where one is missing."""
        cloud = self.by_cloud.compared_grams if self.by_cloud else None
        ours = self.by_ledger.location_based_grams if self.by_ledger else None
        return None if cloud is None or ours is None else difference(cloud, ours)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All lines, and what of the exports is in none."""

    lines: tuple[Reconciled, ...]
    other_accounts: Mapping[Cloud, int]
    """Accounts of the exports in which nothing trained."""


def reconcile(
    entries: Iterable[Entry],
    exports: Mapping[Cloud, Sequence[CloudFootprint]],
    factors: MarketFactors,
    now: datetime,
) -> Reconciliation:
    """Lay each cloud's rows beside the attempts of the same account, region and month.

    An attempt counts in the month in which it ended, as in reports. Of a month that an export has by several versions
    of the cloud's method, the newest counts. Regions in which nothing trained are one line for each account and month.
    """
    trained: dict[Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        trained[entry.account.lower(), _place(entry.region), f"{entry.end:%Y-%m}"].append(entry)
    ours = {account for account, _, _ in trained if account}
    lines: list[Reconciled] = []
    matched: set[str] = set()
    others: dict[Cloud, int] = {}
    for cloud, rows in exports.items():
        accounts = {row.account.lower() for row in rows}
        own = {key: group for key, group in trained.items() if key[0] and key[0] in accounts}
        lines += _lines(cloud, rows, own, factors, now)
        matched |= accounts
        others[cloud] = len(accounts - ours)
    for key, group in trained.items():
        if not key[0] or key[0] not in matched:
            why = Cause.of(Why.ACCOUNT_ELSEWHERE if key[0] else Why.NO_ACCOUNT, _clusters(group))
            lines.append(Reconciled(None, *key, None, _ledger_figures(group, factors), (why,)))
    lines.sort(key=lambda line: (line.cloud or "~", line.account, line.month, line.region or "~"))
    return Reconciliation(tuple(lines), others)


def _lines(
    cloud: Cloud,
    rows: Sequence[CloudFootprint],
    own: Mapping[Key, list[Entry]],
    factors: MarketFactors,
    now: datetime,
) -> Iterator[Reconciled]:
    kept, older = newest(rows)
    published = {row.month for row in rows}
    beside: dict[Key, list[CloudFootprint]] = defaultdict(list)
    months = {(account, month) for account, _, month in own}
    for row in kept:
        key = row.account.lower(), _place(row.region), row.month
        if key in own:
            beside[key].append(row)
        elif (key[0], row.month) in months:
            beside[key[0], ELSEWHERE, row.month].append(row)
    for key in sorted({*own, *beside}):
        group, found = own.get(key, []), beside.get(key, [])
        counted = _cloud_figures(found) if found else None
        made = _ledger_figures(group, factors) if group else None
        versions = sorted(model for month, model in older if month == key[2])
        reasons = [Cause.of(Why.OLDER_METHOD, ", ".join(versions))] if versions and found else []
        reasons += _of_cloud(cloud, key, counted, made, key[2] in published, now)
        reasons += _of_ledger(group, made) if made else ()
        yield Reconciled(cloud, *key, counted, made, tuple(reasons))


def _of_cloud(
    cloud: Cloud, key: Key, counted: CloudFigures | None, made: LedgerFigures | None, is_published: bool, now: datetime
) -> Iterator[Cause]:
    """Reasons that lie in what the cloud counts, and how."""
    if counted is None:
        yield (Cause.of(Why.NO_ROW) if is_published else Cause.of(Why.NOT_PUBLISHED, _due(cloud, key[2], now)))
        return
    if counted.without_value:
        yield Cause.of(Why.NO_VALUE, f"{counted.without_value} rows")
    if made is None:
        yield Cause.of(Why.OTHER_REGIONS)
        return
    services = f"{counted.services} services, most of it {counted.largest_service}" if counted.services > 1 else ""
    yield Cause.of(Why.ALL_SERVICES, services)
    yield Cause.of(Why.OWN_METHOD, f"version {counted.model}" if counted.model else "")
    if cloud is Cloud.AWS and (version := re.match(r"v?(\d{1,6})\.", counted.model)) and int(version[1]) < _SCOPE_3:
        yield Cause.of(Why.NO_SCOPE_3, f"{_kg(made.embodied_grams + made.transfer_grams)} here")
    if counted.location_based_grams is None:
        unstated = counted.unstated_grams is not None
        yield Cause.of(Why.UNSTATED_METHOD if unstated else Why.MARKET_ONLY)
    cloud_grams = counted.compared_grams
    if cloud_grams is not None and made.location_based_grams - made.uncertainty_grams > cloud_grams:
        yield Cause.of(Why.MORE_THAN_CLOUD, f"{_kg(made.location_based_grams)} here, {_kg(cloud_grams)} there")


def _of_ledger(group: Sequence[Entry], made: LedgerFigures) -> Iterator[Cause]:
    """Reasons that lie in what the ledger counts, and when."""
    if made.settled < made.attempts:
        yield Cause.of(Why.NOT_SETTLED, f"{made.attempts - made.settled} of {made.attempts}")
    if before := sum(f"{each.start:%Y-%m}" != f"{each.end:%Y-%m}" for each in group):
        yield Cause.of(Why.MONTH_OF_END, f"{before} began before it")
    if marginal := sum(each.signal == SignalKind.MARGINAL.value for each in group):
        yield Cause.of(Why.MARGINAL, f"{marginal} with {_kg(made.marginal_grams)}")


def _ledger_figures(group: Sequence[Entry], factors: MarketFactors) -> LedgerFigures:
    average = [each for each in group if each.signal != SignalKind.MARGINAL.value]
    operational = fsum(each.operational_grams for each in average)
    transfer, embodied = fsum(each.transfer_grams for each in average), fsum(each.embodied_grams for each in average)
    known = [(each.energy_kwh * each.pue, factors.of(each)) for each in average]
    market = [kwh * factor.grams_per_kwh for kwh, factor in known if factor is not None]
    return LedgerFigures(
        attempts=len(group),
        settled=sum(each.settled and each.kind is EntryKind.SETTLEMENT for each in group),
        facility_kwh=fsum(each.energy_kwh * each.pue for each in group),
        operational_grams=operational,
        transfer_grams=transfer,
        embodied_grams=embodied,
        location_based_grams=fsum(each.grams for each in average),
        uncertainty_grams=fsum(each.operational_grams * each.energy_uncertainty for each in average),
        market_based_grams=fsum([*market, transfer, embodied]) if average and len(market) == len(known) else None,
        marginal_grams=fsum(each.grams for each in group if each.signal == SignalKind.MARGINAL.value),
    )


def _cloud_figures(rows: Sequence[CloudFootprint]) -> CloudFigures:
    by_service: dict[str, float] = defaultdict(float)
    for row in rows:
        grams = (row.location_based_grams, row.unstated_grams, row.market_based_grams)
        by_service[row.service] += next((each for each in grams if each is not None), 0.0)
    return CloudFigures(
        services=len(by_service),
        largest_service=max(by_service, key=lambda name: (by_service[name], name)) or "one without a name",
        model=rows[0].model,
        location_based_grams=_sum(row.location_based_grams for row in rows),
        market_based_grams=_sum(row.market_based_grams for row in rows),
        unstated_grams=_sum(row.unstated_grams for row in rows),
        without_value=sum(
            row.location_based_grams is None and row.market_based_grams is None and row.unstated_grams is None
            for row in rows
        ),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _due(cloud: Cloud, month: str, now: datetime) -> str:
    """When the cloud publishes a month."""
    if (day := _PUBLISHED.get(cloud)) is None:
        return ""
    year, number = int(month[:4]), int(month[5:])
    due = datetime(year + number // 12, number % 12 + 1, day, tzinfo=UTC)
    return f"due on {due:%Y-%m-%d}" + ("" if now < due else ": export it anew")


def _clusters(group: Iterable[Entry]) -> str:
    names = sorted({each.cluster for each in group})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kg(grams: float) -> str:
    return f"{grams / 1000:.3f} kg"


def _place(region: str) -> str:
    """A region's name as clouds write it: `East US` and `eastus` are one."""
    return region.replace(" ", "").lower()
