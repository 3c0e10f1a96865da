"""Plans, forecasts, backtests, assessments and the ledger as pandas DataFrames, for notebooks.

Needs the extra `notebook`. Columns have their units in their names; times are aware UTC; errors are ValueErrors with a
sentence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from carbonfleet.api.signal import SignalKind
from carbonfleet.cli.files.findings import Severity, has
from carbonfleet.cli.files.fleet_rules import read_fleet
from carbonfleet.cli.files.manifests import read_manifests
from carbonfleet.cli.files.offline_plan import decided, with_grid
from carbonfleet.clock import Clock
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger import report as reports
from carbonfleet.ledger.store import By, Ledger, Query
from carbonfleet.local.demo import START as DEMO_START
from carbonfleet.shipped import FLEET_SEED
from carbonfleet.signals import DemoGridSettings, Signals, SignalSettings, load_settings, open_signals
from carbonfleet.simulator.assessment import assess as assessed
from carbonfleet.simulator.backtest import run_backtest
from carbonfleet.simulator.grid import open_grid
from carbonfleet.simulator.request import Request

__all__ = ["assess", "backtest", "forecast", "ledger", "plan"]
_P10_DEVIATIONS: Final = 1.2815515655446004
"""Of a normal distribution: its 90th percentile is so many standard deviations above the mean."""


def plan(
    *manifests: str | Path,
    fleet: str | Path | None = None,
    signals: str | Path | None = None,
    demo: bool = False,
) -> pd.DataFrame:
    """What the hub would decide of the jobs in some manifests: a row for each, and none is applied.

    `fleet` is a checkout of the fleet repository (the example clusters if left out), `signals` a file of signal
    settings, `demo` the demo's made grid at its hour. Every spoke is taken to be up and free.
    """
    found = read_manifests([str(each) for each in manifests])
    if has(found.findings, Severity.ERROR) or not found.jobs:
        wrong = "\n".join(map(str, found.findings)) or "no CarbonTrainingJob in what was given"
        raise ValueError(wrong)
    clock, service = _open(signals, demo)
    declared, now = read_fleet(Path(fleet) if fleet is not None else FLEET_SEED), clock.now()
    rows = []
    for job, record, _ in decided(with_grid(declared.snapshot(found.jobs, now), service, now), declared, now):
        expected = record.expected
        rows.append(
            {
                "job": job,
                "outcome": record.outcome,
                "reason": record.reason,
                "cluster": record.cluster or None,
                "pool": record.pool or None,
                "start": record.start,
                "end": record.end,
                "grams_co2e": expected.grams_co2e if expected else None,
                "baseline_grams_co2e": expected.baseline_grams_co2e if expected else None,
                "saved_percent": expected.saved_percent if expected else None,
                "cost_usd": expected.cost_usd if expected else None,
                "message": record.message,
            }
        )
    return pd.DataFrame(rows).set_index("job")


def forecast(
    zone: str,
    hours: int = 24,
    *,
    kind: str = SignalKind.AVERAGE_LIFECYCLE.value,
    signals: str | Path | None = None,
    demo: bool = False,
) -> pd.DataFrame:
    """A zone's carbon intensity, hour by hour from now, with what it lies above and below in nine of ten cases."""
    clock, service = _open(signals, demo)
    now, wanted = clock.now(), {(zone, SignalKind(kind))}
    try:
        reading = service.forecasts(wanted, now, now + timedelta(hours=hours))
        if reading.awaited:
            service.await_answers()
            reading = service.forecasts(wanted, now, now + timedelta(hours=hours))
    finally:
        service.close()
    known = reading.forecasts.get((zone, SignalKind(kind)))
    if known is None:
        raise ValueError(f"nothing is known of {zone}: {reading.problems.get(zone, 'no source offers it')}")
    spread = _P10_DEVIATIONS * known.doubt_grams_per_kwh
    starts = [known.start + known.step * slot for slot in range(known.grams_per_kwh.size)]
    columns = {
        "grams_per_kwh": known.grams_per_kwh,
        "p10_grams_per_kwh": np.maximum(0.0, known.grams_per_kwh - spread),
        "p90_grams_per_kwh": known.grams_per_kwh + spread,
    }
    return pd.DataFrame(columns, index=pd.DatetimeIndex(starts, name="start"))


def backtest(
    traces: str | Path | Iterable[str | Path],
    zones: Sequence[str],
    *,
    home: str = "",
    hours: float = 4,
    slack: str | float = 24,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pd.DataFrame:
    """One job an hour over recorded series, by carbonfleet and by other policies: a row for each policy."""
    jobs = (f"{hours:g}:{slack}",)
    files = _paths(traces)
    request = Request(files, tuple(zones), home, jobs, str(slack), gpus=None, start=start, end=end, forecast="none")
    (case,) = request.cases()
    return pd.DataFrame([asdict(score) for score in run_backtest(case.backtest).scores]).set_index("policy")


def assess(
    traces: str | Path | Iterable[str | Path],
    zones: Sequence[str],
    *,
    home: str = "",
    hours: float = 4,
    slack_hours: float = 24,
) -> pd.DataFrame:
    """What waiting and moving would have saved: a row for each time of day and way, the verdict in `attrs`."""
    grid = open_grid(_paths(traces), list(zones), fill=True)
    found = assessed(grid, home or zones[0], hours, slack_hours, UTC)
    rows = [
        {
            "submitted": row.submitted,
            "way": way,
            "at_once_grams_per_kwh": row.at_once_grams_per_kwh,
            "saving_percent": saving.percent,
            "mean_delay_hours": saving.mean_delay_hours,
            "best_percent": saving.best_percent,
        }
        for row in found.rows
        for way, saving in row.ways.items()
    ]
    told = pd.DataFrame(rows).set_index(["submitted", "way"])
    told.attrs["verdict"] = " ".join(found.verdict)
    return told


def ledger(
    address: str | Path,
    by: str = "namespace",
    *,
    namespace: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> pd.DataFrame:
    """What was emitted and saved, from a ledger (a file or a database's URL): a row for each group."""
    try:
        opened = Ledger.existing(str(address))
    except LedgerError as error:
        raise ValueError(str(error)) from error
    try:
        query = Query(namespace=namespace, since=since, until=until)
        made = reports.report(opened, By(by), query, Clock.from_environment().now())
    finally:
        opened.close()
    return pd.DataFrame([line.values() for line in made.lines], columns=[*reports.columns()]).set_index("group")


def _paths(traces: str | Path | Iterable[str | Path]) -> tuple[Path, ...]:
    return tuple(map(Path, [traces] if isinstance(traces, str | Path) else traces))


def _open(signals: str | Path | None, demo: bool) -> tuple[Clock, Signals]:
    if demo:
        clock = Clock.starting_at(DEMO_START, 1.0)
        return clock, open_signals(SignalSettings(sources=(DemoGridSettings(),)), clock)
    clock = Clock.from_environment()
    return clock, open_signals(load_settings(Path(signals)) if signals is not None else SignalSettings(), clock)
