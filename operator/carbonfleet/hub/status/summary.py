"""The sentences of a job's status."""

from datetime import datetime
from typing import Final

from carbonfleet.api.job_status import Figures, Phase
from carbonfleet.api.report import ReportSpec, stints_of
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet import object_name
from carbonfleet.fleet.manifests import MOVES_UNREADABLE
from carbonfleet.fleet.review import ProposalStage
from carbonfleet.hub.observe import JobStage, JobState, LastSpoke, may_try_again
from carbonfleet.hub.status.status_inputs import StatusInputs, expected_end
from carbonfleet.placement.phrase import LONGEST_SUMMARY, grams, likely, number, saving, shortened, time, until

LONGEST_BLOCKER: Final = 400
"""Characters: what a person must do comes last, and is not to be cut off."""
LONGEST_MESSAGE: Final = 1000
"""Characters of a condition's message, with some to spare."""


def still_runs(state: JobState, spoke: LastSpoke) -> str:
    """What is waited for when an attempt that left Git may still run, and what to do if that is in vain."""
    attempt = state.last_attempt
    cluster = state.last_cluster or "its spoke"
    waits = f"waits until {cluster} reports that attempt {attempt} has stopped"
    name = object_name(state.body["metadata"]["name"], state.uid, attempt)
    if spoke is LastSpoke.HEARD:
        return f"{waits}; if that takes long, see {name} there"
    if spoke is LastSpoke.UNDECLARED:
        return (
            f"{waits}, but clusters/{cluster}/cluster.yaml is not in Git and its agent lets what runs go on: bring "
            "that folder back, under that very name"
        )
    return (
        f"{waits}, but that spoke is silent; if it is gone for good and nothing runs there, remove its folder "
        f"clusters/{cluster} from Git and delete trainingreport {name} in namespace spoke-{cluster}"
    )


def summary_of(inputs: StatusInputs, phase: Phase) -> str:
    """One line: where, when, why, and what came of it."""
    is_stuck = inputs.blocker is not None or phase in (Phase.FAILED, Phase.STOPPED_EARLY)
    return shortened(in_full(inputs, phase), LONGEST_BLOCKER if is_stuck else LONGEST_SUMMARY)


def in_full(inputs: StatusInputs, phase: Phase) -> str:
    """The same with everything that there is to say."""
    state, record = inputs.state, inputs.record
    report = state.current_report
    if state.job is None:
        return f"Invalid: {state.problem}"
    if phase is Phase.STOPPED_EARLY:
        return stop_of(inputs)
    if inputs.blocker is not None and phase is not Phase.MOVING:
        return inputs.blocker.message
    if phase in (Phase.PAUSED, Phase.MOVING):
        return change_of(inputs, phase)
    if state.stage is JobStage.LEAVING:
        return f"Deleted: {still_runs(state, inputs.last_spoke)}"
    if phase is Phase.SUCCEEDED and report is not None:
        return _ended(inputs, report)
    if phase is Phase.FAILED and report is not None:
        return f"{report.reason or 'Failed'} on {report.spoke}: {report.message or 'no more is known'}"
    if record is not None and phase is Phase.RUNNING and report is not None and report.start_time:
        trains = _trains(inputs, report.spoke, report.start_time)
        return f"{asked_of(inputs)[1]} {trains}".strip()
    if state.stage is JobStage.ENDED and report is not None and may_try_again(report):
        return _interrupted(report)
    if inputs.proposal is not None:
        waits = f"Waits for review of {inputs.proposal.url or inputs.proposal.branch}"
        said = inputs.proposal.message if inputs.proposal.stage is not ProposalStage.OPEN else waits
        return f"{said}. {record.message}" if record else said
    if record is not None:
        return str(record.message)
    return str(state.job.status.summary)


def _interrupted(report: ReportSpec) -> str:
    """An attempt that ended without a result, such as on a spot GPU that was reclaimed."""
    why = report.message or report.reason or report.phase.value
    saved = f"from step {report.checkpoint.step}" if report.checkpoint else "from the start"
    return f"Attempt {report.attempt} ended on {report.spoke} ({why}); the next one goes on {saved}."


def _trains(inputs: StatusInputs, spoke: str, since: datetime) -> str:
    end, figures = expected_end(inputs), inputs.record.expected if inputs.record else None
    text = f"Trains on {spoke} since {time(since)}"
    if end is None or figures is None:
        return f"{text}."
    if inputs.is_overdue:
        return f"{text}, overdue since {until(since, end)}: {_expected(figures)} were expected."
    saved = f", saves {saved_text(figures, measured=False)}" if figures.saved_grams_co2e is not None else ""
    return f"{text}, to end about {until(since, end)}: {_expected(figures)} expected{saved}."


