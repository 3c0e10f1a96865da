"""Writes the statuses that say something new, and records events of them."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from carbonfleet.api.job_status import DECISIVE, DecisionRecord, JobStatus
from carbonfleet.api.wire import wire_name
from carbonfleet.fleet import Intent, Place
from carbonfleet.hub.job_writes import MOST_AT_ONCE, JobWrites
from carbonfleet.hub.observe import JobStage, JobState, Observation
from carbonfleet.hub.status.events import EventRecorder, transition_of
from carbonfleet.hub.status.status import is_due, needs_update, status_of
from carbonfleet.hub.status.status_inputs import Results, StatusInputs, inputs_of
from carbonfleet.kube import Object

_FAILS: Final = "its status can't be told"


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A status that says something new."""

    state: JobState
    new: JobStatus


@dataclass(slots=True)
class StatusWriter:
    """Writes statuses. What it remembers can be lost at any time."""

    writes: JobWrites
    events: EventRecorder
    _unchanged: dict[str, StatusInputs] = field(default_factory=dict)
    """By job UID: what its status says in full, so that it need not be worked out again."""

    def begin(
        self, observation: Observation, records: Mapping[str, DecisionRecord], intents: Iterable[Intent]
    ) -> list[Future[StatusChange | None]]:
        """Begin to show new decisions while Git is written, which takes far longer than a status.

        Only where they are few: of many, each costs a write that delays the others.
        """
        wanted = {intent.decision.uid for intent in intents if isinstance(intent, Place)}
        if len(wanted) > MOST_AT_ONCE:
            return []
        fresh = [state for state in observation.jobs if state.uid in wanted and not _is_scheduled(state.status)]
        changes = observation.each(
            _FAILS,
            lambda state: StatusChange(state, status_of(StatusInputs(state, records[state.uid]), observation.now)),
            fresh,
        )
        return self.writes.begin(partial(self._write, observation), (change for _, change in changes))

    def finish(self, observation: Observation, begun: Iterable[Future[StatusChange | None]]) -> Observation:
        """The observation with the statuses that `begin` wrote. Raises KubeError when the API is gone."""
        written = [change for future in begun if (change := future.result()) is not None]
        self._record(written, observation)
        shown = {change.state.uid: change.new for change in written}
        known = {state.uid: state for state in observation.jobs}
        changed = observation.each(_FAILS, lambda state: state.showing(shown[state.uid]), [known[uid] for uid in shown])
        known |= {state.uid: showing for state, showing in changed}
        return replace(observation, jobs=tuple(known.values()))

    def write(self, observation: Observation, results: Results) -> set[str]:
        """Write each status that changed, and record events of it; the UIDs of the jobs."""
        open_ones = [state for state in observation.jobs if state.stage is not JobStage.DONE]
        found = observation.each(
            _FAILS, lambda state: self._change(inputs_of(state, observation, results), observation.now), open_ones
        )
        changes = [change for _, change in found if change is not None]
        done = self.writes.each(partial(self._write, observation), changes)
        written = [change for change in done if change is not None]
        self._record(written, observation)
        for uid in self._unchanged.keys() - {state.uid for state in observation.jobs}:
            del self._unchanged[uid]
        return {change.state.uid for change in written}

    def _change(self, inputs: StatusInputs, now: datetime) -> StatusChange | None:
        """The status to write, if it says anything new; what says nothing new is not worked out again."""
        old, uid = inputs.state.status, inputs.state.uid
        if self._unchanged.get(uid) == inputs and not is_due(old, now):
            self._unchanged[uid] = inputs  # the equal one from before would be held in memory beside it
            return None
        new = status_of(inputs, now)
        if needs_update(old, new, now):
            return StatusChange(inputs.state, new)
        self._unchanged[uid] = inputs
        return None

    def _write(self, observation: Observation, change: StatusChange) -> StatusChange | None:
        """The change, when it was written; None where the API would not have it."""
        is_written = False
        with observation.only(change.state, "its status can't be written"):
            patch = merge_patch(change.state.body.get("status") or {}, change.new.to_wire())
            if change.state.stage is JobStage.UNREADABLE:
                for name in DECISIVE:  # another release may be able to read what stands there
                    patch.pop(wire_name(name), None)
            is_written = self.writes.patch_status(change.state, patch)
        return change if is_written else None

    def _record(self, written: Iterable[StatusChange], observation: Observation) -> None:
        """Events of what was written; after all statuses, which they must not delay."""
        for change in written:
            with observation.only(change.state, "its event can't be told"):
                if (transition := transition_of(change.state.status, change.new)) is not None:
                    self.events.record(change.state, transition, observation.now)


def _is_scheduled(status: JobStatus) -> bool:
    return any(condition.type == "Scheduled" and condition.status == "True" for condition in status.conditions)


def merge_patch(before: Object, after: Object) -> Object:
    """A JSON merge patch (RFC 7396) from one to the other: null, at every depth, for what is no more."""
    patch: Object = dict.fromkeys(key for key in before if key not in after)
    for key, value in after.items():
        inner = before.get(key)
        if value != inner:
            is_nested = isinstance(value, dict) and isinstance(inner, dict)
            patch[key] = merge_patch(inner or {}, value) if is_nested else value
    return patch
