"""What is chosen for a job, and taking it out of what is free."""

from collections.abc import Iterator
from dataclasses import dataclass

from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.inputs import CapacityRuns, Segments
from carbonfleet.placement.plan_inputs import PlanInputs


@dataclass(frozen=True, slots=True)
class Choice:
    """An option and a start for a job."""

    option: int
    start: int
    score: float
    is_late: bool = False
    """Nothing was free before the latest start."""
    segments: Segments = ()
    """In minutes, for a run that is cut; left empty, the run is in one piece."""
    running: Outcome | None = None
    """What becomes of a job that runs: KEEP, PAUSE or MOVE."""
    instead: tuple[int, int] | None = None
    """The better option and start that it does without: it stays where it was planned, since the gain is too small."""

    @property
    def kept(self) -> bool:
        """Whether it stays where it was planned for the sake of that."""
        return self.instead is not None


def segments_of(inputs: PlanInputs, job: int, choice: Choice) -> Segments:
    """The minutes in which a choice runs."""
    if choice.segments:
        return choice.segments
    begin = inputs.line.begin(choice.start)
    return ((begin, begin + int(inputs.demand.of(job).minutes[choice.option])),)


def slots_of(inputs: PlanInputs, job: int, choice: Choice) -> Iterator[tuple[int, int]]:
    """The slots that a choice touches, half-open."""
    line = inputs.line
    for begin, end in segments_of(inputs, job, choice):
        # What begins now ends by the full minute after.
        late = line.next_minute - line.now_minute if begin == line.now_minute else 0
        yield begin // line.slot_minutes, min(-(-(end + late) // line.slot_minutes), line.slots)


def quota_rows(inputs: PlanInputs, job: int) -> list[int]:
    """The rows of capacity that stand for quotas on the job."""
    rows = (inputs.remaining_budgets[index].quota_row for index in inputs.budget_rows(job))
    return [row for row in rows if row is not None]


def rows_of(inputs: PlanInputs, job: int, option: int) -> list[int]:
    """The rows of capacity that a job uses on an option."""
    return [int(inputs.options.capacity_row[option]), *quota_rows(inputs, job)]


def take(inputs: PlanInputs, job: int, choice: Choice, capacity: CapacityRuns, sign: int = 1) -> None:
    """Reserve a choice's GPUs; sign -1 gives them back."""
    gpus = sign * int(inputs.demand.of(job).gpus[choice.option])
    for first, end in slots_of(inputs, job, choice):
        for row in rows_of(inputs, job, choice.option):
            capacity.take(row, gpus, first, end)


def spend(inputs: PlanInputs, job: int, choice: Choice, grams: float, sign: int = 1) -> None:
    """Draw a choice's carbon and GPU hours on the monthly budgets of its policies; sign -1 gives them back."""
    minutes = sum(end - begin for begin, end in segments_of(inputs, job, choice))
    for index in inputs.budget_rows(job):
        remaining_budget = inputs.remaining_budgets[index]
        remaining_budget.carbon_kg -= sign * grams / 1000
        remaining_budget.gpu_hours -= sign * int(inputs.demand.of(job).gpus[choice.option]) * minutes / 60
