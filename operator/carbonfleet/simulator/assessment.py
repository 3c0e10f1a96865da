"""What waiting and moving would have saved at a place, and whether that is worth it, before any installation."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.private_files import replacing
from carbonfleet.signals import Signals, hourly_means
from carbonfleet.signals.source import ThrottledError
from carbonfleet.simulator.backtest import OURS, Backtest, run_backtest
from carbonfleet.simulator.grid import HOUR, Grid, ReplayError
from carbonfleet.simulator.grid.trace import MOST_FILLED
from carbonfleet.simulator.replay import ReplayJob, Scenario, every_hour, pools_of

STARTS: Final[Mapping[str, int]] = {"morning": 9, "noon": 12, "night": 22}
"""Local hours at which people submit."""
LEARNING_HOURS: Final = 28 * 24
"""Forecasts learn from so much before the first job comes, or from half of what there is."""
MOST_JOBS: Final = 800
"""Beyond it every second hour, third, and so on, has a job; never a divisor of a day, so that all hours have some."""
CLEAN_GRAMS_PER_KWH: Final = 60.0
"""Where a kilowatt-hour causes less, making the hardware weighs more than when it runs."""
WORTH_PERCENT: Final = 5.0
WORTH_GRAMS_PER_KWH: Final = 10.0
LONGEST_WAIT_SECONDS: Final = 300.0
"""For sources that allow few requests a minute."""
PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Saving:
    """What one way would have saved of the carbon of jobs that start at once at home."""

    percent: float
    grams_per_kwh: float
    mean_delay_hours: float
    longest_delay_hours: float
    """One start in twenty waits longer."""
    best_percent: float
    """With perfect forecasts."""
    zones: Mapping[str, float]
    """The share of the jobs that each zone would have got."""


@dataclass(frozen=True, slots=True)
class Row:
    """Jobs that come at one local hour, or all of them."""

    submitted: str
    jobs: int
    at_once_grams_per_kwh: float
    ways: Mapping[str, Saving]
    """By way: waiting, moving, both; the latter two only with more than one zone."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a place has to offer for one shape of job."""

    home: str
    zones: tuple[str, ...]
    hours: float
    slack_hours: float
    first: datetime
    last: datetime
    """When the first and the last of the jobs come."""
    time_zone: str
    rows: tuple[Row, ...]
    """Morning, noon and night, and the mean of all hours last."""
    verdict: tuple[str, ...]
    """Sentences."""


def assess(grid: Grid, home: str, hours: float, slack_hours: float, local: tzinfo, workers: int = 1) -> Assessment:
    """Replay one job an hour at home three ways: waiting there, moving at once, and both. Raises ReplayError."""
    alone = replace(grid, zones=(home,), grams_per_kwh=grid.grams_per_kwh[[grid.row(home)]])
    jobs = _jobs(grid, hours, slack_hours)
    cases = {"waiting": (alone, slack_hours)}
    if len(grid.zones) > 1:
        cases |= {"moving": (grid, 0.0), "both": (grid, slack_hours)}
    replayed = {}
    for way, (known, slack) in cases.items():
        shape = tuple(replace(job, delay=HOUR * slack) for job in jobs)
        backtest = Backtest(known, (shape,), pools_of(known.zones, None), home)
        result = run_backtest(backtest, only_ours=True, workers=workers)
        base, best = result.scenarios[next(iter(result.scenarios))], result.scenarios[backtest.foresight]
        replayed[way] = (base[0], result.scenarios[OURS][0], best[0])
    local_hours = np.array([job.submitted.astimezone(local).hour for job in jobs])
    picks = {f"{name} ({hour:02}:00)": local_hours == hour for name, hour in STARTS.items()}
    picks["all hours"] = np.ones(len(jobs), dtype=bool)
    rows = tuple(_row(name, picked, replayed) for name, picked in picks.items() if picked.any())
    first, last = jobs[0].submitted, jobs[-1].submitted
    verdict = tuple(_verdict(rows[-1], home))
    return Assessment(home, grid.zones, hours, slack_hours, first, last, str(local), rows, verdict)


