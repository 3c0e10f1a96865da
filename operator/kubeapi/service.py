"""The API without its HTTP: store, kinds, rights, writes and reads, put together."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubeapi import kinds
from kubeapi.calls import User
from kubeapi.clock import Clock
from kubeapi.deletes import Deletes
from kubeapi.garbage import Collector
from kubeapi.impersonation import impersonated
from kubeapi.journal import Key, Kind
from kubeapi.rbac import Authorizer
from kubeapi.reads import Reads
from kubeapi.resources import Registry
from kubeapi.settings import ApiSettings
from kubeapi.store import Observer, Store, Stored
from kubeapi.tokens import Tokens
from kubeapi.values import Obj, timestamp
from kubeapi.webhooks import Admission
from kubeapi.writes import Writes

_FIRST_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a request needs."""

    store: Store
    registry: Registry
    authorizer: Authorizer
    tokens: Tokens
    reads: Reads
    writes: Writes
    deletes: Deletes
    admission: Admission
    collector: Collector
    clock: Clock

    def user_of(self, headers: Mapping[str, str]) -> User | None:
        """Whom the request's bearer token stands for; None where it stands for nobody."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        user = self.tokens.user_of(token.strip(), self.clock.now()) if scheme.lower() == "bearer" else None
        if user is not None and headers.get("Impersonate-User"):
            return impersonated(self.authorizer, user, headers["Impersonate-User"])
        return user


def open_service(settings: ApiSettings, clock: Clock) -> Service:
    """Load the stored objects and make the namespaces that every cluster has. Needs a running event loop."""
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(_private(settings.state / "objects.sqlite"), settings.watch_log_events)
    registry = Registry()
    for stored in store.collection(kinds.CRD).items.values():
        registry.register(stored.obj)
    authorizer = Authorizer(store)
    admission = Admission(store, authorizer)
    deletes = Deletes(store, admission.review)
    collector = Collector(store, deletes, clock)
    store.observers += [_crd_observer(registry), authorizer.observe, collector.observe]
    service = Service(
        store=store,
        registry=registry,
        authorizer=authorizer,
        tokens=Tokens(store, settings.tokens),
        reads=Reads(store),
        writes=Writes(store, admission.review),
        deletes=deletes,
        admission=admission,
        collector=collector,
        clock=clock,
    )
    _make_first_namespaces(service)
    return service


def _private(path: Path) -> Path:
    """The database holds secrets: make it readable by its owner only before anything is written."""
    path.touch(mode=0o600, exist_ok=True)
    return path


def _crd_observer(registry: Registry) -> Observer:
    def observe(kind: Kind, key: Key, before: Stored | None, after: Stored | None) -> None:
        if kind != kinds.CRD:
            return
        if after is None and before is not None:
            registry.unregister(before.obj)
        elif after is not None and (before is None or before.obj["spec"] != after.obj["spec"]):
            registry.register(after.obj)

    return observe


def _make_first_namespaces(service: Service) -> None:
    for name in _FIRST_NAMESPACES:
        if service.store.get(kinds.NAMESPACE, ("", name)) is None:
            service.store.put(kinds.NAMESPACE, ("", name), _namespace(name, service.clock))


def _namespace(name: str, clock: Clock) -> Obj:
    meta = {
        "name": name,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": timestamp(clock.now()),
        "labels": {"kubernetes.io/metadata.name": name},
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": meta,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
