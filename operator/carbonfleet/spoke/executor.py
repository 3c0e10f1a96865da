"""Brings what runs to what is wanted, one attempt at a time, and never starts what has run before."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from carbonfleet.api.report import AttemptPhase
from carbonfleet.spoke.admission import Refusal, read_allow_list, refusal_of
from carbonfleet.spoke.decide import Action, Known, Sight, Standing, action_of
from carbonfleet.spoke.errors import AllowListError
from carbonfleet.spoke.memory import Memory
from carbonfleet.spoke.output import Findings, output_place
from carbonfleet.spoke.reporting import Context, report_of
from carbonfleet.spoke.runtime import Run, Runtime
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
    _asked_at: dict[str, float] = field(default_factory=dict)

    def act(
        self, sights: Mapping[str, Sight], wanted: WantedSet, runs: Mapping[str, Run], context: Context
    ) -> dict[str, Refusal]:
        """Act on each difference; what may not start, and why, by name. Raises RuntimeAwayError."""
        held = Counter[str]()
        for run in runs.values():
            held[run.pool] += run.gpus if run.is_live else 0
        refused: dict[str, Refusal] = {}
        for name, sight in sights.items():
            action = action_of(sight)
            if action is Action.START and sight.wanted is not None:
                refusal = self._refusal(sight.wanted, wanted, runs, held)
                if refusal is not None:
                    refused[name] = refusal
                elif not self.settings.watch_only:
                    self._start(sight, sight.wanted, context)
                    held[sight.wanted.placement.pool] += sight.wanted.placement.gpus
            elif not self.settings.watch_only:
                self._ask(action, sight)
        return refused

    def allow_list_problem(self) -> str:
        """What is wrong with the admin's list; empty when nothing is."""
        try:
            if self.settings.allow_list is not None:
                read_allow_list(self.settings.allow_list)
        except AllowListError as error:
            return str(error)
        return ""

    def place(self, wanted: Wanted) -> str:
        """Where an attempt saves."""
        uri = wanted.environment.get("LORA_OUTPUT", "")
        return output_place(self.settings.store, uri, wanted.placement.uid)

    def _refusal(
        self, wanted: Wanted, folder: WantedSet, runs: Mapping[str, Run], held: Mapping[str, int]
    ) -> Refusal | None:
        placement = wanted.placement
        if any(r.is_live and r.job.uid == placement.uid and r.name != wanted.name for r in runs.values()):
            return Refusal("WaitingForStop", "another attempt of this job still runs here", is_final=False)
        try:
            path = self.settings.allow_list
            allowed = read_allow_list(path) if path is not None else None
        except AllowListError as error:
            return refusal_of(placement, folder.facts, error, held)
        return refusal_of(placement, folder.facts, allowed, held)

    def _start(self, sight: Sight, wanted: Wanted, context: Context) -> None:
        place = self.place(wanted)
        self.runtime.start(wanted, place)
        standing = Standing(AttemptPhase.PENDING)
        known = sight.known or Known(report_of(sight, standing, Findings(), context))
        again = sight.is_lost and not sight.is_suspended
        self.memory.keep(
            wanted.name,
            replace(known, path=wanted.placement.path, place=place, restarts=known.restarts + again),
        )
        self.memory.save()
        logger.info("Spoke %s: %s %s", self.settings.spoke, "restarted" if again else "started", wanted.name)

    def _ask(self, action: Action, sight: Sight) -> None:
        """Ask for a stop or a pause; both take a while, and `observe` says when they have happened."""
        if action is Action.NOTHING or sight.run is None or not self._may_ask(sight.run.name):
            return
        logger.info("Spoke %s: %s %s", self.settings.spoke, action.value.lower(), sight.run.name)
        if action is Action.SUSPEND and sight.wanted is not None:
            self.runtime.suspend(sight.wanted)
        elif action is Action.STOP:
            self.runtime.stop(sight.run)
        else:
            self.runtime.prune(sight.run)

    def _may_ask(self, name: str) -> bool:
        if time.monotonic() - self._asked_at.get(name, -_ASK_AGAIN_SECONDS) < _ASK_AGAIN_SECONDS:
            return False
        self._asked_at[name] = time.monotonic()
        return True
