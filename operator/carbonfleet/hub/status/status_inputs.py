"""Everything that one job's status is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from carbonfleet.api.job_status import DecisionRecord, Figures, RungStatus
from carbonfleet.api.report import AttemptPhase
from carbonfleet.fleet import Proposal, Published
from carbonfleet.fleet.manifests import MOVES
from carbonfleet.hub.observe import Blocker, JobState, LastSpoke, Observation, may_be_replanned, reserved_until


@dataclass(frozen=True, slots=True)
class StatusInputs:
    """Everything a status is made of."""

    state: JobState
    record: DecisionRecord | None = None
    """This cycle's decision, or the one that was written with the placement."""
    blocker: Blocker | None = None
    commit: str = ""
    """Of the placement, when it stands in Git."""
    actual: Figures | None = None
    """What the ledger says once an attempt has ended."""
    proposal: Proposal | None = None
    """Where the review of the placement, or of a move, stands when people must agree."""
    is_overdue: bool = False
    """It trains, and was expected to have ended by now."""
    last_spoke: LastSpoke = LastSpoke.HEARD
    """How the spoke stands that must report a stop."""
    why_it_stays: str = ""
    """Why it is not moved though it may be interrupted."""
    agreed: str = ""
    """The cluster to which people agreed that it moves."""
    refused_move: str = ""
    """Why it is not moved, as people refused it."""
    moves_held: str = ""
    """Why no job is moved: a file under `moves/` can't be read."""
    rungs: tuple[RungStatus, ...] = ()
    """How a job of a sweep stands at its rungs."""
    stops_early: bool = False
    """It is under way, and stopped at the last of them."""
    replanned: DecisionRecord | None = None
    """This cycle's decision on a job under way: to go on, pause, or move."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a cycle decided and did, each by job UID."""

    records: Mapping[str, DecisionRecord]
    """Of this cycle's decisions."""
    blockers: Mapping[str, Blocker]
    proposals: Mapping[str, Proposal]
    published: Published | None
    """None when nothing was to be written to Git, or could not be."""


def inputs_of(state: JobState, observation: Observation, results: Results) -> StatusInputs:
    """What is known of one job at the end of a cycle, whose `observation` has what was published."""
    uid, agreed = state.uid, observation.agreed.get(state.uid)
    decided = results.records.get(uid)
    inputs = StatusInputs(
        state=state,
        record=observation.records.get(uid) if state.placement else decided,
        blocker=results.blockers.get(uid),
        commit=_commit_of(state, results.published, observation),
        actual=observation.figures.get(uid),
        proposal=results.proposals.get(uid),
        last_spoke=observation.last_spoke(state),
        why_it_stays=observation.why_it_stays(state) if may_be_replanned(state) else "",
        agreed=agreed.move.cluster if agreed else "",
        refused_move=observation.refused_moves.get(uid, ""),
        moves_held=observation.tip.why_held(MOVES) if observation.tip and uid in observation.tip.moves else "",
        rungs=observation.rungs.get(uid) or state.status.rungs,
        stops_early=observation.stops_early(state),
        replanned=decided if uid in observation.replanned else None,
    )
    return replace(inputs, is_overdue=True) if _is_overdue(inputs, observation.now) else inputs


def _commit_of(state: JobState, published: Published | None, observation: Observation) -> str:
    """The commit that brought the placement; the present tip when it was found there after a restart."""
    placed = state.placement
    if placed is None or state.job is None:
        return ""
    known = state.job.status.placement
    if known is not None and known.placement_id == placed.placement_id and known.commit:
        return known.commit
    return published.commit if published else observation.tip.commit if observation.tip else ""


def _is_overdue(inputs: StatusInputs, now: datetime) -> bool:
    """The job trains and was expected to have ended by now."""
    report, end = inputs.state.current_report, expected_end(inputs)
    runs = report is not None and report.phase is AttemptPhase.RUNNING
    return runs and end is not None and end < now


def expected_end(inputs: StatusInputs) -> datetime | None:
    """When the run in Git was expected to end, from when it really began."""
    record, report = inputs.record, inputs.state.current_report
    if record is None or record.start is None or record.end is None:
        return None
    began = report.start_time if report is not None and report.start_time else record.start
    if inputs.state.placement is None or record.segments:
        return began + (record.end - record.start)
    return reserved_until(inputs.state.placement, report)
