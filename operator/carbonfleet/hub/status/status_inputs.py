"""What is known of one job when its status is written, and the sentences that are made of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Figures, Phase
from carbonfleet.api.report import ReportSpec, stints_of
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet import Proposal, object_name
from carbonfleet.fleet.review import ProposalStage as ReviewStage
from carbonfleet.hub.observe.job_state import JobView, Stage, may_try_again
from carbonfleet.hub.running.turns import reserved_until
from carbonfleet.placement.phrase import LONGEST_SUMMARY, grams, number, saving, shortened, time, until


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a decision could not be written to Git (yet)."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Known:
    """Everything a status is made of."""

    view: JobView
    record: DecisionRecord | None = None
    """This cycle's decision, or the one that was written with the placement."""
    trouble: Trouble | None = None
    commit: str = ""
    """Of the placement, when it stands in Git."""
    actual: Figures | None = None
    """What the ledger says once an attempt has ended."""
    proposal: Proposal | None = None
    """Where the review of the placement, or of a move, stands when people must agree."""
    is_overdue: bool = False
    """It trains, and was expected to have ended by now."""
    is_spoke_lost: bool = False
    """The spoke that must report a stop has not been heard of for a while, or is no longer declared."""
    why_it_stays: str = ""
    """Why it is not moved though it may be interrupted."""
    agreed: str = ""
    """The cluster to which people agreed that it moves."""
    no_move: str = ""
    """People's no to moving it."""
    turn: DecisionRecord | None = None
    """This cycle's decision on a job under way: to go on, pause, or move."""


HELD_REASONS: Final = frozenset({"RevertedByHuman", "EditedByHuman"})
"""A person undid the placement: it is not written again unless the spec changes or it is asked for."""
WAITING_FOR_STOP: Final = "WaitingForStop"
MERGED_LATE: Final = "Superseded"
"""A person merged the proposal after its time: it is taken out of Git again."""
LONGEST_TROUBLE: Final = 400
"""Characters: what a person must do comes last, and is not to be cut off."""
LONGEST_MESSAGE: Final = 1000
"""Characters of a condition's message, with some to spare."""
NOT_ACCOUNTED: Final = "NotAccounted"
"""The attempt ended, and its line of the ledger is not written yet: until then the job has not."""


def still_runs(view: JobView, *, is_spoke_lost: bool) -> str:
    """What is waited for when an attempt that left Git may still run, and what to do if that is in vain."""
    attempt = view.last_attempt
    cluster = spoke_of(view) or "its spoke"
    waits = f"waits until {cluster} reports that attempt {attempt} has stopped"
    if not is_spoke_lost:
        return waits
    name = object_name(view.body["metadata"]["name"], view.uid, attempt)
    return (
        f"{waits}, but that spoke is silent; if it is gone for good, remove its folder clusters/{cluster} from Git and "
        f"delete trainingreport {name} in namespace spoke-{cluster}"
    )


def spoke_of(view: JobView) -> str:
    """Where the last attempt was put."""
    placed, report = view.status.placement, view.report
    return placed.cluster if placed else report.spoke if report else ""


def expected_end(known: Known) -> datetime | None:
    """When the run in Git was expected to end, from when it really began."""
    record, report = known.record, known.view.current_report
    if record is None or record.start is None or record.end is None:
        return None
    began = report.start_time if report is not None and report.start_time else record.start
    if known.view.placement is None or record.segments:
        return began + (record.end - record.start)
    return reserved_until(known.view.placement, report)


def summary_of(known: Known, phase: Phase) -> str:
    """One line: where, when, why, and what came of it."""
    is_stuck = known.trouble is not None or phase is Phase.FAILED
    return shortened(in_full(known, phase), LONGEST_TROUBLE if is_stuck else LONGEST_SUMMARY)


def in_full(known: Known, phase: Phase) -> str:
    """The same with everything that there is to say."""
    view, record = known.view, known.record
    report = view.current_report
    if view.job is None:
        return f"Invalid: {view.problem}"
    if known.trouble is not None and phase is not Phase.MOVING:
        return known.trouble.message
    if phase in (Phase.PAUSED, Phase.MOVING):
        return change_of(known, phase)
    if view.stage is Stage.LEAVING:
        return f"Deleted: {still_runs(view, is_spoke_lost=known.is_spoke_lost)}"
    if phase is Phase.SUCCEEDED and report is not None:
        return _ended(known, report)
    if phase is Phase.FAILED and report is not None:
        return f"{report.reason or 'Failed'} on {report.spoke}: {report.message or 'no more is known'}"
    if record is not None and phase is Phase.RUNNING and report is not None and report.start_time:
        trains = _trains(known, report.spoke, report.start_time)
        return f"{asked_of(known)[1]} {trains}".strip()
    if view.stage is Stage.ENDED and report is not None and may_try_again(report):
        return _interrupted(report)
    if known.proposal is not None:
        waits = f"Waits for review of {known.proposal.url or known.proposal.branch}"
        said = known.proposal.message if known.proposal.stage is not ReviewStage.OPEN else waits
        return f"{said}. {record.message}" if record else said
    if record is not None:
        return str(record.message)
    return str(view.job.status.summary)


