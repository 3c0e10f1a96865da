"""What is chosen for a job, and taking it out of what is free."""

from collections.abc import Iterator
from dataclasses import dataclass

from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.grid import Segments
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room


@dataclass(frozen=True, slots=True)
class Choice:
    """A lane and a start for a job."""

    lane: int
    start: int
    score: float
    is_late: bool = False
    """Nothing was free before the latest start."""
    segments: Segments = ()
    """In minutes, for a run that is cut; left empty, the run is in one piece."""
    running: Outcome | None = None
    """What becomes of a job that runs: KEEP, PAUSE or MOVE."""
    instead: tuple[int, int] | None = None
    """The better lane and start that it does without: it stays where it was planned, since the gain is too small."""

    @property
    def kept(self) -> bool:
        """Whether it stays where it was planned for the sake of that."""
        return self.instead is not None


def segments_of(problem: Problem, job: int, choice: Choice) -> Segments:
    """The minutes in which a choice runs."""
    if choice.segments:
        return choice.segments
    begin = problem.line.begin(choice.start)
    return ((begin, begin + int(problem.demand.of(job).minutes[choice.lane])),)


def slots_of(problem: Problem, job: int, choice: Choice) -> Iterator[tuple[int, int]]:
    """The slots that a choice touches, half-open."""
    line = problem.line
    for begin, end in segments_of(problem, job, choice):
        # What begins now ends by the full minute after.
        late = line.next_minute - line.now_minute if begin == line.now_minute else 0
        yield begin // line.slot_minutes, min(-(-(end + late) // line.slot_minutes), line.slots)


def quota_rows(problem: Problem, job: int) -> list[int]:
    """The rows of capacity that stand for quotas on the job."""
    rows = (problem.purses[index].quota_row for index in problem.purse_rows(job))
    return [row for row in rows if row is not None]


def rows_of(problem: Problem, job: int, lane: int) -> list[int]:
    """The rows of capacity that a job uses on a lane."""
    return [int(problem.lanes.place[lane]), *quota_rows(problem, job)]


def take(problem: Problem, job: int, choice: Choice, room: Room, sign: int = 1) -> None:
    """Reserve a choice's GPUs; sign -1 gives them back."""
    gpus = sign * int(problem.demand.of(job).gpus[choice.lane])
    for first, end in slots_of(problem, job, choice):
        for row in rows_of(problem, job, choice.lane):
            room.take(row, gpus, first, end)


def spend(problem: Problem, job: int, choice: Choice, grams: float, sign: int = 1) -> None:
    """Draw a choice's carbon and GPU hours on the monthly budgets of its policies; sign -1 gives them back."""
    minutes = sum(end - begin for begin, end in segments_of(problem, job, choice))
    for index in problem.purse_rows(job):
        purse = problem.purses[index]
        purse.carbon_kg -= sign * grams / 1000
        purse.gpu_hours -= sign * int(problem.demand.of(job).gpus[choice.lane]) * minutes / 60
