"""What a job waits for, and whose turn it is."""

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from carbonfleet.api.job_status import Phase
from carbonfleet.cli.about.status_schema import WaitsFor

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob


class Wait(NamedTuple):
    """What a job waits for, and until when, as planned now."""

    what: WaitsFor
    until: datetime | None = None


_BY_REASON: Final = {
    "WaitingForCleanWindow": WaitsFor.CLEAN_HOURS,
    "PausedForCleanWindow": WaitsFor.CLEAN_HOURS,
    "WaitingForCapacity": WaitsFor.FREE_GPUS,
    "WaitingForEarliestStart": WaitsFor.EARLIEST_START,
    "SignalLost": WaitsFor.GRID_DATA,
}
_BY_PHASE: Final = {
    Phase.PENDING: WaitsFor.HUB,
    Phase.PROPOSED: WaitsFor.PEOPLE,
    Phase.BLOCKED: WaitsFor.PEOPLE,
    Phase.REJECTED: WaitsFor.PEOPLE,
    Phase.MOVING: WaitsFor.SPOKE,
}


def waits_for(job: "CarbonTrainingJob", now: datetime) -> Wait | None:
    """What it waits for; None for a job that runs or has ended."""
    status = job.status
    reasons = {condition.type: condition.reason for condition in status.conditions if condition.status != "True"}
    if status.phase.is_terminal:
        return None
    if reasons.get("Approved") == "AwaitingReview" or "MoveProposed" in (c.reason for c in status.conditions):
        return Wait(WaitsFor.PEOPLE)
    if status.phase in (Phase.WAITING, Phase.PAUSED):
        what = _BY_REASON.get(reasons.get("Scheduled", ""), _BY_REASON.get(reasons.get("Running", ""), WaitsFor.HUB))
        return Wait(what, status.start)
    if status.phase is Phase.COMMITTED:
        is_planned = status.start is not None and status.start > now
        return Wait(WaitsFor.CLEAN_HOURS, status.start) if is_planned else Wait(WaitsFor.SPOKE)
    turn = _BY_PHASE.get(status.phase)
    return Wait(turn) if turn is not None else None
