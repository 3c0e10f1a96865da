"""How long runs may take beside what is declared: as runs of the same profile on the same GPUs took."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache, lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.job import JobSpec
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import canonical, declared_hours
from carbonfleet.placement.inputs.options import Options
from carbonfleet.placement.inputs.timeline import MINUTE, IntArray
from carbonfleet.placement.snapshot import FloatArray, QueuedJob, RunProfile

NODES: Final = 20
"""Lengths of run that stand for all that it may take, in promises."""
PRIOR_RUNS: Final = 3
"""From so many runs on what they took is looked at. Of so many, the doubt in the declared length counts as much as they
do; it counts less and less the more there are, for what runs take scatters by itself."""
MOST_OFF: Final = 20.0
"""A run that took so many times as long, or short, was another one."""
WEIGHED: Final = 2
"""Lengths that a score's carbon is the mean over, each as likely: the quartiles. Four bring no more. A power of two."""
WEIGHED_FROM: Final = 0.05
"""From so large a share on a likely length counts as another than the declared one."""

MOST_BEYOND: Final = timedelta(days=3)
"""Beyond the declared length: forecasts reach no farther, and what is weighed of such a run would say little."""


def took_hours(
    run_lengths: Mapping[RunProfile, tuple[float, ...]], spec: JobSpec, pool: GpuPool, gpus: int
) -> tuple[float, ...]:
    """What runs like a job's took on such GPUs, once there are enough of them."""
    took = run_lengths.get((spec.workload.profile, canonical(pool.gpu_type), gpus), ())
    return took if len(took) >= PRIOR_RUNS else ()


def length_ratios(took: tuple[float, ...], declared: float, doubt: float, nodes: int) -> FloatArray:
    """So many lengths that such a run may take, each as likely, beside the declared one; shape (nodes,).

    Of what runs took (hours) and, while these are few, of what people declare, with the relative error `doubt`.
    """
    guessed: FloatArray = np.exp(np.log1p(doubt) * bell(NODES))
    if not took:
        return guessed if nodes == NODES else np.interp(_middles(nodes), _middles(NODES), guessed)
    measured = np.clip(np.array(took) / declared, 1 / MOST_OFF, MOST_OFF)
    ratios = np.concatenate([measured, guessed])
    weight = np.repeat([1.0, PRIOR_RUNS**2 / len(took) / NODES], [len(took), NODES])
    order = np.argsort(ratios, kind="stable")
    at = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    likely: FloatArray = np.interp(_middles(nodes), at, ratios[order])
    return likely


def _middles(nodes: int) -> FloatArray:
    return (np.arange(nodes) + 0.5) / nodes


@cache
def bell(nodes: int) -> FloatArray:
    """So many values of a standard normal distribution, each as likely."""
    return np.array([NormalDist().inv_cdf(share) for share in _middles(nodes).tolist()])


def weighed_lengths(
    jobs: Sequence[QueuedJob],
    minutes: IntArray,
    gpus: IntArray,
    options: Options,
    of_kind: IntArray,
    run_lengths: Mapping[RunProfile, tuple[float, ...]],
    assumptions: Assumptions,
) -> IntArray:
    """The lengths, in minutes, that the carbon of each run is a mean over; shape (WEIGHED or 1, jobs, kinds).

    As declared but for runs in one piece of which enough runs like them took another time. No longer than the longest
    run that is planned.
    """
    if not run_lengths:
        return minutes[None]
    lengths = np.repeat(minutes[None], WEIGHED, axis=0)
    profiles = {profile for profile, _, _ in run_lengths}
    pools = [options.entries[option].pool for option in of_kind.tolist()]
    longest = np.maximum(np.minimum(assumptions.longest_run // MINUTE, minutes + MOST_BEYOND // MINUTE), minutes)
    for row, job in enumerate(jobs):
        if job.spec.schedule.interruptible is not None or job.spec.workload.profile not in profiles:
            continue
        for kind, pool in enumerate(pools):
            took = took_hours(run_lengths, job.spec, pool, int(gpus[row, kind]))
            ratios = _weighed_ratios(took, declared_hours(job.spec.resources, pool), assumptions.duration_doubt)
            lengths[:, row, kind] = np.maximum(1, np.rint(ratios * minutes[row, kind]))
    np.minimum(lengths, longest, out=lengths)
    return lengths if (lengths != minutes).any() else minutes[None]


@lru_cache(1024)
def _weighed_ratios(took: tuple[float, ...], declared: float, doubt: float) -> FloatArray:
    if took:
        ratios = length_ratios(took, declared, doubt, WEIGHED)
        if float(np.abs(ratios - 1).max()) >= WEIGHED_FROM:
            return ratios
    return np.ones(WEIGHED)
