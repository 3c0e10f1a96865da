"""What to do with an attempt and what to say of it: functions of what is wanted, runs, and is known."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.spoke.runtimes import Run
from carbonfleet.spoke.wanted import Wanted

MOST_RESTARTS: Final = 3
"""How often an attempt that was lost with its runtime is taken up again; KubeRay's backoffLimit."""


class Action(StrEnum):
    """What the agent asks of the runtime."""

    NOTHING = "Nothing"
    START = "Start"
    SUSPEND = "Suspend"
    STOP = "Stop"
    PRUNE = "Prune"
    """It has ended and Git has forgotten it: what is left of it may go."""


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """What the agent remembers of an attempt, over restarts of agent and runtime."""

    report: ReportSpec
    path: str = ""
    """The file that asked for it."""
    session: str = ""
    """The life of the runtime that it was last seen in; empty if it never was."""
    restarts: int = 0
    place: str = ""
    """Where it saves."""
    delivered: bool = False
    """The hub has stored its last phase."""
    cleared: bool = False
    """It is over, and the runtime was seen to hold nothing of it any more."""

    @property
    def is_over(self) -> bool:
        """Nothing more will happen in this attempt, whatever Git or the runtime say later."""
        return self.report.phase.is_terminal


@dataclass(frozen=True, slots=True)
class AttemptStatus:
    """Where an attempt is, for its report."""

    phase: AttemptPhase
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class AttemptState:
    """One attempt from all sides at one moment. At least one of wanted, run and known is there."""

    wanted: Wanted | None
    run: Run | None
    known: KnownAttempt | None
    is_done: bool = False
    """Its output holds the marker of a finished training."""
    goes_on: bool = False
    """Git can't be read for it, which is no wish that it should end."""

    @property
    def is_lost(self) -> bool:
        """Whether it was given to a runtime that no longer knows of it."""
        return self.run is None and self.known is not None and bool(self.known.session)

    @property
    def is_suspended(self) -> bool:
        """Whether its GPUs were given up on purpose, and it may be taken up again."""
        if self.run is not None and self.run.phase not in {AttemptPhase.STOPPED, AttemptPhase.SUSPENDED}:
            return False
        return self.known is not None and self.known.report.phase is AttemptPhase.SUSPENDED

    @property
    def is_at_rest(self) -> bool:
        """Whether it wants no GPUs now: it is over, done, given up or suspended."""
        is_over = self.known is not None and self.known.is_over
        is_paused = self.wanted is not None and self.wanted.placement.suspended
        return is_over or self.is_done or self.is_spent or is_paused

    @property
    def is_spent(self) -> bool:
        """Whether it was lost so often that it is not taken up again."""
        return self.is_lost and self.known is not None and self.known.restarts >= MOST_RESTARTS


def action_of(state: AttemptState) -> Action:
    """What to ask of the runtime; whether a start is let in is for the admission to say."""
    wanted, run = state.wanted, state.run
    if state.goes_on:
        return Action.NOTHING
    if wanted is None:
        return _unwanted(run)
    is_live = run is not None and run.is_live
    if state.known is not None and state.known.is_over:
        return Action.STOP if is_live else Action.NOTHING
    if state.is_done and not is_live:
        return Action.NOTHING
    if wanted.placement.suspended:
        return Action.SUSPEND if is_live else Action.NOTHING
    return Action.START if (run is None or state.is_suspended) and not state.is_spent else Action.NOTHING


def status_of(state: AttemptState, held: AttemptStatus | None = None) -> AttemptStatus:
    """Where the attempt is; `held` is what to say of one that may not start.

    What is over stays as it was, and what is not known to have failed has not.
    """
    known, run = state.known, state.run
    if known is not None and known.is_over:
        return AttemptStatus(known.report.phase, known.report.reason, known.report.message)
    if state.is_done and (run is None or not run.is_live):
        return AttemptStatus(AttemptPhase.SUCCEEDED)
    if run is None:
        return _without_run(state, held)
    if run.phase is AttemptPhase.STOPPED:
        return _stopped(state, run)
    if run.phase is AttemptPhase.FAILED and run.reason == "Stopped":
        # SIGTERM that did not come from us: the machine was reclaimed, or is going down.
        return AttemptStatus(AttemptPhase.STOPPED, "Interrupted", run.message)
    if run.is_live and not state.goes_on:
        return _live(state, run)
    return AttemptStatus(run.phase, run.reason, run.message)


def _unwanted(run: Run | None) -> Action:
    if run is None:
        return Action.NOTHING
    return Action.STOP if run.is_live or run.phase is AttemptPhase.SUSPENDED else Action.PRUNE


def _without_run(state: AttemptState, held: AttemptStatus | None) -> AttemptStatus:
    if state.goes_on and state.known is not None:
        return AttemptStatus(state.known.report.phase, state.known.report.reason, state.known.report.message)
    if state.wanted is None:
        return AttemptStatus(AttemptPhase.STOPPED, "Removed", "removed from Git; nothing of it runs")
    if state.goes_on:
        return AttemptStatus(
            AttemptPhase.PENDING,
            "NamespaceUnreadable",
            "its namespace can't be seen: see that it is there and that the agent may read it",
        )
    if state.wanted.placement.suspended:
        return AttemptStatus(AttemptPhase.SUSPENDED, "Suspended")
    if state.is_spent:
        return AttemptStatus(AttemptPhase.FAILED, "RuntimeLost", "lost with its runtime too often")
    if held is not None:
        return held
    if state.is_lost and not state.is_suspended:
        return AttemptStatus(AttemptPhase.PENDING, "Restarting", "lost with its runtime; resumes")
    return AttemptStatus(AttemptPhase.PENDING)


def _stopped(state: AttemptState, run: Run) -> AttemptStatus:
    if run.reason == "Fenced":
        return AttemptStatus(AttemptPhase.STOPPED, run.reason, run.message)
    if state.wanted is None:
        return AttemptStatus(AttemptPhase.STOPPED, "Removed", "removed from Git; stopped")
    if state.wanted.placement.suspended or state.is_suspended:
        return AttemptStatus(AttemptPhase.SUSPENDED, "Suspended")
    return AttemptStatus(AttemptPhase.STOPPED, "StoppedOnSpoke", "somebody stopped it on the spoke")


def _live(state: AttemptState, run: Run) -> AttemptStatus:
    if run.reason == "DeletingStuck":
        return AttemptStatus(run.phase, run.reason, run.message)
    if state.wanted is None:
        return AttemptStatus(run.phase, "Stopping", "removed from Git; saves itself and stops")
    if state.wanted.placement.suspended:
        return AttemptStatus(run.phase, "Suspending", "suspended in Git; saves itself and stops")
    return AttemptStatus(run.phase, run.reason, run.message)
