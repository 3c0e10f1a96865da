"""What limits leave of a job's windows: each limit a value with a mask and its words, and a line in `LIMITS`.

To add one: a class here and its line in `LIMITS`, its field in `api/job.py` (then `make crds`), what it says of a spoke
in `OUT` and `WAYS_OUT` of `explain/without_window.py`, and a row in `crds/HOLDS.md`. All searches, repair, pieces and
explanations ask here. A rule on place and hour together is a limit too: its mask has a row for each option. What runs
and goes on without a pause does not ask (`going_on` of `running_jobs.py`), nor do the rules for when the grid is not
known (`_without_signal` of `windows.py`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

import numpy as np

from carbonfleet.api.policy import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import Window
from carbonfleet.placement.inputs import RESOLUTION, BoolArray, IntArray
from carbonfleet.placement.plan_inputs import PlanInputs
from carbonfleet.placement.rules import Refusal
from carbonfleet.placement.snapshot import FloatArray


@dataclass(frozen=True, eq=False)
class WindowFigures:
    """What limits judge the windows of one job on some options by. Arrays of shape (options, starts)."""

    inputs: PlanInputs
    job: int
    options: IntArray
    minutes: IntArray
    """How long a window is, as far as it is weighed; shape (options,)."""

    @classmethod
    def of(cls, inputs: PlanInputs, job: int, options: IntArray) -> "WindowFigures":
        """Of all starts on some options."""
        line = inputs.line
        longest = line.minutes - (line.starts - 1) * line.slot_minutes
        return cls(inputs, job, options, np.minimum(inputs.demand.of(job).minutes[options], longest))

    @cached_property
    def usd_from_slots(self) -> FloatArray:
        """What windows cost from the begin of each slot, by the hour where prices depend on it."""
        inputs, options = self.inputs, self.options
        terms, prices = inputs.demand.of(self.job), inputs.prices
        usd = np.broadcast_to(terms.usd[options, None], (options.size, inputs.line.starts))
        if prices.any:
            dear = prices.over(options, self.minutes) * terms.gpus[options, None]
            usd = np.where(prices.has_hours[options, None], usd - self._flat_usd[:, None] + dear, usd)
        return usd

    @cached_property
    def usd(self) -> FloatArray:
        """The same, but a start now in its true minutes."""
        inputs, options = self.inputs, self.options
        if not inputs.prices.any:
            return self.usd_from_slots
        terms = inputs.demand.of(self.job)
        per_gpu = inputs.prices.between(options, inputs.line.now_minute, self.end_at_once)
        dear = terms.usd[options] - self._flat_usd + per_gpu * terms.gpus[options]
        usd = self.usd_from_slots.copy()
        usd[:, 0] = np.where(inputs.prices.has_hours[options], dear, terms.usd[options])
        return usd

    @cached_property
    def _flat_usd(self) -> FloatArray:
        """The part of the cost that hourly prices stand in for."""
        terms, options = self.inputs.demand.of(self.job), self.options
        per_hour = self.inputs.options.usd_per_gpu_hour[options]
        usd: FloatArray = terms.gpus[options] * (terms.minutes[options] / 60.0) * per_hour
        return usd

    @cached_property
    def end_at_once(self) -> IntArray:
        """The minute of the timeline in which a run ends that begins now, shape (options,)."""
        line = self.inputs.line
        return np.minimum(line.now_minute + self.minutes, line.minutes)

    @cached_property
    def ends(self) -> IntArray:
        """The minute of the timeline in which a window ends."""
        line = self.inputs.line
        ends = line.start_minutes[None, :] + self.inputs.demand.of(self.job).minutes[self.options, None]
        ends[:, 0] += line.next_minute - line.now_minute
        return ends

    @cached_property
    def _totals(self) -> FloatArray:
        grid = self.inputs.carbon[self.inputs.jobs[self.job].spec.signal]
        zone, now = self.inputs.options.zone[self.options], self.inputs.line.now_minute
        totals = grid.windows.over(zone, self.minutes)
        totals[:, 0] = grid.total[zone, self.end_at_once] - grid.total[zone, now]
        return totals

    @cached_property
    def grams(self) -> FloatArray:
        """What a run emits."""
        terms = self.inputs.demand.of(self.job)
        grams: FloatArray = self._totals * (terms.operational + terms.transfer)[self.options, None]
        grams += (terms.transfer_fixed + terms.embodied)[self.options, None]
        return grams

    @cached_property
    def grams_per_kwh(self) -> FloatArray:
        """The mean over a window."""
        return self._totals * (RESOLUTION / self.minutes[:, None])


EVERY: Final = np.ones((1, 1), dtype=np.bool_)
"""The mask of a limit that leaves every window."""


class Limit(ABC):
    """A hard limit of jobs on their windows. `job` is a row of the inputs."""

    reason: ClassVar[str] = ""
    """Of its refusals, and of a job that it alone keeps from all spokes."""

    def is_hourly(self, inputs: PlanInputs, job: int) -> bool:
        """Whether it may leave some starts between the first and the last and not others, so that all are weighed."""
        return False

    @abstractmethod
    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """The windows that it leaves; shape (options, starts), or one that broadcasts to it."""

    def slots(self, inputs: PlanInputs, job: int, slots: IntArray) -> BoolArray:
        """The slots in which a piece of an interruptible job may run; shape (options, slots), or broadcasts to it."""
        return np.ones((1, slots.size), dtype=np.bool_)

    def allows(self, inputs: PlanInputs, job: int, window: Window) -> bool:
        """Whether a run in pieces, whose slots it left, is within the limit as a whole."""
        return True

    def why(self, inputs: PlanInputs, job: int, figures: WindowFigures, row: int, left: BoolArray) -> Refusal | None:
        """Why it leaves nothing on the option of a row, of what the limits before it leave, `left` of shape (starts,).

        None where it leaves something.
        """
        return None


class EarliestStart(Limit):
    """No window begins before the job's earliest start."""

    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """Starts from the earliest on."""
        return (np.arange(inputs.line.starts) >= inputs.earliest_start(job))[None, :]

    def slots(self, inputs: PlanInputs, job: int, slots: IntArray) -> BoolArray:
        """Slots from the earliest start on."""
        return (slots >= inputs.earliest_start(job))[None, :]