def _interrupted(report: ReportSpec) -> str:
    """An attempt that ended without a result, such as on a spot GPU that was reclaimed."""
    why = report.message or report.reason or report.phase.value
    saved = f"from step {report.checkpoint.step}" if report.checkpoint else "from the start"
    return f"Attempt {report.attempt} ended on {report.spoke} ({why}); the next one goes on {saved}."


def _trains(known: Known, spoke: str, since: datetime) -> str:
    end, figures = expected_end(known), known.record.expected if known.record else None
    text = f"Trains on {spoke} since {time(since)}"
    if end is None or figures is None:
        return f"{text}."
    if known.is_overdue:
        return f"{text}, overdue since {until(since, end)}: {grams(figures.grams_co2e)} were expected."
    saved = f", saves {saved_text(figures, measured=False)}" if figures.saved_grams_co2e is not None else ""
    return f"{text}, to end about {until(since, end)}: {grams(figures.grams_co2e)} expected{saved}."


def asked_of(known: Known) -> tuple[str, str]:
    """What people are asked, or have said, of moving a job under way: the reason and the words; empty if nothing."""
    proposal, placed = known.proposal, known.view.placement
    if placed is None:
        return "", ""
    goes_on = "stays paused" if placed.suspended else "runs on"
    if known.agreed:
        return "MoveAgreed", f"Moves to {known.agreed}, as people agreed, once that can take it; {goes_on} until then."
    if known.no_move:
        return "MoveRejected", known.no_move
    if proposal is None:
        return "", ""
    match proposal.stage:
        case ReviewStage.OPEN | ReviewStage.HUMAN_EDITED:
            where = proposal.url or proposal.branch
            return "MoveProposed", f"Moves to {proposal.cluster} once {where} is merged; {goes_on} until then."
        case ReviewStage.REJECTED:
            return "MoveRejected", f"It is not moved: people said no ({proposal.message})."
        case ReviewStage.HELD | ReviewStage.REFUSED:
            return "MoveHeld", f"A move to {proposal.cluster} is not proposed yet: {proposal.message}."
    return "", ""


def _ended(known: Known, report: ReportSpec) -> str:
    """The result in one line."""
    text = f"Trained on {report.spoke}"
    if report.end_time:
        text += f" until {time(report.end_time)}"
    text += _losses(report)
    if known.actual is not None:
        text += f", {grams(known.actual.grams_co2e)}"
        if known.actual.saved_grams_co2e is not None:
            text += f", saved {saved_text(known.actual, measured=True)}"
    return f"{text}."


def change_of(known: Known, phase: Phase) -> str:
    """Why a job is paused or moves, and what that gains; what was said last while there is nothing new."""
    view, turn = known.view, known.turn
    before = view.status.summary if view.status.phase is phase else ""
    if phase is Phase.MOVING:
        said = f"Moving: {turn.message}" if turn else before
        return said if view.placement else f"Moving: {still_runs(view, is_spoke_lost=known.is_spoke_lost)}"
    stints = stints_of(view.report) if view.report else ()
    since = f" since {time(stints[-1].end)}" if stints and stints[-1].end else ""
    return f"Paused{since}: {turn.message}" if turn else before or f"Paused{since}"


def outcome_of(known: Known, report: ReportSpec) -> str:
    """What a training that ended well has brought, used and saved, in full."""
    figures = known.actual
    text = f"Trained on {report.spoke}"
    if report.start_time and report.end_time:
        text += f" from {time(report.start_time)} to {until(report.start_time, report.end_time)}"
    text += _losses(report)
    if figures is not None:
        text += f", {number(figures.energy_kwh)} kWh ({figures.method}), {grams(figures.grams_co2e)}"
        text += f", {figures.cost_usd:,.2f} USD" if figures.cost_usd is not None else ""
        if figures.baseline_grams_co2e is not None:
            text += f"; the baseline would have emitted {grams(figures.baseline_grams_co2e)}, so it saved "
            text += saved_text(figures, measured=True)
    return f"{text}. The training says: {report.message}." if report.message else f"{text}."


def failure_of(known: Known, report: ReportSpec) -> str:
    """Why a training ended without a result, what of it is kept, and how it is tried again."""
    said = report.message or f"the attempt ended as {report.phase.value}"
    good = report.checkpoint if report.reason != "CorruptCheckpoint" else None
    saved = f"from step {good.step}, its last good checkpoint" if good else "from the start"
    metadata = known.view.body["metadata"]
    ask = f'kubectl annotate ctj -n {metadata["namespace"]} {metadata["name"]} {ANNOTATION.REPLACE}="$(date +%s)"'
    again = f"To try it again {saved}: {ask} --overwrite; or change the job."
    return f"{shortened(said, LONGEST_MESSAGE - len(again)).rstrip('.')}. {again}"


def _losses(report: ReportSpec) -> str:
    progress = report.progress
    if progress is None or progress.initial_validation_loss is None or progress.validation_loss is None:
        return ""
    return f", validation loss {progress.initial_validation_loss:.3g} to {progress.validation_loss:.3g}"


def saved_text(figures: Figures | None, *, measured: bool) -> str:
    """`812 g (94 %)` for a printer column, with ~ before what is only expected."""
    if figures is None or figures.saved_grams_co2e is None:
        return ""
    return f"{'' if measured else '~'}{saving(figures.saved_grams_co2e, figures.saved_percent)}"
