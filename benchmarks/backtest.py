"""Sweep replay beside its lower bound: perfect foresight solved as a time-indexed linear relaxation.

python benchmarks/backtest.py [--data FOLDER] [--every N] [--mixed]; the folder of recorded grids may also be
given as CARBONFLEET_DATA_DIR. Energy is counted; PUE, transfer and embodied carbon are left out.
"""

import argparse
import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from carbonfleet.simulator.backtest import OURS, Backtest, run_backtest
from carbonfleet.simulator.grid import MINUTE
from carbonfleet.simulator.presets import preset
from carbonfleet.simulator.replay import ReplayJob
from carbonfleet.simulator.replay.workers import cores


def relaxed_grams(backtest: Backtest, jobs: tuple[ReplayJob, ...]) -> float:
    """The least grams of one sweep, jobs divisible among windows; equal jobs are one row."""
    grid, slot = backtest.grid, backtest.slot_minutes
    origin = min(job.submitted for job in jobs)
    shapes: dict[tuple[int, timedelta], int] = {}
    for job in jobs:
        shapes[job.minutes, job.delay] = shapes.get((job.minutes, job.delay), 0) + 1
    slots = int(max(job.delay for job in jobs) / (slot * MINUTE)) + 20
    costs, demand, usage = [], [], []
    for row, ((minutes, delay), _count) in enumerate(shapes.items()):
        job = ReplayJob("shape", origin, minutes, delay)
        for pool_row, pool in enumerate(backtest.pools):
            length = -(-pool.minutes(job) // slot)
            for start in range(int(delay / (slot * MINUTE)) + 1):
                begin = origin + start * slot * MINUTE
                column = len(costs)
                costs.append(pool.kwh(job) * grid.mean(grid.row(pool.zone), begin, pool.minutes(job)))
                demand.append((row, column))
                # Whole slots only: an hour's part that no run fills is free, which keeps this a lower bound.
                whole = pool.minutes(job) // slot if pool.minutes(job) % slot else length
                usage += [(pool_row * slots + start + i, column) for i in range(whole)]
    limits = np.repeat([pool.gpus for pool in backtest.pools], slots)
    rows, columns = zip(*usage, strict=True)
    capacity = coo_array((np.ones(len(rows)), (rows, columns)), shape=(limits.size, len(costs)))
    rows, columns = zip(*demand, strict=True)
    wanted = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(shapes), len(costs)))
    found = linprog(costs, A_ub=capacity, b_ub=limits, A_eq=wanted, b_eq=list(shapes.values()), method="highs")
    assert found.success, found.message
    return float(found.fun)


def main() -> None:
    """Replay the sweeps, solve each relaxation, print what share of its saving was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("CARBONFLEET_DATA_DIR"))
    parser.add_argument("--every", type=int, default=1, help="take every Nth sweep")
    parser.add_argument("--mixed", action="store_true", help="one RTX 3090 and one A5000")
    options = parser.parse_args()
    if options.data is None:
        print("skipped: give --data FOLDER or CARBONFLEET_DATA_DIR (recorded grids)")
        return
    (case,) = preset("sweep-mixed" if options.mixed else "sweep", Path(options.data))
    backtest = replace(case.backtest, scenarios=case.backtest.scenarios[:: options.every], minimum_gain=0)
    begun = time.monotonic()
    result = run_backtest(backtest, workers=cores())
    seconds = time.monotonic() - begun
    base = np.array([sum(s.grams) for s in result.scenarios["immediate at home"]])
    bound = np.array([relaxed_grams(backtest, jobs) for jobs in backtest.scenarios])
    best = 100 * (1 - bound / base)
    print(f"{case.title}: {len(base)} sweeps, {seconds:.0f} s on {cores()} cores")
    print(f"{'linear relaxation, told the future':36} mean saving {best.mean():6.2f} %")
    for score in result.scores:
        share = score.mean_saving_percent / best.mean()
        print(
            f"{score.policy:36} mean saving {score.mean_saving_percent:6.2f} %   5th {score.p5_saving_percent:6.2f} %"
            f"   of the relaxation {100 * share:6.2f} %"
        )
    ours, foresight = result.of(OURS), result.of(backtest.foresight)
    print(f"needed: mean 31, 5th 15, relaxation 92; reached {ours.mean_saving_percent:.2f}, "
          f"{ours.p5_saving_percent:.2f}, {100 * ours.mean_saving_percent / best.mean():.2f} "
          f"(our planner told the future: {foresight.mean_saving_percent:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
