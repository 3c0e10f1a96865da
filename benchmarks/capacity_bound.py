"""How far contended plans are above the bound of the time-indexed linear relaxation, and what each step buys.

    python benchmarks/capacity_bound.py [--instances 30] [--asking nothing|threshold|budget] [--json FILE]

Random one-tier queues of 50 to 500 jobs on a few spokes, with 60 to 95 % of the GPUs used in the clean
hours; all start in time. The relaxation (SciPy, HiGHS) lets jobs split over windows, so no plan can be
cheaper. The objective is the sum of the jobs' scores, here grams, without a minimum gain for each hour of delay. With
`--asking`, each job has a threshold, or its team a budget, that never binds: the bound is the same, and the gap should
be. The steps are those of `placement/repair/local_search.py`.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import JobSpec
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.placement import Assumptions, PolicySet, QueuedJob, Snapshot, Spoke, plan
from carbonfleet.placement.assign import assign, index_of
from carbonfleet.placement.plan_inputs import PlanInputs, plan_inputs
from carbonfleet.placement.repair.contention import contention_of, windows_taken
from carbonfleet.placement.repair.local_search import effort_for, local_search
from carbonfleet.placement.rules import tiers
from carbonfleet.placement.search import Choice, unhindered, windows_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = 3
TIER = {"name": "standard", "max_delay": "24h", "minimum_gain_percent_per_hour": 0}
POLICY = FleetPolicy.model_validate(
    {"metadata": {"name": "all"}, "spec": {"residency": {"anywhere": True}, "tiers": [TIER]}}
)
HOURLY = Assumptions(slot=HOUR, embodied_share=0, transfer_kwh_per_gib=0, equal_share=0)
"""Carbon to the last gram: the bound knows nothing of windows that count as equal."""


ASKING = {
    "nothing": ({}, ()),
    "threshold": ({"max_intensity_grams_per_kwh": 2000}, ()),
    "budget": ({}, ({"carbon_kg_per_month": 1e9, "running_gpus": 10**6},)),
}
"""By name: what each job has in its schedule, and the budgets of a policy."""


def instance(seed: int, asking: str = "nothing") -> Snapshot:
    """A random queue: daily curves that differ by zone, jobs of 1 to 8 h on 1 to 8 GPUs, 6 to 36 h of slack."""
    random = np.random.default_rng(seed)
    zones = [f"AA-{number}" for number in range(int(random.integers(2, 6)))]
    schedule, budgets = ASKING[asking]
    jobs = [_job(number, random, schedule) for number in range(int(random.integers(50, 501)))]
    work = sum(job.spec.resources.gpus * (job.spec.resources.duration / HOUR) for job in jobs)
    gpus = max(8, round(work / (len(zones) * 60 * random.uniform(0.4, 0.7))))
    forecasts = [_forecast(zone, random) for zone in zones]
    return Snapshot(
        jobs=tuple(jobs),
        spokes=tuple(_spoke(zone, gpus) for zone in zones),
        policies=PolicySet((POLICY, *map(_budget, budgets))),
        forecasts={(forecast.zone, forecast.signal): forecast for forecast in forecasts},
        assumptions=HOURLY,
    )


def _budget(limits: dict) -> FleetPolicy:
    return FleetPolicy.model_validate({"metadata": {"name": "budget"}, "spec": {"budget": limits}})


def _job(number: int, random: np.random.Generator, schedule: dict) -> QueuedJob:
    release, slack = int(random.integers(0, 24)), int(random.integers(6, 37))
    spec = {
        "workload": {"model": "m", "dataset": {"name": "d"}},
        "resources": {"gpus": int(random.choice([1, 1, 2, 2, 4, 8])), "duration": int(random.integers(1, 9)) * HOUR},
        "residency": {"data_class": "public"},
        "objective": {"minimize": "carbon"},
        "schedule": {"earliest_start": NOW + release * HOUR, "max_delay": (release + slack) * HOUR} | schedule,
    }
    return QueuedJob(f"uid-{number}", "ml", f"job-{number:04d}", JobSpec.model_validate(spec), NOW)


def _spoke(zone: str, gpus: int) -> Spoke:
    pool = {"name": "main", "gpu_type": "A100", "gpus": gpus, "memory_gib": 80, "usd_per_gpu_hour": 2.0}
    facts = {"name": zone.lower(), "region": "r", "zone": zone, "jurisdictions": ["EU"], "pools": [pool]}
    return Spoke(ClusterFacts.model_validate(facts | {"overhead": "0s", "pue": 1}))


def _forecast(zone: str, random: np.random.Generator) -> Forecast:
    hours = np.arange((DAYS + 1) * 24)
    mean, swing, phase = random.uniform(80, 450), random.uniform(0.1, 0.6), random.uniform(0, 2 * np.pi)
    curve = mean * (1 + swing * np.sin(hours / 24 * 2 * np.pi + phase)) + random.normal(0, 0.05 * mean, hours.size)
    values = np.maximum(15, curve)
    doubt = np.zeros(hours.size)
    return Forecast(zone, SignalKind.AVERAGE_LIFECYCLE, NOW, HOUR, values, doubt, "random", "forecast", NOW)


def relaxation(inputs: PlanInputs) -> float | None:
    """The least score of the linear relaxation; None where even that is not feasible."""
    score, job_of, cells, of_cell, gpus = [], [], [], [], []
    slots = inputs.line.slots
    for job in range(len(inputs.jobs)):
        windows = windows_of(inputs, job)
        for rank, start in zip(*np.nonzero(windows.open), strict=True):
            span = int(windows.span[rank, start])
            cells.append(inputs.options.capacity_row[rank] * slots + np.arange(start, start + span))
            of_cell.append(np.full(span, len(score)))
            gpus.append(np.full(span, inputs.demand.of(job).gpus[rank]))
            job_of.append(job)
            score.append(windows.scores[rank, start])
    count, free = len(score), inputs.capacity.free
    use = coo_matrix((np.concatenate(gpus), (np.concatenate(cells), np.concatenate(of_cell))), (free.size, count))
    once = coo_matrix((np.ones(count), (job_of, np.arange(count))), (len(inputs.jobs), count))
    solved = linprog(
        score, A_ub=use.tocsr(), b_ub=free.ravel(), A_eq=once.tocsr(), b_eq=np.ones(len(inputs.jobs)), method="highs"
    )
    return float(solved.fun) if solved.status == 0 else None


@dataclass(frozen=True)
class Measured:
    """One instance: the bound, and how far each step is above it."""

    seed: int
    jobs: int
    gpus: int
    clean_use: float
    """Share of the GPUs that are used in the cleanest third of the hours of the first 60."""
    above: dict[str, float]
    seconds: dict[str, float]


def measure(seed: int, asking: str = "nothing") -> Measured | None:
    """None where the instance is not feasible, or the GPUs are used less or more than wanted."""
    inputs = _inputs(instance(seed, asking))
    bound = relaxation(inputs)
    if bound is None:
        return None
    inputs = _inputs(replace(inputs.snapshot, assumptions=replace(HOURLY, improvement_cells=0)))
    index = index_of(inputs)
    choices, seconds = _timed(lambda: assign(inputs, index))
    if any(choice is None or choice.is_late for choice in choices):
        return None
    scores, times = {"in turn, by slack": _score(choices)}, {"in turn, by slack": seconds}
    jobs = np.arange(len(choices))
    contention = contention_of(inputs, jobs.tolist(), choices, unhindered(index, jobs))
    effort = effort_for(contention, HOURLY.improvement_cells)
    taken = windows_taken(contention, choices)
    for name, rounds in (("rebuilt by price", 0), ("and in parts", effort.rounds)):
        (windows, _), seconds = _timed(
            lambda r=rounds: local_search(
                contention, inputs.capacity.free[:, : contention.slots], taken, replace(effort, rounds=r)
            )
        )
        scores[name] = float(contention.score.reshape(jobs.size, -1)[jobs, windows].sum())
        times[name] = times["in turn, by slack"] + seconds
    decisions, times["the plan as it ships"] = _timed(lambda: plan(instance(seed, asking), NOW).decisions)
    scores["the plan as it ships"] = sum(decision.window.score_usd for decision in decisions)
    use = _clean_use(inputs, decisions)
    above = {name: 100 * (score / bound - 1) for name, score in scores.items()}
    return Measured(seed, jobs.size, int(inputs.options.gpus[0]), use, above, times) if 0.6 <= use <= 0.95 else None


def _inputs(snapshot: Snapshot) -> PlanInputs:
    return plan_inputs(snapshot, list(snapshot.jobs), tiers(snapshot.policies), NOW)


def _score(choices: list[Choice | None]) -> float:
    return sum(choice.score for choice in choices if choice is not None)


def _timed(run):
    begin = time.process_time()
    return run(), time.process_time() - begin


def _clean_use(inputs: PlanInputs, decisions) -> float:
    hours = 60
    used = np.zeros((len(inputs.options), hours))
    row = {rank.cluster: number for number, rank in enumerate(inputs.options.entries)}
    for decision in decisions:
        if decision.window is not None:
            begin, end = (round((moment - NOW) / HOUR) for moment in decision.window.segments[0])
            used[row[decision.window.cluster], begin:end] += decision.window.gpus
    values = np.array([f.grams_per_kwh[:hours] for f in inputs.snapshot.forecasts.values()])
    clean = values <= np.quantile(values, 1 / 3)
    return float(used[clean].sum() / (clean * inputs.options.gpus[:, None]).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--asking", choices=list(ASKING), default="nothing")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: list[Measured] = []
    seed = asked.first_seed
    while len(found) < asked.instances:
        if (measured := measure(seed, asked.asking)) is not None:
            found.append(measured)
            head = f"seed {seed}: {measured.jobs} jobs, {measured.gpus} GPUs a spoke, {measured.clean_use:.0%} used"
            print(head, *(f"{name} {value:+.2f} %" for name, value in measured.above.items()), sep=", ", flush=True)
        seed += 1
    for name in found[0].above:
        values = np.array([measured.above[name] for measured in found])
        times = np.array([measured.seconds[name] for measured in found])
        print(f"{name}: mean {values.mean():+.2f} %, worst {values.max():+.2f} % above the bound, {times.mean():.2f} s")
    if asked.json:
        asked.json.write_text(json.dumps([vars(measured) for measured in found], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