def _expected(figures: Figures) -> str:
    """The expected emissions with their doubt, where it was written down."""
    spread = figures.grams_spread
    return likely(figures.grams_co2e, spread) if spread else grams(figures.grams_co2e)


def asked_of(inputs: StatusInputs) -> tuple[str, str]:
    """What people are asked, or have said, of moving a job under way: the reason and the words; empty if nothing."""
    proposal, placed = inputs.proposal, inputs.state.placement
    if placed is None:
        return "", ""
    goes_on = "stays paused" if placed.suspended else "runs on"
    if inputs.moves_held:
        return MOVES_UNREADABLE, f"{inputs.moves_held}; it {goes_on}."
    if inputs.agreed:
        return "MoveAgreed", f"Moves to {inputs.agreed}, as people agreed, once that can take it; {goes_on} until then."
    if inputs.refused_move:
        return "MoveRejected", inputs.refused_move
    if proposal is None:
        return "", ""
    match proposal.stage:
        case ProposalStage.OPEN | ProposalStage.HUMAN_EDITED:
            where = proposal.url or proposal.branch
            return "MoveProposed", f"Moves to {proposal.cluster} once {where} is merged; {goes_on} until then."
        case ProposalStage.REJECTED:
            return "MoveRejected", f"It is not moved: people said no ({proposal.message})."
        case ProposalStage.HELD | ProposalStage.REFUSED:
            return "MoveHeld", f"A move to {proposal.cluster} is not proposed yet: {proposal.message}."
    return "", ""


def _ended(inputs: StatusInputs, report: ReportSpec) -> str:
    """The result in one line."""
    text = f"Trained on {report.spoke}"
    if report.end_time:
        text += f" until {time(report.end_time)}"
    text += _losses(report)
    if inputs.actual is not None:
        text += f", {grams(inputs.actual.grams_co2e)}"
        if inputs.actual.saved_grams_co2e is not None:
            text += f", saved {saved_text(inputs.actual, measured=True)}"
    return f"{text}."


def change_of(inputs: StatusInputs, phase: Phase) -> str:
    """Why a job is paused or moves, and what that gains; what was said last while there is nothing new."""
    state, replanned = inputs.state, inputs.replanned
    before = state.status.summary if state.status.phase is phase else ""
    if phase is Phase.MOVING:
        said = f"Moving: {replanned.message}" if replanned else before
        return said if state.placement else f"Moving: {still_runs(state, inputs.last_spoke)}"
    stints = stints_of(state.report) if state.report else ()
    since = f" since {time(stints[-1].end)}" if stints and stints[-1].end else ""
    return f"Paused{since}: {replanned.message}" if replanned else before or f"Paused{since}"


def outcome_of(inputs: StatusInputs, report: ReportSpec) -> str:
    """What a training that ended well has brought, used and saved, in full."""
    figures = inputs.actual
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


def stop_of(inputs: StatusInputs) -> str:
    """Why a job of a sweep was stopped at a rung, what of it is kept, and how it is let go on."""
    rung = next((rung for rung in reversed(inputs.rungs) if not rung.goes_on), None)
    if rung is None:
        return str(inputs.state.status.summary)
    best = f"the best {rung.kept} go on" if rung.kept > 1 else "the best goes on"
    why = (
        f"Stopped early at {rung.percent} % of its steps: validation loss {rung.validation_loss:.4g} is number "
        f"{rung.rank} of {rung.reached}, and {best}, up to {rung.cut_loss:.4g}"
    )
    return f"{why}. Its checkpoint is kept. To let it go on: {_ask_again(inputs.state)}"


def _ask_again(state: JobState) -> str:
    """The command with which a person has a job placed once more."""
    metadata = state.body["metadata"]
    job = f"-n {metadata['namespace']} {metadata['name']}"
    return f'kubectl annotate ctj {job} {ANNOTATION.REPLACE}="$(date +%s)" --overwrite'


def failure_of(inputs: StatusInputs, report: ReportSpec) -> str:
    """Why a training ended without a result, what of it is kept, and how it is tried again."""
    said = report.message or f"the attempt ended as {report.phase.value}"
    good = report.checkpoint if report.reason != "CorruptCheckpoint" else None
    saved = f"from step {good.step}, its last good checkpoint" if good else "from the start"
    again = f"To try it again {saved}: {_ask_again(inputs.state)}; or change the job."
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
