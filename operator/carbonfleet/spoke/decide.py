"""What to do with an attempt and what to say of it: functions of what is wanted, runs, and is known."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.spoke.runtime import Run
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
class Known:
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

    @property
    def is_over(self) -> bool:
        """Nothing more will happen in this attempt, whatever Git or the runtime say later."""
        return self.report.phase.is_terminal


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an attempt is, for its report."""

    phase: AttemptPhase
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """One attempt from all sides at one moment. At least one of wanted, run and known is there."""

    wanted: Wanted | None
    run: Run | None
    known: Known | None
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
    def is_spent(self) -> bool:
        """Whether it was lost so often that it is not taken up again."""
        return self.is_lost and self.known is not None and self.known.restarts >= MOST_RESTARTS


def action_of(sight: Sight) -> Action:
    """What to ask of the runtime; whether a start is let in is for the admission to say."""
    wanted, run = sight.wanted, sight.run
    if sight.goes_on:
        return Action.NOTHING
    if wanted is None:
        return _unwanted(run)
    is_live = run is not None and run.is_live
    if sight.known is not None and sight.known.is_over:
        return Action.STOP if is_live else Action.NOTHING
    if sight.is_done and not is_live:
        return Action.NOTHING
    if wanted.placement.suspended:
        return Action.SUSPEND if is_live else Action.NOTHING
    return Action.START if (run is None or sight.is_suspended) and not sight.is_spent else Action.NOTHING


def standing_of(sight: Sight, held: Standing | None = None) -> Standing:
    """Where the attempt is; `held` is what to say of one that may not start.

    What is over stays as it was, and what is not known to have failed has not.
    """
    known, run = sight.known, sight.run
    if known is not None and known.is_over:
        return Standing(known.report.phase, known.report.reason, known.report.message)
    if sight.is_done and (run is None or not run.is_live):
        return Standing(AttemptPhase.SUCCEEDED)
    if run is None:
        return _without_run(sight, held)
    if run.phase is AttemptPhase.STOPPED:
        return _stopped(sight, run)
    if run.phase is AttemptPhase.FAILED and run.reason == "Stopped":
        # SIGTERM that did not come from us: the machine was reclaimed, or is going down.
        return Standing(AttemptPhase.STOPPED, "Interrupted", run.message)
    if run.is_live and not sight.goes_on:
        return _live(sight, run)
    return Standing(run.phase, run.reason, run.message)


def _unwanted(run: Run | None) -> Action:
    if run is None:
        return Action.NOTHING
    return Action.STOP if run.is_live or run.phase is AttemptPhase.SUSPENDED else Action.PRUNE


def _without_run(sight: Sight, held: Standing | None) -> Standing:
    if sight.goes_on and sight.known is not None:
        return Standing(sight.known.report.phase, sight.known.report.reason, sight.known.report.message)
    if sight.wanted is None:
        return Standing(AttemptPhase.STOPPED, "Removed", "removed from Git; nothing of it runs")
    if sight.goes_on:
        return Standing(AttemptPhase.PENDING, "NamespaceUnreadable", "its namespace can't be seen")
    if sight.wanted.placement.suspended:
        return Standing(AttemptPhase.SUSPENDED, "Suspended")
    if sight.is_spent:
        return Standing(AttemptPhase.FAILED, "RuntimeLost", "lost with its runtime too often")
    if held is not None:
        return held
    if sight.is_lost and not sight.is_suspended:
        return Standing(AttemptPhase.PENDING, "Restarting", "lost with its runtime; resumes")
    return Standing(AttemptPhase.PENDING)


def _stopped(sight: Sight, run: Run) -> Standing:
    if run.reason == "Fenced":
        return Standing(AttemptPhase.STOPPED, run.reason, run.message)
    if sight.wanted is None:
        return Standing(AttemptPhase.STOPPED, "Removed", "removed from Git; stopped")
    if sight.wanted.placement.suspended or sight.is_suspended:
        return Standing(AttemptPhase.SUSPENDED, "Suspended")
    return Standing(AttemptPhase.STOPPED, "StoppedOnSpoke", "somebody stopped it on the spoke")


def _live(sight: Sight, run: Run) -> Standing:
    if run.reason == "DeletingStuck":
        return Standing(run.phase, run.reason, run.message)
    if sight.wanted is None:
        return Standing(run.phase, "Stopping", "removed from Git; saves itself and stops")
    if sight.wanted.placement.suspended:
        return Standing(run.phase, "Suspending", "suspended in Git; saves itself and stops")
    return Standing(run.phase, run.reason, run.message)
