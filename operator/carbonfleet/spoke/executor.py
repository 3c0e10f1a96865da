"""Brings what runs to what is wanted, one attempt at a time, and never starts what has run before."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from carbonfleet.api.report import AttemptPhase
from carbonfleet.spoke.admission import AdmissionRefusal, read_allow_list, refusal_of
from carbonfleet.spoke.attempt_state import Action, AttemptState, AttemptStatus, KnownAttempt, action_of
from carbonfleet.spoke.errors import AllowListError, RuntimeRefusedError
from carbonfleet.spoke.memory import Memory
from carbonfleet.spoke.observation import SpokeObservation
from carbonfleet.spoke.report import Context, report_of
from carbonfleet.spoke.runtimes import Findings, Runtime
from carbonfleet.spoke.settings import AgentSettings
from carbonfleet.spoke.wanted import Wanted, WantedSet

logger = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS: Final = 10.0


@dataclass(slots=True)
class Executor:
    """The hand of the agent: asks the runtime for what is missing and remembers what it gave it."""

    settings: AgentSettings
    runtime: Runtime
    memory: Memory
    why_start_nothing: Callable[[], str]
    """Why nothing may be started now, whatever it is; empty when all may."""
    _asked_at: dict[str, float] = field(default_factory=dict)

    def act(self, observation: SpokeObservation, context: Context) -> dict[str, AdmissionRefusal]:
        """Act on each difference; what may not start, and why, by name. Raises RuntimeAwayError."""
        refused: dict[str, AdmissionRefusal] = {}
        if observation.wanted is None or observation.observed is None:
            return refused
        held = observation.held()
        for name, state in observation.states().items():
            with observation.only(name, "it can't be acted on"):
                action = action_of(state)
                if action is not Action.START or state.wanted is None:
                    self._ask(action, state)
                elif (refusal := self._begin(observation, state, state.wanted, held, context)) is not None:
                    refused[name] = refusal
                else:
                    held[state.wanted.placement.pool] += state.wanted.placement.gpus
        return refused

    def _begin(
        self,
        observation: SpokeObservation,
        state: AttemptState,
        wanted: Wanted,
        held: Mapping[str, int],
        context: Context,
    ) -> AdmissionRefusal | None:
        refusal = self._refusal(observation, wanted, held)
        if refusal is None or (self.settings.watch_only and not refusal.is_final):
            return self._start(state, context)
        return refusal

    def allow_list_problem(self) -> str:
        """What is wrong with the admin's list; empty when nothing is."""
        try:
            if self.settings.allow_list is not None:
                read_allow_list(self.settings.allow_list)
        except AllowListError as error:
            return str(error)
        return ""

    def _refusal(
        self, observation: SpokeObservation, wanted: Wanted, held: Mapping[str, int]
    ) -> AdmissionRefusal | None:
        placement, runs = wanted.placement, observation.observed.runs.values() if observation.observed else ()
        if any(run.job.uid == placement.uid and run.name != wanted.name and run.is_live for run in runs):
            return AdmissionRefusal(
                "WaitingForStop", "another attempt of this job still runs here and is stopped first", is_final=False
            )
        if self.memory.problem:
            return AdmissionRefusal("StateNotWritable", self.memory.problem, is_final=False)
        if problem := self.why_start_nothing():
            return AdmissionRefusal("NameNotHeld", problem, is_final=False)
        wanted_set, path = observation.wanted or WantedSet(), self.settings.allow_list
        try:
            return refusal_of(placement, wanted_set, read_allow_list(path) if path else None, held)
        except AllowListError as error:
            return refusal_of(placement, wanted_set, error, held)

    def _start(self, state: AttemptState, context: Context) -> AdmissionRefusal | None:
        """Give the attempt to the runtime, and note that it has it: should it forget it, that was a loss."""
        if state.wanted is None or self.settings.watch_only:
            return None
        place = self.runtime.place(state.wanted)
        try:
            self.runtime.start(state.wanted)
        except RuntimeRefusedError as error:
            return AdmissionRefusal(error.reason, str(error), error.is_final)
        again = state.is_lost and not state.is_suspended
        known = state.known or KnownAttempt(report_of(state, AttemptStatus(AttemptPhase.PENDING), Findings(), context))
        path = state.wanted.placement.path
        session = known.session or "given"
        known = replace(known, path=path, place=place, session=session, restarts=known.restarts + again)
        self.memory.keep(state.wanted.name, known)
        self.memory.save()
        logger.info("Spoke %s: %s %s", context.spoke, "restarted" if again else "started", state.wanted.name)
        return None

    def _ask(self, action: Action, state: AttemptState) -> None:
        """Ask for a stop or a pause; both take a while, and `observe` says when they have happened."""
        if action is Action.NOTHING or state.run is None or self.settings.watch_only:
            return
        if not self._may_ask(state.run.name):
            return
        # Of what is over there may be many, and it is asked for until it is gone.
        level = logging.DEBUG if action is Action.PRUNE else logging.INFO
        logger.log(level, "Spoke %s: %s %s", self.settings.spoke, action.value.lower(), state.run.name)
        try:
            if action is Action.SUSPEND and state.wanted is not None:
                self.runtime.suspend(state.wanted)
            elif action is Action.STOP:
                self.runtime.stop(state.run)
            else:
                self.runtime.prune(state.run)
        except RuntimeRefusedError as error:
            logger.warning("Spoke %s: %s %s: %s", self.settings.spoke, action.value, state.run.name, error)

    def _may_ask(self, name: str) -> bool:
        if time.monotonic() - self._asked_at.get(name, -_ASK_AGAIN_SECONDS) < _ASK_AGAIN_SECONDS:
            return False
        self._asked_at[name] = time.monotonic()
        return True
