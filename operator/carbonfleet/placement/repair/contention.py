"""Jobs of one tier that compete for the same GPUs, as dense arrays over (job, rank, start)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from carbonfleet.placement.inputs import BoolArray, IntArray, runs
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.search import Choice, Windows, cost_ceiling, windows_of
from carbonfleet.placement.snapshot import FloatArray

ABOVE_THRESHOLD: Final = 5e5
"""Added to the score of a window above its job's threshold: more than any window's, less than having none in time."""
CONSIDERED: Final = 8
"""Options that are weighed for each job: those with the least scores, were they empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Contention:
    """What each job of a contention could take. Arrays of shape (jobs, considered) unless said otherwise."""

    score: FloatArray
    """USD, infinite where a window is not open; shape (jobs, considered, starts)."""
    option: IntArray
    capacity_row: IntArray
    gpus: IntArray
    span: IntArray
    """Slots that a window touches, shape (jobs, considered, starts)."""
    first: IntArray
    """The flat index of a window's first slot among (place, slot + 1), shape (jobs, considered * starts)."""
    end: IntArray
    """The same of the slot after its last."""
    slots: int

    @property
    def starts(self) -> int:
        """How many starts are weighed."""
        return int(self.score.shape[2])

    @property
    def size(self) -> IntArray:
        """GPU slots that each job takes on its first rank, shape (jobs,)."""
        size: IntArray = self.gpus[:, 0] * self.span[:, 0, -1]
        return size

    def part(self, jobs: IntArray) -> "Contention":
        """The contention of some of the jobs."""
        index = self.option[jobs], self.capacity_row[jobs], self.gpus[jobs], self.span[jobs]
        return Contention(self.score[jobs], *index, self.first[jobs], self.end[jobs], self.slots)

    def where(self, capacity: BoolArray) -> "Contention":
        """The contention with only the windows in which there is room, shape as `score`."""
        score = np.where(capacity, self.score, np.inf)
        return Contention(score, self.option, self.capacity_row, self.gpus, self.span, self.first, self.end, self.slots)

    def fits(self, free: IntArray) -> BoolArray:
        """Which windows fit into what is free; `free` has shape (places, slots)."""
        fits = np.zeros(self.score.shape, dtype=np.bool_)
        for gpus in np.unique(self.gpus).tolist():
            run = runs(free, gpus)[self.capacity_row][:, :, : self.starts]
            fits |= (self.gpus == gpus)[:, :, None] & (run >= self.span)
        return fits

    def split(self, window: int) -> tuple[int, int]:
        """Option and start of a flat window."""
        return divmod(window, self.starts)

    def take(self, free: IntArray, job: int, window: int, sign: int = 1) -> None:
        """Reserve a window, or give it back."""
        rank, start = self.split(window)
        end = start + self.span[job, rank, start]
        free[self.capacity_row[job, rank], start:end] -= sign * self.gpus[job, rank]


def contention_of(
    inputs: PlanInputs, jobs: Sequence[int], choices: Sequence[Choice | None], bounds: FloatArray
) -> Contention:
    """The contention of some jobs of a inputs. Each may stay on its own option, whatever its bound."""
    count = min(CONSIDERED, bounds.shape[1])
    ranked = bounds.copy()
    for row, choice in enumerate(choices):
        if choice is not None:
            ranked[row, choice.option] = -np.inf
    option = np.argsort(ranked, axis=1, kind="stable")[:, :count]
    rows = np.array(jobs)[:, None]
    score, span = [], []
    for row, (job, options) in enumerate(zip(jobs, option, strict=True)):
        scores, spans = _open_windows(inputs, job, choices[row])
        score.append(scores[options])
        span.append(spans[options])
    scores, spans = np.array(score), np.array(span)
    starts = int(np.flatnonzero(np.isfinite(scores).any(axis=(0, 1))).max(initial=0)) + 1
    scores, spans = np.ascontiguousarray(scores[:, :, :starts]), np.ascontiguousarray(spans[:, :, :starts])
    place = inputs.options.capacity_row[option]
    slots = min(inputs.line.slots, starts + int(spans.max(initial=0)))  # as far as its windows reach
    first = place[:, :, None] * (slots + 1) + np.arange(starts)
    shape = len(rows), -1
    return Contention(
        scores,
        option,
        place,
        inputs.demand.at(rows, option).gpus,
        spans,
        first.reshape(shape),
        (first + spans).reshape(shape),
        slots,
    )


def _open_windows(inputs: PlanInputs, job: int, choice: Choice | None) -> tuple[FloatArray, IntArray]:
    """Scores, infinite where a window is not open, and spans; both of shape (options, starts).

    A cost tolerance leaves what costs no more than it allows beside the cheapest window, free or not, or than the
    present choice does, which it allowed with what was free then.
    """
    if not inputs.limits[job].is_gated:
        windows = windows_of(inputs, job)
        return np.where(_tolerated(inputs, job, windows, choice), windows.scores, np.inf), windows.span
    gave_up = inputs.gives_up_threshold(job)
    inputs.demand.mind_carbon_alone(job, False)
    below = windows_of(inputs, job)
    inputs.demand.mind_carbon_alone(job, True)
    whatever = windows_of(inputs, job)
    inputs.demand.mind_carbon_alone(job, gave_up)
    above = np.where(_tolerated(inputs, job, whatever, choice), whatever.scores + ABOVE_THRESHOLD, np.inf)
    return np.where(_tolerated(inputs, job, below, choice), below.scores, above), below.span


def _tolerated(inputs: PlanInputs, job: int, windows: Windows, choice: Choice | None) -> BoolArray:
    """The open windows within the job's cost tolerance, shape (options, starts)."""
    usd = windows.figures.usd
    present = 0.0 if choice is None or choice.is_late else float(usd[choice.option, choice.start])
    tolerated: BoolArray = windows.open & (usd <= max(present, cost_ceiling(inputs, job, usd, windows.open)))
    return tolerated


def windows_taken(contention: Contention, choices: Sequence[Choice | None]) -> IntArray:
    """The present windows as flat numbers, shape (jobs,); -1 where a job is late or has none."""
    taken = np.full(len(choices), -1, dtype=np.int64)
    for row, choice in enumerate(choices):
        if choice is not None and not choice.is_late:
            rank = int(np.flatnonzero(contention.option[row] == choice.option)[0])
            taken[row] = rank * contention.starts + choice.start
    return taken
