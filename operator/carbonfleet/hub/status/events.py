"""Events: what `kubectl describe` shows at its end."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.job_status import JobStatus, Phase
from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.faults import only
from carbonfleet.hub.observe import JobState
from carbonfleet.kube import Kube, KubeError, Object, path

MOST_WAITING: Final = 2000
"""Events that wait to be posted."""
_REASONS: Final = {
    Phase.COMMITTED: "Committed",
    Phase.RUNNING: "Running",
    Phase.CANCELLED: "Deleting",
    Phase.PROPOSED: "Proposed",
    Phase.PAUSED: "Paused",
    Phase.MOVING: "Moving",
}
"""Of phases in which the reason of Ready is about what is still to come."""
_OF_MOVES: Final = frozenset({"MoveProposed", "MoveRejected", "MoveHeld"})
"""What people are asked, or have said, of moving a job whose phase stays as it is."""
_WARNINGS: Final = frozenset({Phase.BLOCKED, Phase.FAILED, Phase.REJECTED})


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that an event is recorded of."""

    reason: str
    message: str
    is_warning: bool


def transition_of(old: JobStatus, new: JobStatus) -> Transition | None:
    """What of a change of status is worth an event: a new phase, or a new reason for being stuck."""
    if (asked := _reason(new, "Running")) in _OF_MOVES and asked != _reason(old, "Running"):
        return Transition(asked, new.summary, is_warning=False)
    before, after = _reason(old, "Ready"), _reason(new, "Ready")
    if old.phase is new.phase and (before == after or new.phase not in _WARNINGS):
        return None
    if old.phase is Phase.PAUSED and new.phase is Phase.RUNNING:
        return Transition("Resumed", new.summary or "goes on after a pause", is_warning=False)
    reason = _REASONS.get(new.phase) or after or new.phase.value
    return Transition(reason, _message(new), new.phase in _WARNINGS)


def _message(new: JobStatus) -> str:
    """The summary; but of a commit, which follows the decision's own event, where it is."""
    committed = next((c.message for c in new.conditions if c.type == "Committed" and c.status == "True"), "")
    message = committed if new.phase is Phase.COMMITTED else new.summary
    return message or new.phase.value


def _reason(status: JobStatus, kind: str) -> str:
    return next((c.reason for c in status.conditions if c.type == kind), "")


@dataclass(frozen=True, slots=True)
class About:
    """What an event is about."""

    kind: str
    body: Object
    seed: str
    """Events of one seed and reason are one, which is counted up."""

    @property
    def namespace(self) -> str:
        """Where the event lives; of what has no namespace, where kubectl looks."""
        return str(self.body["metadata"].get("namespace") or "default")


class EventRecorder:
    """Posts events in the background: they are for people, and no status waits for them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._thread = ThreadPoolExecutor(1, "events")
        self._slots = threading.BoundedSemaphore(MOST_WAITING)

    def record(self, state: JobState, transition: Transition, now: datetime) -> None:
        """Post it soon; when too many wait already, it is left out."""
        seed = f"{state.uid}/{state.body['metadata'].get('generation')}/{state.last_attempt}"
        self._soon(About("CarbonTrainingJob", state.body, seed), transition, now)

    def record_spoke(self, body: Object, transition: Transition, now: datetime) -> None:
        """Post what happened to a SpokeCluster."""
        self._soon(About("SpokeCluster", body, body["metadata"]["uid"]), transition, now)

    def record_schedule(self, body: Object, run: str, transition: Transition, now: datetime) -> None:
        """Post what happened to a run of a CarbonTrainingSchedule."""
        self._soon(About("CarbonTrainingSchedule", body, f"{body['metadata']['uid']}/{run}"), transition, now)

    def _soon(self, about: About, transition: Transition, now: datetime) -> None:
        if self._slots.acquire(blocking=False):
            self._thread.submit(self._post, about, transition, now)

    def _post(self, about: About, transition: Transition, now: datetime) -> None:
        try:
            with only(f"the event {transition.reason} of {about.kind} {about.seed} was not written"):
                post_event(self._kube, about, transition, now)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Post no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def post_event(kube: Kube, about: About, transition: Transition, now: datetime) -> None:
    """Post the event; one of the same seed and reason is counted up. Raises KubeError."""
    digest = hashlib.sha256(f"{about.seed}/{transition.reason}".encode()).hexdigest()
    name = f"{about.body['metadata']['name']}.{digest[:16]}"
    where = path("api/v1", "events", about.namespace)
    try:
        kube.create(where, _event(about, transition, name, now))
    except KubeError as error:
        if not error.is_conflict:
            raise
        known = kube.get(f"{where}/{name}")
        again = {
            "count": int(known.get("count") or 1) + 1,
            "lastTimestamp": format_time(now),
            "message": transition.message,
        }
        kube.patch(f"{where}/{name}", again)


def _event(about: About, transition: Transition, name: str, now: datetime) -> Object:
    metadata = about.body["metadata"]
    known = ("name", "namespace", "uid", "resourceVersion")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": about.kind,
            **{field: metadata[field] for field in known if field in metadata},
        },
        "reason": transition.reason,
        "message": transition.message[:1024],
        "type": "Warning" if transition.is_warning else "Normal",
        "source": {"component": "carbonfleet-hub"},
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
    }
