"""Events on a job's transitions: what `kubectl describe` shows at its end."""

import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.job_status import JobStatus, Phase
from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.hub.observe.job_state import JobView
from carbonfleet.kube import Kube, KubeError, Object, path

_log = logging.getLogger(__name__)
MOST_UNTOLD: Final = 2000
"""Events that wait to be posted."""
_TOLD_AS: Final = {
    Phase.COMMITTED: "Committed",
    Phase.RUNNING: "Running",
    Phase.CANCELLED: "Deleting",
    Phase.PROPOSED: "Proposed",
    Phase.PAUSED: "Paused",
    Phase.MOVING: "Moving",
}
"""Where the roll-up's reason would tell of what is still to come."""
_OF_MOVES: Final = frozenset({"MoveProposed", "MoveRejected", "MoveHeld"})
"""What people are asked, or have said, of moving a job whose phase stays as it is."""
_WARNINGS: Final = frozenset({Phase.BLOCKED, Phase.FAILED, Phase.REJECTED})


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition, to be told once."""

    reason: str
    message: str
    is_warning: bool


def happening(old: JobStatus, new: JobStatus) -> Happening | None:
    """What is worth telling about a change of status: a new phase, or a new reason for being stuck."""
    if (asked := _reason(new, "Running")) in _OF_MOVES and asked != _reason(old, "Running"):
        return Happening(asked, new.summary, is_warning=False)
    before, after = _reason(old, "Ready"), _reason(new, "Ready")
    if old.phase is new.phase and (before == after or new.phase not in _WARNINGS):
        return None
    if old.phase is Phase.PAUSED and new.phase is Phase.RUNNING:
        return Happening("Resumed", new.summary or "goes on after a pause", is_warning=False)
    reason = _TOLD_AS.get(new.phase) or after or new.phase.value
    return Happening(reason, _message(new), new.phase in _WARNINGS)


def _message(new: JobStatus) -> str:
    """The summary; but of a commit, which follows the decision's own event, where it is."""
    committed = next((c.message for c in new.conditions if c.type == "Committed" and c.status == "True"), "")
    told = committed if new.phase is Phase.COMMITTED else new.summary
    return told or new.phase.value


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


class Teller:
    """Posts events in the background: they are for people, and no status waits for them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._thread = ThreadPoolExecutor(1, "events")
        self._room = threading.BoundedSemaphore(MOST_UNTOLD)

    def tell(self, view: JobView, what: Happening, now: datetime) -> None:
        """Post it soon; when too many wait already, it is left out."""
        seed = f"{view.uid}/{view.body['metadata'].get('generation')}/{view.last_attempt}"
        self._soon(About("CarbonTrainingJob", view.body, seed), what, now)

    def tell_of_spoke(self, body: Object, what: Happening, now: datetime) -> None:
        """Post what happened to a SpokeCluster."""
        self._soon(About("SpokeCluster", body, body["metadata"]["uid"]), what, now)

    def _soon(self, about: About, what: Happening, now: datetime) -> None:
        if self._room.acquire(blocking=False):
            self._thread.submit(self._tell, about, what, now)

    def _tell(self, about: About, what: Happening, now: datetime) -> None:
        try:
            tell(self._kube, about, what, now)
        except KubeError as error:
            name = about.body["metadata"]["name"]
            _log.warning("the event %s of %s was not written: %s", what.reason, name, error)
        finally:
            self._room.release()

    def close(self) -> None:
        """Tell no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def tell(kube: Kube, about: About, what: Happening, now: datetime) -> None:
    """Post the event; one that was told already of the same is counted up. Raises KubeError."""
    name = f"{about.body['metadata']['name']}.{hashlib.sha256(f'{about.seed}/{what.reason}'.encode()).hexdigest()[:16]}"
    where = path("api/v1", "events", about.namespace)
    try:
        kube.create(where, _event(about, what, name, now))
    except KubeError as error:
        if not error.is_conflict:
            raise
        known = kube.get(f"{where}/{name}")
        again = {
            "count": int(known.get("count") or 1) + 1,
            "lastTimestamp": format_time(now),
            "message": what.message,
        }
        kube.patch(f"{where}/{name}", again)


def _event(about: About, what: Happening, name: str, now: datetime) -> Object:
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
        "reason": what.reason,
        "message": what.message[:1024],
        "type": "Warning" if what.is_warning else "Normal",
        "source": {"component": "carbonfleet-hub"},
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
    }
