"""How long one planning cycle takes beside one bare NumPy pass over the same grid, and how that grows.

    python benchmarks/planning.py [--jobs 10000] [--spokes 100] [--curve] [--json FILE]

The bare pass takes, for each job, the difference of a float32 running total over (spokes, starts), into one
buffer, and its argmin: what choosing the cleanest window costs without policies, prices, capacity, decisions or
reasons. The plan does all that, and makes every decision; explanations are made beside it. Two fleets: a roomy one,
and a crowded one whose clean hours are almost full. CPU seconds on one core, the least of a few runs; each size has
a process of its own, so that its peak of memory is its own.

Then jobs that ask for more than a window, each kind alone: below a threshold, under a budget, with pauses.

A last row is the hub's, with an explanation of every decision.
"""

import argparse
import gc
import json
import multiprocessing
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import Interruptible, JobSpec
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.hub.planning import LastPlan, Quarantine, plan_around
from carbonfleet.placement import Assumptions, PolicySet, QueuedJob, Snapshot, Spoke, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPAN_HOURS, SLOTS_PER_HOUR = 96, 4
POLICY = FleetPolicy.model_validate(
    {
        "metadata": {"name": "all"},
        "spec": {"residency": {"anywhere": True}, "tiers": [{"name": "standard", "max_delay": "24h"}]},
    }
)
FLEETS = {"roomy": 0.05, "crowded": 0.9}
"""Work over what the cleanest third of the hours has GPUs for."""


def snapshot(jobs: int, spokes: int, load: float, seed: int = 1) -> Snapshot:
    """Jobs of distinct shapes that may start within 96 h, on spokes with a zone and a daily curve each."""
    random = np.random.default_rng(seed)
    queue = tuple(_job(number, random) for number in range(jobs))
    work = sum(job.spec.resources.gpus * (job.spec.resources.duration / HOUR) for job in queue)
    gpus = max(8, round(work / (spokes * SPAN_HOURS / 3 * load)))
    zones = [f"AA-{number}" for number in range(spokes)]
    forecasts = {(zone, SignalKind.AVERAGE_LIFECYCLE): _forecast(zone, random) for zone in zones}
    fleet = tuple(_spoke(zone, gpus) for zone in zones)
    return Snapshot(queue, fleet, PolicySet((POLICY,)), forecasts, assumptions=Assumptions())


def _job(number: int, random: np.random.Generator) -> QueuedJob:
    minutes = int(random.integers(15, 600))
    spec = {
        "workload": {"model": "m", "dataset": {"name": "d"}},
        "resources": {"gpus": int(random.choice([1, 2, 4, 8])), "duration": timedelta(minutes=minutes)},
        "residency": {"data_class": "public"},
        "objective": {"minimize": "carbon"},
        "schedule": {"max_delay": timedelta(hours=SPAN_HOURS) - timedelta(minutes=15)},
    }
    return QueuedJob(f"uid-{number}", "ml", f"job-{number:06d}", JobSpec.model_validate(spec), NOW)


def _spoke(zone: str, gpus: int) -> Spoke:
    pool = {"name": "main", "gpu_type": "A100", "gpus": gpus, "memory_gib": 80, "usd_per_gpu_hour": 2.0}
    facts = {"name": zone.lower(), "region": "r", "zone": zone, "jurisdictions": ["EU"], "pools": [pool]}
    return Spoke(ClusterFacts.model_validate(facts | {"overhead": "5m", "pue": 1.2}))


def _forecast(zone: str, random: np.random.Generator) -> Forecast:
    hours = np.arange(2 * SPAN_HOURS)
    curve = 200 + 150 * np.sin(hours / 24 * 2 * np.pi + random.uniform(0, 2 * np.pi))
    values = curve + 20 * random.random(hours.size)
    return Forecast(
        zone, SignalKind.AVERAGE_LIFECYCLE, NOW, HOUR, values, np.zeros(hours.size), "random", "forecast", NOW
    )


def bare_seconds(jobs: int, spokes: int) -> float:
    """One prefix-sum difference and argmin for each job over (spokes, starts)."""
    random = np.random.default_rng(0)
    starts, longest = SPAN_HOURS * SLOTS_PER_HOUR, 40
    total = np.zeros((spokes, starts + longest + 1), dtype=np.float32)
    np.cumsum(random.random((spokes, starts + longest), dtype=np.float32), axis=1, out=total[:, 1:])
    windows = np.empty((spokes, starts), dtype=np.float32)
    lengths = random.integers(1, longest + 1, jobs).tolist()
    begin = time.process_time()
    for length in lengths:
        np.subtract(total[:, length : length + starts], total[:, :starts], out=windows)
        windows.argmin()
    return time.process_time() - begin


def plan_seconds(world: Snapshot, now: datetime = NOW) -> float:
    """One cycle, with every decision's outcome, reason and window."""
    begin = time.process_time()
    plan(world, now)
    return time.process_time() - begin


