"""The hub's copy of what the Kubernetes API holds, kept by watches and re-read in full now and then."""

import logging
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Final

import kopf

from carbonfleet.kube import Kube, KubeError, Object, ours, path

JOBS: Final = "carbontrainingjobs"
SPOKES: Final = "spokeclusters"
REPORTS: Final = "trainingreports"
SCHEDULES: Final = "carbontrainingschedules"
_log = logging.getLogger(__name__)
KINDS: Final = (JOBS, SPOKES, REPORTS, SCHEDULES)
_OF_PEOPLE: Final = frozenset({JOBS, SCHEDULES})
"""What people make, each in a namespace that one hub decides in."""
_ADDRESS: Final = ("name", "namespace", "uid", "resourceVersion")
_LONGEST_SHARED: Final = 64
"""Characters of a text that may well stand in other objects."""
_NOT_HEARD: Final = frozenset({"Unreachable", "NeverJoined"})
"""Reasons of a spoke that is not ready: a heartbeat of such a one is news."""


class Mirror:
    """Objects by kind and uid, safe to use from the watch's thread and the cycle's.

    `changed` is set by every change that came from outside, to wake the cycle; `asked` by those that people
    made to jobs and schedules, which are not kept waiting.
    """

    def __init__(self, namespaces: Collection[str] = (), installation: str = "") -> None:
        """Of what people make that in `namespaces` is kept, all where none are named; `installation` is the hub's."""
        self.namespaces, self._installation = frozenset(namespaces), installation
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self.changed, self.asked = threading.Event(), threading.Event()
        self.synced = False
        self.hub_uid = ""
        """The hub's, by the UID of its cluster's namespace kube-system: what bears another in Git is another hub's."""

    def put(self, kind: str, body: Object) -> None:
        """Keep what a watch brought, unless it is here already or a newer version is."""
        if not self._is_ours(kind, body):
            return
        with self._lock:
            known = self._objects[kind].get(_uid(body))
            if known is not None and _version(known) >= _version(body):
                return
            self._objects[kind][_uid(body)] = body = _kept(kind, body, known)
        if known is None or _MATTERS[kind](known) != _MATTERS[kind](body):
            self._tell(kind)

    def refresh(self, kind: str, body: Object) -> None:
        """Keep the API's answer to a write of our own: no reason to wake, nor to revive what was deleted."""
        with self._lock:
            known = self._objects[kind].get(_uid(body))
            if known is not None and _version(known) < _version(body):
                self._objects[kind][_uid(body)] = _kept(kind, body, known)

    def drop(self, kind: str, body: Object) -> None:
        """Forget an object that was deleted."""
        with self._lock:
            self._objects[kind].pop(_uid(body), None)
        if self._is_ours(kind, body):
            self._tell(kind)

    def _is_ours(self, kind: str, body: Object) -> bool:
        return kind not in _OF_PEOPLE or self.decides_in(str(body["metadata"].get("namespace") or ""))

    def decides_in(self, namespace: str) -> bool:
        """Whether jobs of a namespace are this hub's to decide on."""
        return not self.namespaces or namespace in self.namespaces

    def _tell(self, kind: str) -> None:
        self.changed.set()
        if kind in _OF_PEOPLE:
            self.asked.set()

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind, as a list of its own."""
        with self._lock:
            return list(self._objects[kind].values())

    def uids(self, kind: str) -> frozenset[str]:
        """Of every object of a kind."""
        with self._lock:
            return frozenset(self._objects[kind])

    def resync(self, kube: Kube) -> None:
        """Read everything again; what the API no longer has is forgotten. Raises KubeError."""
        self.hub_uid = self.hub_uid or self._uid_in(_cluster_uid(kube))
        for kind in KINDS:
            items, version = _listed(kube, kind)
            self._replace(kind, items, int(version or 0))
        self.synced = True

    def _uid_in(self, cluster_uid: str) -> str:
        """One of several hubs of a cluster is told from the others by the namespace that it is installed in."""
        if not self.namespaces or not cluster_uid:
            return cluster_uid
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster_uid}/{self._installation}"))

    def _replace(self, kind: str, items: Iterable[Object], listed_at: int) -> None:
        listed = {_uid(item): _kept(kind, item) for item in items if self._is_ours(kind, item)}
        with self._lock:
            known = self._objects[kind]
            newer = {uid: body for uid, body in known.items() if _version(body) > listed_at}
            same = {uid: known[uid] for uid, body in listed.items() if uid in known and _is_same(known[uid], body)}
            self._objects[kind] = listed | same | newer  # what is the same stays, so that nothing of it is read anew


def _listed(kube: Kube, kind: str) -> tuple[list[Object], str]:
    """All objects of a kind; no schedules where their definition, or the right to them, lacks. Raises KubeError."""
    try:
        return kube.list(ours(kind))
    except KubeError as error:
        if kind != SCHEDULES or error.status not in (403, 404):
            raise
        _log.warning("no jobs are made by schedule until this release's manifests are applied: %s", error)
        return [], "0"


def _cluster_uid(kube: Kube) -> str:
    """The UID of the namespace kube-system, which tells one cluster from another; empty where it can't be read.

    Raises KubeError when the API is away.
    """
    try:
        return str(kube.get(path("api/v1", "namespaces", name="kube-system"))["metadata"]["uid"])
    except KubeError as error:
        if not error.is_about_one_object:
            raise
        _log.warning(
            "placements whose jobs are gone are not removed from Git, since we can't tell them ours: %s", error
        )
        return ""


def _kept(kind: str, body: Object, known: Object | None = None) -> Object:
    """An object as the hub reads it, without `managedFields`, which take more memory than the rest of a job.

    Of a report's metadata only its address: a spoke can write much into the rest. A spec that is as it was in `known`
    is that very one, and words that many objects share are held once.
    """
    metadata = body["metadata"]
    wanted = _ADDRESS if kind == REPORTS else metadata.keys() - {"managedFields"}
    kept = body | {"metadata": {key: metadata[key] for key in wanted if key in metadata}}
    if kind != JOBS:
        return kept
    if known is not None and known.get("spec") == kept.get("spec"):
        kept["spec"] = known.get("spec")
    return {sys.intern(key): value if key == "spec" and known else _shared(value) for key, value in kept.items()}


def _shared(value: object) -> object:
    """The same JSON, whose keys and short texts are held once however many objects have them."""
    match value:
        case dict():
            return {sys.intern(key): _shared(inner) for key, inner in value.items()}
        case list():
            return [_shared(inner) for inner in value]
        case str() if len(value) <= _LONGEST_SHARED:
            return sys.intern(value)
    return value


def _what_people_write(body: Object) -> object:
    metadata = body["metadata"]
    return metadata.get("generation"), metadata.get("deletionTimestamp"), metadata.get("annotations")


_WHO: Final = ("holderIdentity", "rivalIdentity")


def _what_a_spoke_offers(body: Object) -> object:
    status = body.get("status") or {}
    conditions = status.get("conditions") or ()
    is_silent = any(each.get("type") == "Ready" and each.get("reason") in _NOT_HEARD for each in conditions)
    offered = [status.get(key) for key in ("pools", "syncedCommit", "problems", "conditions", *_WHO)]
    return body.get("spec"), offered, status.get("heartbeatTime") if is_silent else None


_MATTERS: Final[dict[str, Callable[[Object], object]]] = {
    JOBS: _what_people_write,
    SPOKES: _what_a_spoke_offers,
    REPORTS: lambda body: body.get("spec"),
    SCHEDULES: _what_people_write,
}
"""What of an object wakes the cycle: not the hub's own status, nor a heartbeat that was expected."""


def _is_same(known: Object, body: Object) -> bool:
    """The API gives each change of an object another version."""
    return _version(body) > 0 and _version(known) == _version(body)


def _uid(body: Object) -> str:
    return str(body["metadata"]["uid"])


def _version(body: Object) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)


def on_watch_event(mirror: Mirror, kind: str) -> Callable[..., Coroutine[None, None, None]]:
    """A handler that writes a watch's events into the mirror: a coroutine, since Kopf gives others a thread each."""

    async def handle(event: kopf.RawEvent, **_: object) -> None:
        body = dict(event["object"])
        if event.get("type") == "DELETED":
            mirror.drop(kind, body)
        else:
            mirror.put(kind, body)

    return handle


class NoDiffs(kopf.DiffBaseStorage):
    """Kopf copies each object at each event to find what changed in it; only `on.event` handlers run here."""

    def build(self, **_: object) -> kopf.BodyEssence:
        """Nothing to compare."""
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        """Nothing was kept."""

    def store(self, **_: object) -> None:
        """Nothing is kept."""