def _jobs(grid: Grid, hours: float, slack_hours: float) -> tuple[ReplayJob, ...]:
    learned = min(LEARNING_HOURS, grid.slots // grid.per_hour // 2)
    first = grid.moment(learned * grid.per_hour)
    room = (grid.end - first) // HOUR - int(np.ceil(hours + slack_hours)) - 1
    if room < 24 or learned < 24:
        raise ReplayError(
            f"all zones have values from {grid.start:%Y-%m-%d %H:%M} to {grid.end:%Y-%m-%d %H:%M}: too short for jobs "
            f"of {hours:g} h that may wait {slack_hours:g} h; two weeks and more tell something"
        )
    apart = next(step for step in range(1, room) if room // step <= MOST_JOBS and (step == 1 or 24 % step))
    return every_hour(first, room, hours, slack_hours)[::apart]


def _row(name: str, picked: np.ndarray, replayed: Mapping[str, tuple[Scenario, Scenario, Scenario]]) -> Row:
    base = next(iter(replayed.values()))[0]
    ways = {way: _saving(picked, *scenarios) for way, scenarios in replayed.items()}
    return Row(name, int(picked.sum()), _grams_per_kwh(base, picked), ways)


def _saving(picked: np.ndarray, base: Scenario, ours: Scenario, best: Scenario) -> Saving:
    runs = [run for run, taken in zip(ours.runs, picked, strict=True) if taken]
    delays = np.array([run.delay_hours for run in runs])
    plain, reached, least = (_grams_per_kwh(scenario, picked) for scenario in (base, ours, best))
    zones = sorted({run.pool.zone for run in runs})
    return Saving(
        percent=100 * (1 - reached / plain),
        grams_per_kwh=plain - reached,
        mean_delay_hours=float(delays.mean()),
        longest_delay_hours=float(np.percentile(delays, 95)),
        best_percent=100 * (1 - least / plain),
        zones={zone: sum(run.pool.zone == zone for run in runs) / len(runs) for zone in zones},
    )


def _grams_per_kwh(scenario: Scenario, picked: np.ndarray) -> float:
    """Runs are in the order of jobs' names, which is that of their times."""
    kwh = np.array([run.kwh for run in scenario.runs])
    return float(np.array(scenario.grams)[picked].sum() / kwh[picked].sum())


def _verdict(row: Row, home: str) -> Sequence[str]:
    """Plainly: what is worth it, and what is not."""
    worth = [way for way, saving in row.ways.items() if _is_worth(saving)]
    if row.at_once_grams_per_kwh <= CLEAN_GRAMS_PER_KWH and not worth:
        return [f"{home} is clean already ({row.at_once_grams_per_kwh:.0f} g/kWh): choose by price."]
    said = [_sentence(way, row.ways[way], home) for way in ("waiting", "moving") if way in row.ways]
    if "both" in worth and row.ways["both"].percent > max(row.ways[way].percent for way in ("waiting", "moving")) + 1:
        said.append(_sentence("both", row.ways["both"], home))
    if not worth:
        said.append("Neither is worth it here: choose by price." if len(row.ways) > 1 else "Choose by price.")
    return said


def _is_worth(saving: Saving) -> bool:
    return saving.percent >= WORTH_PERCENT and saving.grams_per_kwh >= WORTH_GRAMS_PER_KWH


def _sentence(way: str, saving: Saving, home: str) -> str:
    away = {zone: share for zone, share in saving.zones.items() if zone != home}
    where = ", ".join(f"{zone} {100 * share:.0f} %" for zone, share in sorted(away.items(), key=lambda each: -each[1]))
    names = {"waiting": f"Waiting in {home}", "moving": "Moving at once", "both": "Waiting and moving"}
    delay = f", for {saving.mean_delay_hours:.1f} h of delay on average" if saving.mean_delay_hours >= 0.05 else ""
    to = f" ({where} of the jobs)" if where else ""
    worth = "is worth it" if _is_worth(saving) else "is not worth it"
    return f"{names[way]}{to} {worth}: {saving.percent:z.0f} % less carbon, {saving.grams_per_kwh:.0f} g/kWh{delay}."


def fetched_grid(
    service: Signals, zones: Sequence[str], start: datetime, end: datetime, tell: Callable[[str], None]
) -> Grid:
    """What the sources know of the zones' hours in [start, end). Raises ReplayError, with what they said.

    A source that allows few requests a minute is waited for, five minutes in all.
    """
    kind = SignalKind.AVERAGE_LIFECYCLE
    give_up = time.monotonic() + LONGEST_WAIT_SECONDS
    found: dict[str, Mapping[datetime, tuple[float, float]]] = {}
    for zone in zones:
        errors = service.learn_past(zone, kind, start, end)
        while not (known := hourly_means(service.intensities(zone, kind, start, end))):
            wait = next((error for error in errors if isinstance(error, ThrottledError)), None)
            if wait is None or time.monotonic() > give_up:
                said = "; ".join(dict.fromkeys(error.message for error in errors)) or "no source offers it"
                raise ReplayError(f"no past of {zone} can be had: {said}. Or give --trace FILE")
            tell(f"{zone} is waited for: {wait.message}")
            time.sleep(PAUSE_SECONDS)
            errors = service.learn_past(zone, kind, start, end)
        found[zone] = known
    return _common(found)


def _common(known: Mapping[str, Mapping[datetime, tuple[float, float]]]) -> Grid:
    """The hours that all zones have; a missing one takes the value before, up to a twentieth of them."""
    first = max(min(hours) for hours in known.values())
    last = min(max(hours) for hours in known.values())
    count = (last - first) // HOUR + 1
    if count < 1:
        raise ReplayError(f"the zones {', '.join(known)} have no hour in common")
    rows, filled = [], {}
    for zone, hours in known.items():
        values = np.array([hours.get(first + HOUR * i, (np.nan, 0.0))[0] for i in range(count)])
        gaps = ~np.isfinite(values)
        filled[zone] = int(gaps.sum())
        if filled[zone] > MOST_FILLED * count:
            raise ReplayError(f"{filled[zone]} of {count} hours of {zone} are missing: give --days, or --trace FILE")
        rows.append(values[np.maximum.accumulate(np.where(gaps, 0, np.arange(count)))])
    return Grid(tuple(known), SignalKind.AVERAGE_LIFECYCLE, first, np.array(rows), filled)


def write_picture(path: Path, found: Assessment) -> None:
    """Bars of what each way saves, for each hour of submission. Raises ReplayError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReplayError("no picture: it needs matplotlib (pip install matplotlib)") from error
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    ways, places = list(found.rows[-1].ways), np.arange(len(found.rows))
    for number, way in enumerate(ways):
        saved = [row.ways[way].percent for row in found.rows]
        bars = axes.bar(places + 0.25 * number, saved, 0.25, label=way, color=("#9aa5b1", "#5b8def", "#2a7f4f")[number])
        axes.bar_label(bars, [f"{row.ways[way].mean_delay_hours:.1f} h" for row in found.rows], padding=2, fontsize=8)
    labels = [f"{row.submitted}\n{row.at_once_grams_per_kwh:.0f} g/kWh" for row in found.rows]
    axes.set_xticks(places + 0.125 * (len(ways) - 1), labels)
    axes.set_ylabel("% of carbon saved; mean delay above")
    axes.set_title(f"{found.home}: {found.hours:g} h of work, up to {found.slack_hours:g} h of waiting", loc="left")
    figure.legend(loc="outside upper right", ncol=3, frameon=False)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=120)
