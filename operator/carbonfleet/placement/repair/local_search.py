"""Better a contended plan: price the capacity, rebuild the plan by price, then part of it again and again.

What each step buys is measured in `benchmarks/capacity_bound.py`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import IntArray, runs
from carbonfleet.placement.repair.contention import Contention
from carbonfleet.placement.repair.lagrangian import CapacityPrices, dual_ascent, reduced
from carbonfleet.placement.search import Int32Array
from carbonfleet.placement.snapshot import FloatArray

STEPS: Final = 300
"""Of dual ascent at first: within 0.1 % of the linear relaxation on contentions of 50 to 400 jobs."""
STEPS_AGAIN: Final = 15
"""Of dual ascent for a part of the plan, from the prices of the whole."""
ROUNDS_PER_JOB: Final = 2
"""More rounds find next to nothing."""
TOGETHER: Final = 18
"""Jobs that are taken out and put back together."""
BEAM: Final = 12
"""Partial plans that are kept side by side while jobs are put back."""
BRANCHES: Final = 4
"""Windows that are tried for each job and partial plan."""
CLOSE: Final = 1.003
"""A plan this close to the bound is good enough."""
MISSED: Final = 1e6
"""Score of a job without a window in time: more than any window's."""


@dataclass(slots=True, eq=False)
class Board:
    """A plan of a contention that is being bettered."""

    contention: Contention
    free: IntArray
    """What is left beside the plan, shape (places, slots)."""
    window: IntArray
    """The flat window of each job, -1 for none; shape (jobs,)."""

    def score(self, jobs: IntArray | slice = slice(None)) -> float:
        """Of some jobs, in USD."""
        rows = np.arange(self.window.size)[jobs]
        scores = self.contention.score.reshape(self.window.size, -1)[rows, self.window[rows]]
        return float(np.where(self.window[rows] < 0, MISSED, scores).sum())

    def clear(self, jobs: IntArray) -> None:
        """Take jobs out."""
        for job in jobs.tolist():
            if self.window[job] >= 0:
                self.contention.take(self.free, job, int(self.window[job]), sign=-1)

    def put(self, jobs: IntArray, windows: IntArray) -> None:
        """Put jobs into windows."""
        self.window[jobs] = windows
        for job in jobs.tolist():
            if self.window[job] >= 0:
                self.contention.take(self.free, job, int(self.window[job]))


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done to better a plan."""

    steps: int
    """Of dual ascent for the prices."""
    rounds: int
    """In which a part of the plan is rebuilt."""


def effort_for(contention: Contention, work: int) -> Effort:
    """What so much work allows, in cells: a third for the prices, the rest for rounds."""
    count, considered, starts = contention.score.shape
    cells = min(TOGETHER, count) * considered * (BEAM * contention.slots + STEPS_AGAIN * starts)
    rounds = min(ROUNDS_PER_JOB * count, work * 2 // 3 // max(1, cells))
    return Effort(min(STEPS, work // 3 // max(1, contention.score.size)), rounds)


def local_search(contention: Contention, free: IntArray, window: IntArray, effort: Effort) -> tuple[IntArray, float]:
    """Windows of the same jobs with a score that is no worse, and a lower bound of any such score.

    `free` is what the jobs may use beside the windows that they have now, for as many slots as the contention has:
    that other jobs look farther ahead must not change what is found.
    """
    board = Board(contention, free.copy(), window.copy())
    whole = free.copy()
    for job in np.flatnonzero(window >= 0).tolist():
        contention.take(whole, job, int(window[job]), sign=-1)
    target = board.score() if (window >= 0).all() else _ideal(contention) * 1.5
    prices = dual_ascent(contention, whole, target, effort.steps)
    if board.score() > prices.bound * CLOSE:
        _rebuild_all(board, whole, prices)
        _rebuild_parts(board, prices, effort.rounds)
    return board.window, prices.bound


def _ideal(contention: Contention) -> float:
    return float(contention.score.reshape(contention.score.shape[0], -1).min(axis=1).sum())


def _rebuild_all(board: Board, whole: IntArray, prices: CapacityPrices) -> None:
    """Put all jobs anew, the largest first, few at a time, with prices found again for those that are left."""
    contention = board.contention
    order = np.argsort(-contention.size, kind="stable")
    fresh = Board(contention, whole.copy(), np.full(order.size, -1, dtype=np.int64))
    usd = prices.usd
    few = max(8, order.size // 40)
    for begin in range(0, order.size, few):
        left = order[begin:]
        rest = contention.part(left)
        rest = rest.where(rest.fits(fresh.free))
        target = max(1e-9, 1.02 * (prices.bound - fresh.score(order[:begin])))
        usd = dual_ascent(rest, fresh.free, target, STEPS_AGAIN, usd, 0.6).usd
        windows = _beam(rest, reduced(rest, usd), fresh.free, min(few, left.size))
        if windows is None:
            return
        fresh.put(left[:few], windows)
    if fresh.score() < board.score():
        board.free, board.window = fresh.free, fresh.window


def _rebuild_parts(board: Board, prices: CapacityPrices, rounds: int) -> None:
    """Take out jobs that are near each other, put them back in a better way, and so on."""
    contention, random = board.contention, np.random.default_rng(0)
    priced = reduced(contention, prices.usd).reshape(board.window.size, -1)
    least = priced.min(axis=1)
    score = board.score()
    for _ in range(rounds):
        if score <= prices.bound * CLOSE:
            return
        jobs = _neighbours(board, prices, priced, least, random)
        score -= _again(board, prices, jobs, random)


def _again(board: Board, prices: CapacityPrices, jobs: IntArray, random: np.random.Generator) -> float:
    """Put some jobs back in another way if that is better; what it gained."""
    before, old = board.score(jobs), board.window[jobs]
    board.clear(jobs)
    order = np.argsort(-board.contention.size[jobs] * random.uniform(0.7, 1.4, jobs.size))
    part = board.contention.part(jobs[order])
    part = part.where(part.fits(board.free))
    found = dual_ascent(part, board.free, before, STEPS_AGAIN, prices.usd, 0.5)
    windows = None
    if found.bound < before:
        windows = _beam(part, reduced(part, found.usd), board.free, jobs.size)
    if windows is not None:
        after = float(part.score.reshape(jobs.size, -1)[np.arange(jobs.size), windows].sum())
        if after < before:
            board.put(jobs[order], windows)
            return before - after
    board.put(jobs, old)
    return 0.0


def _neighbours(
    board: Board, prices: CapacityPrices, priced: FloatArray, least: FloatArray, random: np.random.Generator
) -> IntArray:
    """Jobs around a slot that is dear and empty, or around a job that pays more than it need."""
    contention, count = board.contention, board.window.size
    rows = np.arange(count)
    window = np.maximum(board.window, 0)
    rank, start = np.divmod(window, contention.starts)
    end = start + contention.span[rows, rank, start]
    place = contention.capacity_row[rows, rank]
    excess = np.where(board.window < 0, MISSED, np.maximum(0, priced[rows, window] - least))
    if random.random() < 0.6:
        weight = (prices.usd * board.free).ravel()
        at, slot = divmod(_draw(weight, random), contention.slots)
    else:
        job = _draw(excess, random)
        at, slot = int(place[job]), int(start[job])
    distance = np.maximum(0, np.maximum(start - slot, slot - end + 1)).astype(float)
    distance += np.where(place == at, 0, random.choice([2, 6, 1000]))
    distance -= np.where(excess > np.median(excess), 6 * random.random(count), 0)
    distance += 3 * random.random(count)
    distance[board.window < 0] = -1000
    return np.argsort(distance, kind="stable")[: min(TOGETHER, count)]


def _draw(weight: FloatArray, random: np.random.Generator) -> int:
    """An index with a chance in proportion to its weight."""
    total = np.cumsum(weight + weight.max(initial=0) * 1e-9 + 1e-300)
    return int(min(np.searchsorted(total, random.random() * total[-1]), weight.size - 1))


def _beam(contention: Contention, priced: FloatArray, free: IntArray, count: int) -> IntArray | None:
    """Windows for the first `count` jobs, one after the other, with the best partial plans kept side by side.

    Partial plans are ranked by priced score; of the finished ones the one with the least is taken. None
    where some job finds no window.
    """
    frees: Int32Array = free[None].astype(np.int32)
    score = np.zeros(1)
    chosen: IntArray = np.zeros((1, 0), dtype=np.int64)
    slot = np.arange(contention.slots)
    for job in range(count):
        capacity = runs(frees[:, contention.capacity_row[job]], contention.gpus[job][:, None])[
            :, :, : contention.starts
        ]
        values = np.where(capacity >= contention.span[job], priced[job], np.inf).reshape(len(frees), -1)
        branches = min(BRANCHES, values.shape[1])
        top = np.argpartition(values, branches - 1, axis=1)[:, :branches]
        total = (np.take_along_axis(values, top, axis=1) + score[:, None]).ravel()
        best = np.argsort(total, kind="stable")[:BEAM]
        best = best[np.isfinite(total[best])]
        if not best.size:
            return None
        parent, window = best // branches, top.ravel()[best]
        frees, score = frees[parent], total[best]
        chosen = np.concatenate([chosen[parent], window[:, None]], axis=1)
        rank, start = np.divmod(window, contention.starts)
        within = (slot >= start[:, None]) & (slot < (start + contention.span[job, rank, start])[:, None])
        taken = within * contention.gpus[job, rank][:, None]
        frees[np.arange(best.size), contention.capacity_row[job, rank]] -= taken.astype(np.int32)
        frees, score, chosen = _distinct(frees, score, chosen)
    first: IntArray = chosen[0]
    return first


def _distinct(frees: Int32Array, score: FloatArray, chosen: IntArray) -> tuple[Int32Array, FloatArray, IntArray]:
    """Of partial plans that leave the same free, the best one; they come sorted by score."""
    first: dict[bytes, int] = {}
    for row, left in enumerate(frees):
        first.setdefault(left.tobytes(), row)
    rows = list(first.values())
    return frees[rows], score[rows], chosen[rows]
