"""One hub at a time: a Lease elects it, and the others stand ready."""

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from carbonfleet.kube import Kube, KubeError, Object, path

NAME: Final = "carbonfleet-hub"
LEASE: Final = timedelta(seconds=15)
"""client-go's usual length."""
_API: Final = "apis/coordination.k8s.io/v1"


class Election:
    """Takes and keeps the Lease `carbonfleet-hub`.

    Leases guard processes, so they run on real time whatever the house's clock says. As in client-go, a
    holder counts as gone when its Lease did not change for its whole length by *our* watch, so clocks of
    two machines need not agree.
    """

    def __init__(self, kube: Kube, namespace: str, identity: str = "", lease: timedelta = LEASE) -> None:
        self._kube = kube
        self._collection = path(_API, "leases", namespace)
        self._where = path(_API, "leases", namespace, NAME)
        self.identity = identity or f"{socket.gethostname()}-{os.getpid()}"
        self._seconds = lease.total_seconds()
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed = 0.0
        self._holder = ""

    def wait(self, stop: threading.Event, on_try: Callable[[], None]) -> bool:
        """Wait until this process leads; False when `stop` was set first. Each try calls `on_try`."""
        while not stop.is_set():
            on_try()
            with contextlib.suppress(KubeError):
                if self._try():
                    return True
            stop.wait(self._seconds * random.uniform(0.07, 0.13))  # noqa: S311 - jitter
        return False

    def keep(self, stop: threading.Event) -> None:
        """Renew until `stop` is set or the Lease is lost; returns either way."""
        while not stop.wait(self._seconds * random.uniform(0.2, 0.27)):  # noqa: S311 - jitter
            with contextlib.suppress(KubeError):
                self._try()
            if self._holder != self.identity or time.monotonic() - self._renewed > self._seconds * 0.8:
                return

    def release(self) -> None:
        """Give the Lease up, so that the next hub need not wait for it to run out."""
        with contextlib.suppress(KubeError):
            lease = self._kube.get(self._where)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"]["holderIdentity"] = ""
                self._kube.replace(self._where, lease)

    def _try(self) -> bool:
        try:
            lease = self._kube.get(self._where)
        except KubeError as error:
            if not error.is_gone:
                raise
            lease = {"metadata": {"name": NAME}, "spec": {}}
        self._holder = lease["spec"].get("holderIdentity") or self.identity
        if not self._free(lease):
            return False
        began = time.monotonic()
        try:
            self._write(lease)
        except KubeError as error:
            if error.is_conflict:
                return False
            raise
        self._renewed, self._holder = began, self.identity
        return True

    def _free(self, lease: Object) -> bool:
        holder = lease["spec"].get("holderIdentity") or ""
        if holder in ("", self.identity):
            return True
        version = str(lease["metadata"].get("resourceVersion"))
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] > self._seconds

    def _write(self, lease: Object) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = lease["spec"].get("holderIdentity") != self.identity
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
            self._kube.replace(self._where, lease)
        else:
            self._kube.create(self._collection, lease)
