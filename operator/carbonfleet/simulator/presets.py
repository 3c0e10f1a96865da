"""Backtests that can be repeated with one word each, on the recorded grids of a data folder."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.simulator.backtest import OURS, Backtest
from carbonfleet.simulator.grid import (
    HOUR,
    Corrected,
    FromHistory,
    Grid,
    Perfect,
    ReplayError,
    Trusted,
    open_grid,
    open_recording,
)
from carbonfleet.simulator.replay import (
    JobDefaults,
    Pool,
    ReplayJob,
    every_hour,
    parse_slack,
    pools_of,
    read_jobs,
    sweep,
    sweep_starts,
)

HALF_YEAR: Final = "em_lca_2022H1_35zones.csv.gz"
PORTAL: Final = "em_portal_2021_2022H1_NO_ES_BR_CISO.csv.gz"
RECORDED: Final = "carboncast_forecast96h_2021Q3_7zones.csv.gz"
ROUTING: Final = "routing_21_jobs.csv"
JOB_LIST: Final = "gaia_pai_1k_jobs.csv"
ZONE_SETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "hydro3": ("US-MIDA-PJM", "CA-QC", "NO-NO1"),
        "us6": ("US-MIDA-PJM", "US-CAL-CISO", "US-TEX-ERCO", "US-NW-PACW", "US-NY-NYIS", "US-MIDW-MISO"),
        "eu9": ("DE", "GB", "IE", "NL", "BE", "PL", "ES", "FR", "FI"),
        "apac4": ("JP-TK", "AU-NSW", "SG", "IN-MH"),
    }
)
"""The first zone of each is home."""
SHAPES: Final = ((1, 24), (4, 24), (24, 48))
"""Hours of run and of slack."""
FIRST_JOB_HOURS: Final = 28 * 24
"""When the first job comes, from the trace's begin on: forecasts then know four weeks."""
STARTS: Final = 3600
CALIFORNIA: Final = "US-CAL-CISO"
TIERS_FIRST, TIERS_LAST = datetime(2021, 10, 25, tzinfo=UTC), datetime(2021, 11, 1, tzinfo=UTC)
"""A week of the season in which the sweep in tiers was run, four years before."""
MIXED: Final = (Pool("rtx-3090", CALIFORNIA, 1), Pool("a5000", CALIFORNIA, 1, speed=1.05, kw_per_gpu=1.8 * 1.05))
SWEEP_ROOM: Final = timedelta(hours=140)
"""The longest slack of a sweep, and room to run after it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A backtest with its name."""

    title: str
    backtest: Backtest
    stated: str = ""
    """What an article says of it, to stand beside our answer."""


def preset(name: str, data: Path) -> tuple[Case, ...]:
    """The cases of a preset. Raises ReplayError for an unknown name or a file that is not there."""
    make = PRESETS.get(name)
    if make is None:
        raise ReplayError(f"there is no preset {name}; there is {', '.join(PRESETS)}")
    return make(data)


def _file(data: Path, name: str) -> Path:
    path = data / name
    if not path.is_file():
        raise ReplayError(f"{path} is not there: give the folder of recorded grids (--data or CARBONFLEET_DATA_DIR)")
    return path


def _zone_set(name: str) -> Callable[[Path], tuple[Case, ...]]:
    def cases(data: Path) -> tuple[Case, ...]:
        return tuple(
            Case(f"{name}, {hours} h of run, {slack} h of slack", _hourly(data, ZONE_SETS[name], hours, slack))
            for hours, slack in SHAPES
        )

    return cases


def _sweep_on(title: str, pools: tuple[Pool, ...]) -> Callable[[Path], tuple[Case, ...]]:
    def cases(data: Path) -> tuple[Case, ...]:
        grid = open_grid([_file(data, PORTAL)], [CALIFORNIA])
        starts = sweep_starts(grid.moment(FIRST_JOB_HOURS), grid.end - SWEEP_ROOM)
        scenarios = tuple(sweep(start) for start in starts)
        return (Case(title, Backtest(grid, scenarios, pools, CALIFORNIA, slot_minutes=12)),)

    return cases


