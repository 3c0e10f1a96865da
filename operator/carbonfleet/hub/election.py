"""One hub at a time: a Lease elects it, and the others stand by."""

import logging
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from carbonfleet.api.wire import ANNOTATION
from carbonfleet.kube import Kube, KubeError, Object, path

_log = logging.getLogger(__name__)
NAME: Final = "carbonfleet-hub-leader"
"""As in `kustomize/base/hub/rbac.yaml`."""
LEASE: Final = timedelta(seconds=15)
"""client-go's usual length."""
REQUEST_SHARE: Final = 0.2
"""Of the Lease's length: how long a request for it may take."""
LEADING_SHARE: Final = 0.8
"""Of the Lease's length: how long a renewal lets this hub lead, from before it was asked for."""
ENDING_SHARE: Final = 0.9
"""Of the Lease's length: when, after the same moment, whatever was begun as leader must be over."""
TAKEN_ADVICE: Final = "give each hub namespaces of its own by --job-namespaces, or end one of them"
_LONG_GONE: Final = timedelta(minutes=30)
_API: Final = "apis/coordination.k8s.io/v1"


class LeaseReason(StrEnum):
    """Where a hub stands in the election."""

    STARTING = "Starting"
    LEADING = "Leading"
    STANDBY = "Standby"
    TAKEN = "NamespaceTaken"
    REFUSED = "LeaseRefused"
    UNREACHABLE = "LeaseUnreachable"
    FAILED = "LeaseFailed"


@dataclass(frozen=True, slots=True)
class LeaseState:
    """What came of the last request for the Lease, in a word and in a sentence."""

    reason: LeaseReason
    message: str
    detail: str = ""
    """What makes it another state though the reason is the same: a holder, or the API's answer."""

    @property
    def is_healthy(self) -> bool:
        """Leading, or waiting with good reason."""
        return self.reason in (LeaseReason.STARTING, LeaseReason.LEADING, LeaseReason.STANDBY)

    def is_as(self, other: "LeaseState") -> bool:
        """Whether there is nothing new to say: messages of one fault differ in times and addresses."""
        return (self.reason, self.detail) == (other.reason, other.detail)


