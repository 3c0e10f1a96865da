"""The planner's snapshot of an observation, without forecasts and prices."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.fleet import Placement
from carbonfleet.hub.observe.job_state import JobState
from carbonfleet.hub.observe.observation import Observation
from carbonfleet.hub.observe.run_state import RunningJob, is_paused, reserved_until
from carbonfleet.placement.snapshot import Incumbent, QueuedJob, Reservation, Snapshot
from carbonfleet.signals import zones_without_spoke

STOP_SLACK: Final = timedelta(minutes=5)
"""A run that outlives its expected end is taken to need its GPUs for so much longer."""


def snapshot_of(observation: Observation, default_baseline_region: str) -> Snapshot:
    """What the planner needs, without the signals."""
    tip = observation.tip
    reports = {state.uid: state.report for state in observation.jobs if state.report is not None}
    fails = "what it asks of the planner can't be told"
    between = observation.each(fails, lambda state: _between(state, observation), observation.queued())
    replanned = [state for state in observation.jobs if state.uid in observation.replanned]
    under_way = observation.each(
        fails, lambda state: _under_way(state, observation, observation.replanned[state.uid]), replanned
    )
    jobs = tuple(job for _, job in (*between, *under_way))
    return Snapshot(
        jobs=jobs,
        spokes=observation.spokes,
        policies=tip.policies if tip else Snapshot().policies,
        reservations=(
            *_held(observation, tip.files.values() if tip else (), reports),
            *_kept_for_moves(observation, {job.uid for job in jobs}),
        ),
        default_baseline_region=default_baseline_region,
        region_zones=zones_without_spoke(
            (job.spec for job in jobs), (spoke.facts for spoke in observation.spokes), default_baseline_region
        ),
    )


def _kept_for_moves(observation: Observation, planned: Collection[str]) -> list[Reservation]:
    """While an attempt stops for a move that people agreed to, the place that it goes to is kept."""
    moves = [agreed.move for uid, agreed in observation.agreed.items() if uid not in planned]
    return _held(observation, [move for move in moves if move.uid not in observation.replanned], {})


def _held(
    observation: Observation, placements: Iterable[Placement], reports: Mapping[str, ReportSpec]
) -> list[Reservation]:
    """What placements hold; by its file alone where what is said of one can't be weighed."""
    found: list[Reservation] = []
    for placed in placements:
        with observation.only(placed.uid, "what it holds can't be told"):
            try:
                report = reports.get(placed.uid)
                held = None if _holds_nothing(placed, report) else _reservation(placed, report, observation.now)
            except Exception:
                found.append(_reservation(placed, None, observation.now))
                raise
            found += (held,) if held is not None else ()
    return found


def _queued(state: JobState, observation: Observation) -> QueuedJob:
    job = state.job
    if job is None or job.metadata.creation_timestamp is None:
        raise ValueError(f"{state.key}: only a valid job can be queued")
    return QueuedJob(
        uid=state.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        spec=job.spec,
        submitted_at=job.metadata.creation_timestamp,
        generation=job.metadata.generation,
        attempt=state.last_attempt + 1,
        remaining_fraction=_remaining(state),
        incumbent=_promised(state),
        excluded_clusters=observation.refusals.get(state.uid, frozenset()),
        moves_from=_left(state, observation),
    )


def _between(state: JobState, observation: Observation) -> QueuedJob:
    """A job that waits to be placed; where people agreed to its move, there and nowhere else."""
    queued, agreed = _queued(state, observation), observation.agreed.get(state.uid)
    if agreed is None:
        return queued
    incumbent = Incumbent(*agreed.place, agreed.move.start, agreed=agreed.place)
    return replace(queued, incumbent=incumbent, stays_because=f"People agreed to its move to {agreed.move.cluster}.")


def _left(state: JobState, observation: Observation) -> str:
    """The cluster that a job has left, or is to leave, for a move that people were asked about."""
    moves, placed = observation.tip.moves if observation.tip else {}, state.status.placement
    return placed.cluster if placed is not None and state.uid in moves and state.placement is None else ""


def _promised(state: JobState) -> Incumbent | None:
    """Where a waiting job was last told that it would run: it leaves that only for a real gain."""
    status = state.status
    chosen = status.candidates[0] if status.candidates else None
    is_told = status.phase is Phase.WAITING and status.observed_generation == state.body["metadata"].get("generation")
    if not is_told or state.report is not None or status.start is None or chosen is None or chosen.pool is None:
        return None
    return Incumbent(chosen.cluster, chosen.pool, status.start) if chosen.verdict == "Chosen" else None


def _under_way(state: JobState, observation: Observation, running: RunningJob) -> QueuedJob:
    """A job that runs or is paused, open to a better place and time."""
    placed = state.placement
    if placed is None:
        raise ValueError(f"{state.key}: what is under way stands in Git")
    incumbent = Incumbent(
        placed.cluster,
        placed.pool,
        placed.start,
        running=not running.paused,
        paused=running.paused,
        since=running.since,
        pauses_used=running.pauses_used,
        pause_is_due=running.pause_is_due,
        surprise=running.surprise,
        agreed=observation.agreed[state.uid].place if state.uid in observation.agreed else None,
    )
    return replace(_queued(state, observation), incumbent=incumbent, stays_because=observation.why_it_stays(state))


def _remaining(state: JobState) -> float:
    """What is left to do: a running attempt saves itself before it stops; any other goes on from its checkpoint."""
    report = state.report
    progress = report.progress if report is not None and report.progress else state.status.progress
    if report is None or progress is None or not progress.total_steps:
        return 1.0
    saved = report.checkpoint.step if report.checkpoint is not None else 0
    is_live = report.phase is AttemptPhase.RUNNING and report.progress is not None
    return max(0.0, 1 - (max(saved, progress.step) if is_live else saved) / progress.total_steps)


def _holds_nothing(placed: Placement, report: ReportSpec | None) -> bool:
    """Its GPUs are free: the attempt has ended, or has paused and is not wanted to go on yet."""
    has_ended = report is not None and report.attempt == placed.attempt and report.phase.is_terminal
    return has_ended or is_paused(placed, report)


def _reservation(placed: Placement, report: ReportSpec | None, now: datetime) -> Reservation:
    started = report.start_time if report is not None and report.attempt == placed.attempt else None
    return Reservation(
        job_uid=placed.uid,
        namespace=placed.namespace,
        cluster=placed.cluster,
        pool=placed.pool,
        gpus=placed.gpus,
        start=min(started or placed.start, now),
        end=max(reserved_until(placed, report), now + STOP_SLACK),
    )