class Deadline(Limit):
    """A run has ended by the job's deadline; pieces are kept within it by `end_slots` of `interruptible/cuts.py`."""

    reason = "DeadlineUnreachable"

    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """Windows that end in time."""
        if inputs.limits[job].deadline is None:
            return EVERY
        return np.asarray(figures.ends <= inputs.deadline_minute(job))

    def why(self, inputs: PlanInputs, job: int, figures: WindowFigures, row: int, left: BoolArray) -> Refusal | None:
        """When a run would end at the earliest."""
        minutes, deadline = int(inputs.demand.of(job).minutes[figures.options[row]]), inputs.limits[job].deadline
        earliest = int(inputs.line.start_minutes[min(inputs.earliest_start(job), inputs.line.starts - 1)])
        if deadline is None or earliest + minutes <= inputs.deadline_minute(job):
            return None
        end = inputs.line.moment(earliest + minutes)
        return Refusal(
            self.reason,
            f"A run here takes {phrase.hours(minutes)} with start-up and would end {phrase.time(end)} at the "
            f"earliest, after the deadline {phrase.time(deadline)}.",
        )


class CostLimit(Limit):
    """A run costs no more than the job's `objective.maxCostUsd`."""

    reason = "CostLimit"

    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """Windows that cost no more."""
        if inputs.jobs[job].spec.objective.max_cost_usd is None:
            return EVERY
        return np.asarray(figures.usd <= self._most(inputs, job))

    def allows(self, inputs: PlanInputs, job: int, window: Window) -> bool:
        """Whether all pieces together cost no more."""
        return window.cost_usd <= self._most(inputs, job)

    def why(self, inputs: PlanInputs, job: int, figures: WindowFigures, row: int, left: BoolArray) -> Refusal | None:
        """What it costs at least."""
        least, most = least_of(figures.usd[row], left), self._most(inputs, job)
        if least <= most:
            return None
        among = _among_left(float(figures.usd[row].min()) <= most)
        message = f"It would cost {least:,.2f} USD at least{among}; the job's limit is {most:,.2f} USD."
        return Refusal(self.reason, message, least)

    def _most(self, inputs: PlanInputs, job: int) -> float:
        most = inputs.jobs[job].spec.objective.max_cost_usd
        return float("inf") if most is None else most


