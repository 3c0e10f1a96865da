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
from carbonfleet.hub.view import JobView
from carbonfleet.kube import Kube, KubeError, Object, path

_log = logging.getLogger(__name__)
MOST_UNTOLD: Final = 2000
"""Events that wait to be posted."""
_TOLD_AS: Final = {
    Phase.COMMITTED: "Committed",
    Phase.RUNNING: "Running",
    Phase.CANCELLED: "Deleting",
    Phase.PROPOSED: "Proposed",
}
"""Where the roll-up's reason would tell of what is still to come."""
_WARNINGS: Final = frozenset({Phase.BLOCKED, Phase.FAILED, Phase.REJECTED})


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition, to be told once."""

    reason: str
    message: str
    is_warning: bool


def happening(old: JobStatus, new: JobStatus) -> Happening | None:
    """What is worth telling about a change of status: a new phase, or a new reason for being stuck."""
    before, after = _ready_reason(old), _ready_reason(new)
    if old.phase is new.phase and (before == after or new.phase not in _WARNINGS):
        return None
    reason = _TOLD_AS.get(new.phase) or after or new.phase.value
    return Happening(reason, new.summary or new.phase.value, new.phase in _WARNINGS)


def _ready_reason(status: JobStatus) -> str:
    return next((c.reason for c in status.conditions if c.type == "Ready"), "")


class Teller:
    """Posts events in the background: they are for people, and no status waits for them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._thread = ThreadPoolExecutor(1, "events")
        self._room = threading.BoundedSemaphore(MOST_UNTOLD)

    def tell(self, view: JobView, what: Happening, now: datetime) -> None:
        """Post it soon; when too many wait already, it is left out."""
        if self._room.acquire(blocking=False):
            self._thread.submit(self._tell, view, what, now)

    def _tell(self, view: JobView, what: Happening, now: datetime) -> None:
        try:
            tell(self._kube, view, what, now)
        except KubeError as error:
            _log.warning("the event %s of %s was not written: %s", what.reason, view.key, error)
        finally:
            self._room.release()

    def close(self) -> None:
        """Tell no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def tell(kube: Kube, view: JobView, what: Happening, now: datetime) -> None:
    """Post the event; one that was told already in this generation is counted up. Raises KubeError."""
    metadata = view.body["metadata"]
    seed = f"{view.uid}/{metadata.get('generation')}/{view.last_attempt}/{what.reason}"
    name = f"{metadata['name']}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
    where = path("api/v1", "events", metadata["namespace"])
    try:
        kube.create(where, _event(view, what, name, now))
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


def _event(view: JobView, what: Happening, name: str, now: datetime) -> Object:
    metadata = view.body["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "CarbonTrainingJob",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": view.uid,
            "resourceVersion": metadata["resourceVersion"],
        },
        "reason": what.reason,
        "message": what.message[:1024],
        "type": "Warning" if what.is_warning else "Normal",
        "source": {"component": "carbonfleet-hub"},
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
    }