def _routing(data: Path) -> tuple[Case, ...]:
    """Each job is one hour, from the hour of its row on; the row's values hold until the next one's."""
    with _file(data, ROUTING).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = {"US-MIDA-PJM": "ohio_gco2_kwh", "CA-QC": "quebec_gco2_kwh", "NO-NO1": "norway_gco2_kwh"}
    times = [datetime.fromisoformat(row["timestamp_utc"]).replace(minute=0, second=0, tzinfo=UTC) for row in rows]
    hours = [(time - times[0]) // HOUR for time in times]
    length = [after - before for before, after in zip(hours, [*hours[1:], hours[-1] + 3], strict=True)]
    values = np.array([np.repeat([float(row[column]) for row in rows], length) for column in columns.values()])
    grid = Grid(tuple(columns), SignalKind.AVERAGE_LIFECYCLE, times[0], values, {})
    jobs = tuple(ReplayJob(f"job-{i:02d}", time, 60, timedelta()) for i, time in enumerate(times, 1))
    # Each job was routed by the values of its own moment.
    feed = (OURS, lambda grid, first, last, ahead: Perfect(grid, 1))
    pools = pools_of(grid.zones, None)
    return (
        Case(
            "routing of 21 jobs over Norway, Quebec and Ohio",
            Backtest(grid, (jobs,), pools, grid.zones[0], (feed,)),
            "the router saved 93 % against all in Ohio at the same times (35 against 523 g/kWh)",
        ),
    )


def _tiers(data: Path) -> tuple[Case, ...]:
    grid = open_grid([_file(data, PORTAL)], [CALIFORNIA])
    starts = (TIERS_FIRST + 8 * HOUR * i for i in range((TIERS_LAST - TIERS_FIRST) // (8 * HOUR)))
    return (
        Case(
            "sweeps of 21 jobs in the last week of October in California",
            Backtest(grid, tuple(map(sweep, starts)), MIXED, CALIFORNIA, slot_minutes=12),
            "absolute tiers reached 142 g/kWh in 50 h, at once 226 g/kWh in 16 h (28 October 2025)",
        ),
    )


def _guide(data: Path) -> tuple[Case, ...]:
    stated = "start in the cleanest of the next hours; a firm saved 38 % so, some of its jobs running 6 h later"
    return tuple(
        Case(f"a job of 4 h with 6 h of slack in {zone}", _hourly(data, (zone,), 4, 6), stated)
        for zone in (CALIFORNIA, "US-MIDA-PJM", "IE")
    )


def _us_only(data: Path) -> tuple[Case, ...]:
    stated = "open: the Pacific Northwest has 80-150 g/kWh, Texas 200-500; does moving need to be dynamic there?"
    zones = ZONE_SETS["us6"]
    return tuple(
        Case(f"US only, 1 h of run, {slack} h of slack", _hourly(data, zones, 1, slack), stated) for slack in (0, 24)
    )


def _germany_only(data: Path) -> tuple[Case, ...]:
    stated = "open: what is left to save where data may not leave the country"
    return tuple(
        Case(f"Germany only, {hours} h of run, {slack} h of slack", _hourly(data, ("DE",), hours, slack), stated)
        for hours, slack in ((1, 24), (4, 6), (4, 24))
    )


def _hourly(data: Path, zones: tuple[str, ...], hours: float, slack: float) -> Backtest:
    """One job an hour over the half year, from the first zone."""
    grid = open_grid([_file(data, HALF_YEAR)], zones)
    jobs = every_hour(grid.moment(FIRST_JOB_HOURS), STARTS, hours, slack)
    return Backtest(grid, (jobs,), pools_of(zones, None), zones[0])


def _thousand(data: Path) -> tuple[Case, ...]:
    zones = ZONE_SETS["us6"]
    grid = open_grid([_file(data, HALF_YEAR)], zones)
    jobs = read_jobs(_file(data, JOB_LIST), grid.moment(FIRST_JOB_HOURS), JobDefaults(parse_slack("24")))
    return (
        Case(
            "1,000 jobs of a GPU cluster over us6, 24 h of slack",
            Backtest(grid, (jobs,), pools_of(zones, None), zones[0]),
        ),
    )


def _recorded(data: Path) -> tuple[Case, ...]:
    path = _file(data, RECORDED)
    zones = ("DE", "ES", "NL", "SE", "US-CAL-CISO", "US-MIDA-PJM", "US-TEX-ERCO")
    return tuple(
        Case(
            f"recorded forecasts of {zone}, {hours} h of run, {slack} h of slack",
            recorded_backtest(path, (zone,), hours, slack),
        )
        for hours, slack in SHAPES
        for zone in zones
    )


def recorded_backtest(path: Path, zones: tuple[str, ...], hours: float, slack: float) -> Backtest:
    """Jobs at every hour from four weeks into a recording on: trusting what was issued, corrected, and from history."""
    recording = open_recording(path, zones)
    grid = recording.grid
    count = grid.slots - FIRST_JOB_HOURS - 24 - round(hours + slack)
    if count < 1:
        raise ReplayError(f"{path} is too short: {grid.slots} hours")
    jobs = every_hour(grid.moment(FIRST_JOB_HOURS), count, hours, slack)
    feeds = (
        (f"{OURS}, trusting", lambda grid, first, last, ahead: Trusted(recording)),
        (OURS, lambda grid, first, last, ahead: Corrected(recording, first, last)),
        (f"{OURS}, from history", FromHistory),
    )
    return Backtest(grid, (jobs,), pools_of(zones, None), zones[0], feeds)


PRESETS: Final[Mapping[str, Callable[[Path], tuple[Case, ...]]]] = MappingProxyType(
    {
        "sweep": _sweep_on("sweep of 21 jobs on two GPUs in California", (Pool("california", CALIFORNIA, 2),)),
        "sweep-mixed": _sweep_on(
            "sweep of 21 jobs on an RTX 3090 and an A5000 (5 % faster, 80 % more energy)",
            MIXED,
        ),
        "routing": _routing,
        "tiers": _tiers,
        "guide": _guide,
        "us-only": _us_only,
        "germany-only": _germany_only,
        **{name: _zone_set(name) for name in ZONE_SETS},
        "thousand-jobs": _thousand,
        "recorded": _recorded,
    }
)
"""By name."""
DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sweep": "204 sweeps of 21 jobs on two GPUs in California, 2021-01 to 2022-06 (half an hour on one core)",
        "sweep-mixed": "the same on an RTX 3090 and an A5000",
        "routing": "a log of 21 jobs routed over Norway, Quebec and Ohio; the article states 93 %",
        "tiers": "21 sweeps in California in October; the article states 142 g/kWh with tiers, 226 at once",
        "guide": "a job of 4 h with 6 h of slack in California, PJM and Ireland",
        "us-only": "1 h jobs over the US alone, at once and within a day: does moving need to be dynamic?",
        "germany-only": "jobs that may not leave Germany, 1 and 4 h long",
        **{
            name: f"jobs over {len(zones)} zones from {zones[0]}, 1, 4 and 24 h long, February to June 2022"
            for name, zones in ZONE_SETS.items()
        },
        "thousand-jobs": "1,000 jobs of a GPU cluster over the zones of us6",
        "recorded": "forecasts as they were issued in 2021 with their real errors, in seven zones, 1, 4 and 24 h long",
    }
)
"""What each preset is, in a line."""
