"""What a GPU slot is worth to a contention: shadow prices by dual ascent, which also bound the cost from below.

The contention's inputs is a time-indexed assignment under capacity. Pricing the capacity (its Lagrangian dual)
lets each job choose alone: the sum of the least priced scores, less the price of all capacity, is a lower
bound of any plan's score, and at the best prices it equals the bound of the linear relaxation (Geoffrion
1974). The prices follow the subgradient (use less capacity) with Polyak's step and momentum (Camerini,
Fratta and Maffioli 1975).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import IntArray
from carbonfleet.placement.repair.contention import Contention
from carbonfleet.placement.snapshot import FloatArray

PATIENCE: Final = 8
"""Steps without a better bound after which the step is shortened."""
SHORTER: Final = 0.7
MOMENTUM: Final = 0.6
NEVER: Final = 1e18


@dataclass(frozen=True, slots=True, eq=False)
class CapacityPrices:
    """USD for one GPU in one slot, shape (places, slots), and the lower bound that they prove."""

    usd: FloatArray
    bound: float


def reduced(contention: Contention, prices: FloatArray) -> FloatArray:
    """Scores with the price of the slots that a window takes; shape (jobs, considered, starts)."""
    total = np.zeros((prices.shape[0], prices.shape[1] + 1))
    np.cumsum(prices, axis=1, out=total[:, 1:])
    flat = total.ravel()
    taken = flat[contention.end]
    taken -= flat[contention.first]
    priced: FloatArray = taken.reshape(contention.score.shape)
    priced *= contention.gpus[:, :, None]
    priced += contention.score
    return priced


def dual_ascent(
    contention: Contention,
    free: IntArray,
    target: float,
    steps: int,
    begin: FloatArray | None = None,
    step: float = 1.0,
) -> CapacityPrices:
    """Raise the prices of what is wanted too much, and lower the others, for so many steps.

    `target` is a score that the bound can't exceed by much: that of a known plan.
    """
    prices = np.zeros(free.shape) if begin is None else begin
    best = CapacityPrices(prices, -np.inf)
    push, stalled = np.zeros(free.shape), 0
    for _ in range(steps):
        bound, excess = _respond(contention, free, prices)
        if bound > best.bound:
            best, stalled = CapacityPrices(prices, bound), 0
        else:
            stalled += 1
            if stalled >= PATIENCE:
                step, stalled, prices, push = step * SHORTER, 0, best.usd, np.zeros(free.shape)
        push = MOMENTUM * push + np.where((prices <= 0) & (excess < 0), 0, excess)
        direction = np.where((prices <= 0) & (push < 0), 0, push)
        norm = float((direction * direction).sum())
        if norm == 0 or best.bound >= target:
            break
        prices = np.maximum(0, prices + step * (target - bound) / norm * direction)
    return best


def _respond(contention: Contention, free: IntArray, prices: FloatArray) -> tuple[float, FloatArray]:
    """Each job takes what is best for it at these prices: the bound, and what is wanted above what is free."""
    jobs = np.arange(contention.score.shape[0])
    priced = reduced(contention, prices).reshape(jobs.size, -1)
    window = priced.argmin(axis=1)
    rank, start = np.divmod(window, contention.starts)
    place, gpus = contention.capacity_row[jobs, rank], contention.gpus[jobs, rank]
    use = np.zeros((free.shape[0], free.shape[1] + 1))
    np.add.at(use, (place, start), gpus)
    np.add.at(use, (place, start + contention.span[jobs, rank, start]), -gpus)
    bound = float(np.minimum(priced[jobs, window], NEVER).sum() - (prices * free).sum())
    return bound, np.cumsum(use, axis=1)[:, :-1] - free
