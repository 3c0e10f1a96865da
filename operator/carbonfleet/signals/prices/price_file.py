"""GPU prices from a CSV file: each holds until the next one of the same pool."""

import bisect
import csv
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from carbonfleet.api.wire import Wire
from carbonfleet.signals.reading import HOUR, Kind, PriceKind, Reading, Reason, RejectedValue, subject, unit_of
from carbonfleet.signals.series import TraceError
from carbonfleet.signals.source import Ask, Batch, Feed, Finding, NoDataError
from carbonfleet.signals.validation import number_problem, parse_time

COLUMNS = ("datetime_utc", "cluster", "pool", "kind", "usd_per_gpu_hour")


class PriceFileSettings(Wire):
    """A CSV file of GPU prices."""

    type: Literal["price-file"] = "price-file"
    path: Path


class PriceFile:
    """A file with the columns `datetime_utc,cluster,pool,kind,usd_per_gpu_hour`."""

    name = "price-file"
    remote = False

    def __init__(self, path: Path) -> None:
        """Reads the file whole. Raises TraceError."""
        self._series: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
        self.rejected: list[RejectedValue] = []
        """Rows that were refused."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                rows = csv.DictReader(lines)
                if missing := set(COLUMNS) - set(rows.fieldnames or ()):
                    raise TraceError(f"no column {', '.join(sorted(missing))}")
                for row in rows:
                    self._take(row)
        except (OSError, UnicodeDecodeError, csv.Error, TraceError) as error:
            raise TraceError(f"price file {path}: {error}") from error
        for series in self._series.values():
            series.sort()

    def _take(self, row: Mapping[str, str | None]) -> None:
        at, cluster, pool, kind, text = ((row[name] or "").strip() for name in COLUMNS)
        name, since = subject(cluster, pool), parse_time(at)
        price = _number(text)
        problem = None
        if since is None:
            problem = (Reason.BAD_TIME, "not an ISO-8601 time with a zone")
        elif kind not in {PriceKind.GPU_ON_DEMAND.value, PriceKind.GPU_SPOT.value}:
            problem = (Reason.WRONG_KIND, "neither gpu-on-demand nor gpu-spot")
        elif price is None:
            problem = (Reason.NOT_A_NUMBER, "not a number")
        else:
            problem = number_problem(price, PriceKind(kind))
        if problem or since is None or price is None:
            self.rejected.append(RejectedValue(name, at, text, *(problem or (Reason.NULL, "no value"))))
        else:
            self._series.setdefault((name, kind), []).append((since, price))

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Every pool in the file."""
        return feed is Feed.MEASURED and (zone, kind.value) in self._series

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """The price that holds now. Raises NoDataError."""
        series = self._series.get((ask.zone, ask.kind.value), [])
        index = bisect.bisect_right(series, now, key=lambda entry: entry[0]) - 1
        if index < 0:
            raise NoDataError(f"the price file has no {ask.kind.value} price for {ask.zone} yet")
        since, price = series[index]
        until = series[index + 1][0] if index + 1 < len(series) else now + HOUR
        unit = unit_of(ask.kind)
        reading = Reading(ask.zone, since, until - since, price, ask.kind, unit, self.name, True, now)
        return Batch(ask, self.name, now, now, (reading,))

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Which pools the file names."""
        named = {pool for pool, _ in self._series}
        return tuple(Finding(self.name, pool, True, "Ready", "in the file") for pool in sorted(named & set(zones)))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