def with_ten_others(world: Snapshot) -> Snapshot:
    """The same but for ten jobs."""
    others = snapshot(10, 1, 1.0, seed=2).jobs
    renamed = tuple(replace(job, uid=f"new-{job.uid}", name=f"new-{job.name}") for job in others)
    return replace(world, jobs=world.jobs[10:] + renamed)


def measure(jobs: int, spokes: int, runs: int) -> list[dict[str, object]]:
    """A row for each fleet."""
    rows = []
    for fleet, load in FLEETS.items():
        world = snapshot(jobs, spokes, load)
        plan(world, NOW)
        gc.collect()
        gc.freeze()
        bare = min(bare_seconds(jobs, spokes) for _ in range(runs))
        whole = min(plan_seconds(world) for _ in range(runs))
        gc.unfreeze()
        row = {"fleet": fleet, "jobs": jobs, "spokes": spokes, "bare_seconds": bare, "plan_seconds": whole}
        rows.append(row | {"ratio": whole / bare, "peak_mib": _peak_mib()})
        print(
            f"{fleet:8} {jobs:7} jobs x {spokes} spokes: plan {whole:.3f} s, bare pass {bare:.3f} s, "
            f"ratio {whole / bare:.1f}; {_peak_mib():.0f} MiB",
            flush=True,
        )
    return rows


def measure_kinds(jobs: int, spokes: int) -> dict[str, object]:
    """What a job of each kind takes of a plan, in ms."""
    world = snapshot(jobs, spokes, FLEETS["roomy"])
    budget = FleetPolicy.model_validate(
        {"metadata": {"name": "budget"}, "spec": {"budget": {"carbon_kg_per_month": 1e9, "running_gpus": 10**6}}}
    )
    cut = {"max_pauses": 3, "minimum_run": timedelta(hours=1), "overhead": timedelta(minutes=5)}
    worlds = {
        "plain": world,
        "gated": _asking(world, max_intensity_grams_per_kwh=150),
        "budgeted": replace(world, policies=PolicySet((POLICY, budget))),
        "cut": _asking(world, interruptible=Interruptible.model_validate(cut)),
    }
    found = {kind: 1000 * plan_seconds(asked) / jobs for kind, asked in worlds.items()}
    told = ", ".join(f"{kind} {milliseconds:.2f}" for kind, milliseconds in found.items())
    print(f"kinds    {jobs:7} jobs x {spokes} spokes, ms a job: {told}", flush=True)
    return {"fleet": "kinds", "jobs": jobs, "spokes": spokes} | found


def _asking(world: Snapshot, **schedule: object) -> Snapshot:
    """The same with something more in each job's schedule."""

    def asking(job: QueuedJob) -> QueuedJob:
        asked = job.spec.schedule.model_copy(update=schedule)
        return replace(job, spec=job.spec.model_copy(update={"schedule": asked}))

    return replace(world, jobs=tuple(map(asking, world.jobs)))


def measure_explanations(jobs: int, spokes: int) -> dict[str, object]:
    """A hub's planning with an explanation of each decision, at first and after ten jobs have changed."""
    world, later, last = snapshot(jobs, spokes, FLEETS["roomy"]), NOW + timedelta(seconds=5), LastPlan()
    bare = plan_seconds(world)
    begin = time.process_time()
    last.keep(world, plan_around(world, NOW, Quarantine(), plan))
    whole = time.process_time() - begin
    begin = time.process_time()
    plan_around(with_ten_others(world), later, Quarantine(), plan, last)
    again = time.process_time() - begin
    each = 1000 * (whole - bare) / jobs
    print(
        f"hub      {jobs:7} jobs x {spokes} spokes: plan and explanations {whole:.2f} s, {each:.2f} ms a job; "
        f"ten jobs changed {again:.2f} s",
        flush=True,
    )
    row = {"fleet": "hub", "jobs": jobs, "spokes": spokes, "plan_seconds": whole, "ten_changed_seconds": again}
    return row | {"explanation_milliseconds": each}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--spokes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--curve", action="store_true", help="100 to 100,000 jobs, and 25 to 200 spokes")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    sizes = [(asked.jobs, asked.spokes)]
    if asked.curve:
        sizes = [(100, 100), (1_000, 100), (10_000, 25), (10_000, 50), (10_000, 100), (10_000, 200), (100_000, 100)]
    alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    rows: list[dict[str, object]] = []
    for jobs, spokes in sizes:
        rows += alone.submit(measure, jobs, spokes, asked.runs if jobs < 100_000 else 1).result()
    rows.append(alone.submit(measure_kinds, min(asked.jobs, 200), asked.spokes).result())
    rows.append(alone.submit(measure_explanations, min(asked.jobs, 1_000), asked.spokes).result())
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
