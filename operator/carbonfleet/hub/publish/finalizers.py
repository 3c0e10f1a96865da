"""The hub's finalizer: on each job before anything of it is written outside, off when nothing stands there."""

from collections.abc import Sequence
from typing import TypeVar

from carbonfleet.api.wire import ANNOTATION
from carbonfleet.fleet import Intent, Place, Propose
from carbonfleet.hub.job_writes import JobWrites
from carbonfleet.hub.observe import FINALIZER, JobStage, JobState, Observation, end_note

Wanted = TypeVar("Wanted", bound=Intent | Propose)


def claim(writes: JobWrites, observation: Observation, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Put the finalizer on each job before its placement is written or proposed; what can't be claimed must wait."""
    states = {state.uid: state for state in observation.jobs}

    def claimed(wish: Intent | Propose) -> bool:
        place = wish.place if isinstance(wish, Propose) else wish
        if not isinstance(place, Place):
            return True
        with observation.only(place.decision.uid, "the finalizer can't be put on it"):
            state = states[place.decision.uid]
            return state.has_finalizer or writes.patch_finalizers(
                state, lambda present: present | {FINALIZER}, {ANNOTATION.ENDED: None}
            )
        return False

    return [wish for wish, done in zip(wanted, writes.each(claimed, wanted), strict=True) if done]


def release(writes: JobWrites, observation: Observation) -> None:
    """Take the finalizer off jobs of which nothing stands outside any more, and note how those that ran have ended.

    The note outlives the status where a backup brings back a job without it.
    """

    def let_go(state: JobState) -> None:
        with observation.only(state, "the finalizer can't be taken off it"):
            ended = end_note(state) or None
            writes.patch_finalizers(state, lambda present: present - {FINALIZER}, {ANNOTATION.ENDED: ended})

    held = [state for state in observation.jobs if state.has_finalizer]
    writes.each(
        let_go, observation.which("whether it is over can't be told", lambda state: _is_over(state, observation), held)
    )


def may_leave(state: JobState, observation: Observation) -> bool:
    """A deleted job may go: nothing of it stands in Git, and its spoke has stopped it or never saw it."""
    return observation.tip_is_fresh and observation.has_stopped(state)


def _is_over(state: JobState, observation: Observation) -> bool:
    if state.stage is JobStage.LEAVING:
        return may_leave(state, observation)
    return state.stage is JobStage.DONE and observation.tip_is_fresh
