"""What a policy reached in a replay, beside starting at once at home and beside the best there was."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from carbonfleet.simulator.grid import HOUR, Grid
from carbonfleet.simulator.replay.fleet import ReplayedRun


@dataclass(frozen=True, slots=True)
class Scenario:
    """The runs of one policy in one replay, with what each emitted."""

    runs: tuple[ReplayedRun, ...]
    grams: tuple[float, ...]

    @classmethod
    def of(cls, runs: Sequence[ReplayedRun], grid: Grid) -> "Scenario":
        """Account the runs on the trace."""
        return cls(tuple(runs), tuple(run.grams(grid) for run in runs))


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table. Savings are against starting at once at home."""

    policy: str
    jobs: int
    energy_kwh: float
    grams_co2e: float
    grams_per_kwh: float
    saving_percent: float
    """Of all grams together."""
    mean_saving_percent: float
    """Mean over jobs, or over replays when there are several."""
    p5_saving_percent: float
    """The same's 5th percentile: how the worst twentieth fares."""
    share_percent: float | None
    """Of the saving that perfect foresight gets."""
    delay_mean_hours: float
    delay_p95_hours: float
    makespan_hours: float
    """From first submission to last end, mean over replays."""
    forced_starts: int
    """Jobs that started because their wait was over."""
    worse_than_immediate: int
    """Jobs that emitted more than at once at home."""


def score(
    policy: str, scenarios: Sequence[Scenario], base: Sequence[Scenario], best: Sequence[Scenario] | None
) -> Score:
    """Score a policy over replays of the same jobs; `base` is at once at home, `best` perfect foresight."""
    runs = [run for scenario in scenarios for run in scenario.runs]
    grams, plain = _flat(scenarios), _flat(base)
    units, plain_units = (grams, plain) if len(scenarios) == 1 else (_sums(scenarios), _sums(base))
    savings = 100 * (1 - units / np.maximum(plain_units, 1e-12))
    delays = np.array([run.delay_hours for run in runs])
    kwh = sum(run.kwh for run in runs)
    reachable = None if best is None else float(plain.sum() - _flat(best).sum())
    return Score(
        policy=policy,
        jobs=len(runs),
        energy_kwh=float(kwh),
        grams_co2e=float(grams.sum()),
        grams_per_kwh=float(grams.sum() / kwh),
        saving_percent=float(100 * (1 - grams.sum() / max(plain.sum(), 1e-12))),
        mean_saving_percent=float(savings.mean()),
        p5_saving_percent=float(np.percentile(savings, 5)),
        share_percent=None if not reachable else float(100 * (plain.sum() - grams.sum()) / reachable) + 0.0,
        delay_mean_hours=float(delays.mean()),
        delay_p95_hours=float(np.percentile(delays, 95)),
        makespan_hours=float(np.mean([_makespan(scenario) for scenario in scenarios])),
        forced_starts=sum(run.forced for run in runs),
        worse_than_immediate=int((grams > plain + 1e-9).sum()),
    )


def _flat(scenarios: Sequence[Scenario]) -> np.ndarray:
    return np.array([grams for scenario in scenarios for grams in scenario.grams])


def _sums(scenarios: Sequence[Scenario]) -> np.ndarray:
    return np.array([sum(scenario.grams) for scenario in scenarios])


def _makespan(scenario: Scenario) -> float:
    first = min(run.job.submitted for run in scenario.runs)
    return (max(run.end for run in scenario.runs) - first) / HOUR