class CarbonBudget(Limit):
    """A run emits no more than the job's `objective.carbonBudgetKg`, which depends on the hour."""

    reason = "CarbonBudget"

    def is_hourly(self, inputs: PlanInputs, job: int) -> bool:
        """Where there is a budget."""
        return inputs.jobs[job].spec.objective.carbon_budget_kg is not None

    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """Windows that emit no more."""
        if not self.is_hourly(inputs, job):
            return EVERY
        return np.asarray(figures.grams <= self._most_kg(inputs, job) * 1000)

    def allows(self, inputs: PlanInputs, job: int, window: Window) -> bool:
        """Whether all pieces together emit no more."""
        return window.grams_co2e <= self._most_kg(inputs, job) * 1000

    def why(self, inputs: PlanInputs, job: int, figures: WindowFigures, row: int, left: BoolArray) -> Refusal | None:
        """What it emits at least."""
        if not self.is_hourly(inputs, job):
            return None
        least, most = least_of(figures.grams[row], left), self._most_kg(inputs, job)
        if least <= most * 1000:
            return None
        among = _among_left(float(figures.grams[row].min()) <= most * 1000)
        message = f"It would emit {phrase.grams(least)} at least{among}; the job's budget is {most:g} kgCO2e."
        return Refusal(self.reason, message, least)

    def _most_kg(self, inputs: PlanInputs, job: int) -> float:
        most = inputs.jobs[job].spec.objective.carbon_budget_kg
        return float("inf") if most is None else most


def least_of(figures: FloatArray, left: BoolArray) -> float:
    """The least of the windows that are left, shape (starts,); of all where none is."""
    return float(figures[left].min() if left.any() else figures.min())


def _among_left(is_met_elsewhere: bool) -> str:
    return " when it starts and ends in time" if is_met_elsewhere else ""


class MaximumIntensity(Limit):
    """A run is at or below the job's threshold in the mean, until the job gives that up for want of such a window.

    What it leaves out stays open to a job that gives it up, so that windows keep the two apart.
    """

    def is_hourly(self, inputs: PlanInputs, job: int) -> bool:
        """Where there is a threshold."""
        return inputs.limits[job].is_gated

    def mask(self, inputs: PlanInputs, job: int, figures: WindowFigures) -> BoolArray:
        """Windows whose mean is no higher."""
        if not self._holds(inputs, job):
            return EVERY
        return np.asarray(figures.grams_per_kwh <= gate_of(inputs, job)[figures.options, None])

    def slots(self, inputs: PlanInputs, job: int, slots: IntArray) -> BoolArray:
        """Slots that are no higher, so that no piece is."""
        if not self._holds(inputs, job):
            return super().slots(inputs, job, slots)
        edges = slots * inputs.line.slot_minutes
        total = inputs.carbon[inputs.jobs[job].spec.signal].total
        mean = (total[:, edges + inputs.line.slot_minutes] - total[:, edges]) * RESOLUTION / inputs.line.slot_minutes
        return np.asarray(mean[inputs.options.zone] <= gate_of(inputs, job)[:, None])

    def _holds(self, inputs: PlanInputs, job: int) -> bool:
        limits = inputs.limits[job]
        return limits.is_gated and not inputs.gives_up_threshold(job) and not inputs.is_signal_lost(job)


def gate_of(inputs: PlanInputs, job: int) -> FloatArray:
    """A job's threshold on each option, in g/kWh: its own figure, or a percentile of the zone's history."""
    limits, signal = inputs.limits[job], inputs.jobs[job].spec.signal
    gate = np.full(len(inputs.options), np.inf)
    if limits.gate_grams_per_kwh is not None:
        gate[:] = limits.gate_grams_per_kwh
    if limits.gate_percentile is not None:
        gate = np.minimum(gate, inputs.percentiles[signal, limits.gate_percentile])
    return gate


THRESHOLD: Final = MaximumIntensity()
LIMITS: Final[tuple[Limit, ...]] = (EarliestStart(), Deadline(), CostLimit(), CarbonBudget(), THRESHOLD)
"""In the order in which they are named to people."""


def plain_jobs(inputs: PlanInputs) -> BoolArray:
    """Shape (jobs,): those that mind carbon, by which alone the hour changes their windows: `fast_windows.py` can
    weigh them.
    """
    plain: BoolArray = ~inputs.lost
    plain &= ~(inputs.admitted & inputs.prices.has_hours).any(axis=1)
    hourly = [limit for limit in LIMITS if type(limit).is_hourly is not Limit.is_hourly]
    remaining_budgets = {key for key, rows in inputs.budgets_of.items() if rows}
    for row, job in enumerate(inputs.jobs):
        spec = job.spec
        if (
            any(limit.is_hourly(inputs, row) for limit in hourly)
            or spec.objective.cost_tolerance_percent is not None
            or inputs.demand.goal(row) is Goal.COST
            or spec.schedule.interruptible is not None
            or (job.incumbent is not None and job.incumbent.is_under_way)
            or (remaining_budgets and (spec.residency.data_class, job.namespace) in remaining_budgets)
        ):
            plain[row] = False
    return plain
