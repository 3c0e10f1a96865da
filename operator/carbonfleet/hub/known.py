"""What is known of one job when its status is written, and the sentences that are made of it."""

from dataclasses import dataclass
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Figures, Phase
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.wire import format_time
from carbonfleet.fleet import Proposal, object_name
from carbonfleet.fleet.review import Stage as ReviewStage
from carbonfleet.hub.view import JobView, Stage


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
    """Where the review of the placement stands, when people must agree."""


HELD_REASONS: Final = frozenset({"RevertedByHuman", "EditedByHuman"})
"""A person undid the placement: it is not written again unless the spec changes or it is asked for."""
WAITING_FOR_STOP: Final = "WaitingForStop"
MERGED_LATE: Final = "Superseded"
"""A person merged the proposal after its time: it is taken out of Git again."""
NOT_ACCOUNTED: Final = "NotAccounted"
"""The attempt ended, and its line of the ledger is not written yet: until then the job has not."""


def still_runs(view: JobView) -> str:
    """What is waited for when an attempt that left Git may still run, and what to do if that is in vain."""
    attempt = view.last_attempt
    placed, report = view.status.placement, view.report
    cluster = placed.cluster if placed else report.spoke if report else "its spoke"
    name = object_name(view.body["metadata"]["name"], view.uid, attempt)
    return (
        f"waits until {cluster} reports that attempt {attempt} has stopped; if that spoke is gone for good, remove "
        f"its folder clusters/{cluster} from Git and delete trainingreport {name} in namespace spoke-{cluster}"
    )


def summary_of(known: Known, phase: Phase) -> str:
    """One sentence or two: where, when, why, and what came of it."""
    view, record = known.view, known.record
    report = view.current_report
    if view.job is None:
        return f"invalid: {view.problem}"
    if known.trouble is not None:
        return known.trouble.message
    if view.stage is Stage.LEAVING:
        return f"deleted: {still_runs(view)}"
    if phase is Phase.SUCCEEDED and report is not None:
        return outcome_of(known, report)
    if phase is Phase.FAILED and report is not None:
        return f"{report.reason or 'Failed'} on {report.spoke}: {report.message or 'no more is known'}"
    if record is not None and phase is Phase.RUNNING and report is not None and report.start_time:
        return f"trains on {report.spoke} since {format_time(report.start_time)}; decided: {record.message}"
    if known.proposal is not None:
        waits = f"waits for review of {known.proposal.url or known.proposal.branch}"
        said = known.proposal.message if known.proposal.stage is not ReviewStage.OPEN else waits
        return f"{said}; decided: {record.message}" if record else said
    if record is not None:
        return str(record.message)
    return str(view.job.status.summary)


def outcome_of(known: Known, report: ReportSpec) -> str:
    """What a training that ended well has brought, used and saved."""
    figures, progress = known.actual, report.progress
    began = f" from {format_time(report.start_time)}" if report.start_time else ""
    text = f"trained on {report.spoke}{began}"
    if progress and progress.initial_validation_loss is not None and progress.validation_loss is not None:
        text += f", validation loss {progress.initial_validation_loss:.3f} to {progress.validation_loss:.3f}"
    if figures is not None:
        text += f", {figures.energy_kwh:.3g} kWh ({figures.method}), {_grams(figures.grams_co2e)} gCO2e"
        text += f", saved {saved_text(figures, measured=True)}" if figures.saved_grams_co2e is not None else ""
    return text


def saved_text(figures: Figures | None, *, measured: bool) -> str:
    """`812 g (94 %)` for a printer column, with ~ before what is only expected."""
    if figures is None or figures.saved_grams_co2e is None:
        return ""
    percent = f" ({figures.saved_percent:.0f} %)" if figures.saved_percent is not None else ""
    return f"{'' if measured else '~'}{_grams(figures.saved_grams_co2e)} g{percent}"


def _grams(grams: float) -> str:
    """Whole grams, or the first digits of a small number."""
    return f"{grams:,.0f}" if abs(grams) >= 10 else f"{grams:.2g}"