class Election:
    """Takes and keeps the Lease `carbonfleet-hub-leader`.

    Leases guard processes, so they run on real time whatever the hub's clock says. As in client-go, a
    holder counts as gone when its Lease did not change for its whole length by *our* watch, so clocks of
    two machines need not agree. A holder leads for less than that length after it last asked for a renewal
    that was granted, so it has stopped before another may begin, whether its requests fail or hang.
    """

    def __init__(
        self, kube: Kube, namespace: str, identity: str = "", lease: timedelta = LEASE, claim: str = ""
    ) -> None:
        """`claim` are the namespaces whose jobs it decides on, as `team-a,team-b`, or `*`: it leads only while no
        other hub of the cluster, whose Lease lies in another namespace, claims one of them.
        """
        self._claim = claim
        self._seconds = lease.total_seconds()
        self._request_seconds = self._seconds * REQUEST_SHARE
        self._kube = kube.within(self._request_seconds)
        self._namespace = namespace
        self._collection = path(_API, "leases", namespace)
        self._where = path(_API, "leases", namespace, NAME)
        self.identity = identity or f"{socket.gethostname()}-{os.getpid()}"
        self.state = LeaseState(LeaseReason.STARTING, "the Lease has not been asked for yet")
        self._seen: dict[str, tuple[str, float]] = {}
        """By namespace of a Lease: its version, and since when we see it."""
        self._is_blind = False
        self._renewed = -math.inf
        self._renewing: threading.Thread | None = None

    @property
    def leads(self) -> bool:
        """Whether this hub may act as the leader; our watch alone says so, whatever a request does meanwhile."""
        return time.monotonic() < self._renewed + self._seconds * LEADING_SHARE

    @property
    def seconds_to_end(self) -> float:
        """Real seconds until whatever was begun as leader must be over; 0 when another may lead already."""
        return max(0.0, self._renewed + self._seconds * ENDING_SHARE - time.monotonic())

    def wait(self, stop: threading.Event, on_try: Callable[[], None]) -> bool:
        """Wait until this process leads; False when `stop` was set first. Each try calls `on_try`."""
        while not stop.is_set():
            on_try()
            if self._try():
                return True
            stop.wait(self._seconds * random.uniform(0.07, 0.13))  # noqa: S311 - jitter
        return False

    def keep(self, over: threading.Event) -> None:
        """Renew until `over` is set, or until this hub leads no more: then return at once, even if a request hangs."""
        self._renewing = threading.Thread(target=self._renew, args=(over,), name="lease-renewal", daemon=True)
        self._renewing.start()
        while self.leads and not over.wait(self._seconds * 0.02):
            pass

    def _renew(self, over: threading.Event) -> None:
        while self.leads and not over.wait(self._seconds * random.uniform(0.2, 0.27)):  # noqa: S311 - jitter
            self._try()

    def release(self) -> None:
        """Give the Lease up when `keep` is over, so that the next hub need not wait for it to run out."""
        if self._renewing is not None:
            self._renewing.join(3 * self._request_seconds)  # it would take the Lease again
        try:
            lease = self._kube.get(self._where)
            if _holder(lease) == self.identity:
                lease["spec"]["holderIdentity"] = ""
                self._kube.replace(self._where, lease)
        except KubeError as error:
            _log.warning("the Lease %s was not given up, and runs out in %.0f s: %s", NAME, self._seconds, error)
        self._renewed = -math.inf

    def _try(self) -> bool:
        """Take or renew the Lease; whether that was done. What came of it is the state."""
        try:
            lease = self._read()
            if not self._is_free(lease):
                self._renewed = -math.inf
                self._tell(LeaseState(LeaseReason.STANDBY, f"{_holder(lease)} leads", _holder(lease)))
                return False
            if self._stands_back():
                return False
            asked_at, is_new = time.monotonic(), not self.leads
            if _holder(written := self._write(lease)) != self.identity:
                raise ValueError("the API's answer is not the Lease that was written")
            if is_new and self._stands_back():  # both looked before either wrote: then both give way, and try again
                written["spec"]["holderIdentity"] = ""
                self._kube.replace(self._where, written)
                return False
        except Exception as error:  # noqa: BLE001 - whatever it is: a hub that can't be elected says so
            self._tell(self._failure(error))
            return False
        self._renewed = asked_at
        self._tell(LeaseState(LeaseReason.LEADING, f"as {self.identity}"))
        return True

    def _stands_back(self) -> bool:
        """Whether another hub of the cluster decides on jobs of the same namespaces, which is told."""
        if not self._claim or self.leads:
            return False
        try:
            others, _ = self._kube.list(path(_API, "leases"), fieldSelector=f"metadata.name={NAME}")
        except KubeError as error:
            if error.status != 403:
                raise
            if not self._is_blind:
                _log.warning("whether another hub decides on the same namespaces can't be told: %s", error)
            self._is_blind = True
            return False
        for lease in others:
            where = str(lease["metadata"].get("namespace"))
            both = shared_namespaces(self._claim, claim_of(lease))
            if where != self._namespace and both and not _is_long_gone(lease) and not self._is_free(lease):
                self._tell(LeaseState(LeaseReason.TAKEN, f"{taken(lease, both)}: {TAKEN_ADVICE}", where))
                return True
        return False

    def _tell(self, state: LeaseState) -> None:
        """Keep the state, and log it where it is new. That one leads is logged by whoever then does."""
        before, self.state = self.state, state
        if state.is_as(before) or (state.reason is LeaseReason.LEADING and before.is_healthy):
            return
        _log.log(logging.INFO if state.is_healthy else logging.WARNING, "%s: %s", state.reason, state.message)

    def _failure(self, error: Exception) -> LeaseState:
        where = f"the Lease {NAME} in {self._namespace}"
        if not isinstance(error, KubeError):
            detail = type(error).__name__
            return LeaseState(LeaseReason.FAILED, f"{where} can't be asked for: {detail}: {error}", detail)
        if error.status == 0:
            return LeaseState(LeaseReason.UNREACHABLE, f"{where} can't be asked for: {error}")
        advice = _ADVICE.get(error.status, "it is asked for again")
        detail = f"{error.status} {error.reason}"
        return LeaseState(LeaseReason.REFUSED, f"the API refuses {where}: {error}; {advice}", detail)

    def _read(self) -> Object:
        try:
            lease = self._kube.get(self._where)
        except KubeError as error:
            if not error.is_gone:
                raise
            lease = {"metadata": {"name": NAME}}
        lease["spec"] = lease.get("spec") or {}  # one that a person created may have none
        return lease

    def _is_free(self, lease: Object) -> bool:
        where = str(lease["metadata"].get("namespace") or self._namespace)
        if _holder(lease) == "" or (where == self._namespace and _holder(lease) == self.identity):
            return True
        version = str(lease["metadata"].get("resourceVersion"))
        if version != self._seen.get(where, ("", 0.0))[0]:
            self._seen[where] = (version, time.monotonic())
        its_own = lease["spec"].get("leaseDurationSeconds") if where != self._namespace else None
        return time.monotonic() - self._seen[where][1] > (its_own or self._seconds)

    def _write(self, lease: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = _holder(lease) != self.identity
        if self._claim:
            lease["metadata"].setdefault("annotations", {})[ANNOTATION.JOB_NAMESPACES.value] = self._claim
        lease |= {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        lease["spec"] |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now,
        }
        if changed:
            lease["spec"]["acquireTime"] = now
            lease["spec"]["leaseTransitions"] = int(lease["spec"].get("leaseTransitions") or 0) + 1
        if lease["metadata"].get("resourceVersion"):
            return self._kube.replace(self._where, lease)
        return self._kube.create(self._collection, lease)


_ADVICE: Final = {
    401: "give the hub a token or kubeconfig that the API takes",
    403: "give the hub's account the Role carbonfleet-hub-lease of kustomize/base/hub in that namespace",
    404: "create the namespace, or name with --namespace the one in which the hub's account may have a Lease",
    409: "another hub asked at the same time, and it is asked for again",
}


def claim_of(lease: Object) -> str:
    """The namespaces whose jobs the hub with this Lease decides on; empty where it does not say."""
    return str((lease["metadata"].get("annotations") or {}).get(ANNOTATION.JOB_NAMESPACES) or "")


def shared_namespaces(one: str, other: str) -> str:
    """The namespaces that two claims both name, as one claim: `*` is all, and what is empty is none."""
    if "*" in (one, other):
        return other if one == "*" else one
    return ",".join(sorted(set(one.split(",")) & set(other.split(",")) - {""}))


def taken(lease: Object, namespaces: str) -> str:
    """That another hub decides on some namespaces."""
    which = "all namespaces" if namespaces == "*" else f"jobs of {namespaces.replace(',', ', ')}"
    return f"the hub {_holder(lease)}, whose Lease lies in {lease['metadata'].get('namespace')}, decides on {which}"


def _is_long_gone(lease: Object) -> bool:
    """Whether its holder has not been there for so long that no clock can be wrong by as much."""
    try:
        renewed = datetime.fromisoformat(str(lease["spec"].get("renewTime")))
        return datetime.now(UTC) - renewed > _LONG_GONE
    except (ValueError, TypeError):
        return False


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
