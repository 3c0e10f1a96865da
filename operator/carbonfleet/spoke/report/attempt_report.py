"""The report of an attempt, made from what is seen of it; and whether it is worth a write."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from carbonfleet.api.report import AttemptPhase, JobRef, Progress, ReportSpec, Stint, stints_of
from carbonfleet.spoke.attempt_state import AttemptState, AttemptStatus
from carbonfleet.spoke.runtimes import Findings, joined

_STAMPS: Final = frozenset({"boot_id", "sequence", "observed_at", "observed_commit"})
"""What differs in each report without being news."""
MOST_STINTS: Final = 128
_PROGRESS: Final = frozenset({"progress", "checkpoint", "energy", "log", "message"})
"""What may wait a few seconds."""


@dataclass(frozen=True, slots=True)
class Context:
    """What all reports of one moment share."""

    spoke: str
    now: datetime
    commit: str


def report_of(state: AttemptState, status: AttemptStatus, found: Findings, context: Context) -> ReportSpec:
    """The report; `boot_id` and `sequence` are set when it is written.

    A report that was terminal stays as it is; start, progress and checkpoint are never taken back.
    """
    known = state.known
    if known is not None and known.is_over:
        return known.report
    last = known.report if known else None
    started = _started(state, last, status)
    ended = _ended(state, status, started, context.now)
    return ReportSpec(
        **_identity(state),
        spoke=context.spoke,
        phase=status.phase,
        reason=status.reason,
        message=(status.message or found.warning)[:1024],
        observed_commit=context.commit,
        start_time=started,
        end_time=ended,
        stints=_stints(state, status, last, started, ended or context.now),
        progress=_progress(found.progress, last.progress if last else None),
        checkpoint=found.checkpoint or (last.checkpoint if last else None),
        log=found.log or (last.log if last else None),
        energy=joined(last.energy if last else None, found.energy),
        observed_at=context.now,
    )


def with_status(report: ReportSpec, status: AttemptStatus, now: datetime) -> ReportSpec:
    """The same report with another phase."""
    says = {"phase": status.phase, "reason": status.reason, "message": status.message[:1024]}
    return report.model_copy(update={**says, "observed_at": now})


def is_news(report: ReportSpec, written: ReportSpec | None) -> bool:
    """Whether the hub does not know this yet."""
    return written is None or _without(report, _STAMPS) != _without(written, _STAMPS)


def is_urgent(report: ReportSpec, written: ReportSpec | None) -> bool:
    """Whether more than progress is new."""
    quiet = _STAMPS | _PROGRESS
    return written is None or _without(report, quiet) != _without(written, quiet)


def _progress(found: Progress | None, last: Progress | None) -> Progress | None:
    """What is seen now, with its validations as of when each was seen first."""
    if found is None or last is None:
        return found or last
    known = {(each.step, each.loss): each for each in last.validations}
    validations = tuple(known.get((each.step, each.loss), each) for each in found.validations)
    return found.model_copy(update={"validations": validations})


def _identity(state: AttemptState) -> dict[str, Any]:
    if state.wanted is not None:
        placement = state.wanted.placement
        return {
            "job": JobRef(namespace=placement.namespace, name=placement.name, uid=placement.uid),
            "placement_id": placement.placement_id,
            "attempt": placement.attempt,
            "pool": placement.pool,
            "gpus": placement.gpus,
        }
    source = state.run or (state.known.report if state.known else None)
    return {name: getattr(source, name) for name in ("job", "placement_id", "attempt", "pool", "gpus")}


def _started(state: AttemptState, last: ReportSpec | None, status: AttemptStatus) -> datetime | None:
    if last is not None and last.start_time is not None:
        return last.start_time
    if status.phase is AttemptPhase.PENDING or state.run is None:
        return None
    return state.run.started_at


def _ended(state: AttemptState, status: AttemptStatus, started: datetime | None, now: datetime) -> datetime | None:
    """When a terminal attempt ended; never before it began, whatever two clocks say."""
    if not status.phase.is_terminal:
        return None
    ended = state.run.ended_at if state.run is not None and state.run.ended_at is not None else now
    return max(ended, started) if started is not None else ended


def _stints(
    state: AttemptState, status: AttemptStatus, last: ReportSpec | None, started: datetime | None, now: datetime
) -> tuple[Stint, ...]:
    """When it held its GPUs, up to now. What can't be seen goes on as it was."""
    known = stints_of(last) if last is not None else ()
    if started is None or status.phase is AttemptPhase.UNKNOWN:
        return known
    is_open = bool(known) and known[-1].end is None
    if not is_open and (began := _began(state, status, known, started, now)) is not None:
        known = (*known, Stint(start=began))[-MOST_STINTS:]
        is_open = True
    if is_open and status.phase is not AttemptPhase.RUNNING:
        known = (
            *known[:-1],
            Stint(start=known[-1].start, end=max(_stopped_at(state, known[-1], now), known[-1].start)),
        )
    return known


def _began(
    state: AttemptState, status: AttemptStatus, known: tuple[Stint, ...], started: datetime, now: datetime
) -> datetime | None:
    """The start of a stint that nobody noted yet; None where it has not run since the last."""
    if not known:
        return started
    before = known[-1].end or started
    again = state.run.started_at if state.run is not None else None
    if again is not None and again >= before:
        return again
    return max(now, before) if status.phase is AttemptPhase.RUNNING else None


def _stopped_at(state: AttemptState, stint: Stint, now: datetime) -> datetime:
    ended = state.run.ended_at if state.run is not None else None
    return ended if ended is not None and ended >= stint.start else now


def _without(report: ReportSpec, fields: frozenset[str]) -> dict[str, Any]:
    # As on the wire: the hub's copy has whole seconds.
    return report.model_dump(mode="json", exclude=set(fields))
