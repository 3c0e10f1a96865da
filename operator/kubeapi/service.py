"""The API without its HTTP: store, kinds, rights, admission and garbage collection, put together."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubeapi.admission import Admission
from kubeapi.auth import AuditLog, Authorizer, Tokens, impersonated
from kubeapi.call import User
from kubeapi.garbage import Collector
from kubeapi.objects import timestamp
from kubeapi.registry import CRD, NAMESPACE, Registry, complete
from kubeapi.settings import ApiSettings, Clock
from kubeapi.storage import DELETED, Event, Listener, Store

_FIRST_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a request needs."""

    store: Store
    registry: Registry
    authorizer: Authorizer
    tokens: Tokens
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
    database = settings.state / "objects.sqlite"
    database.touch(mode=0o600, exist_ok=True)  # it holds secrets: its owner's only before anything is written
    store = Store(database, settings.watch_log_events)
    registry = Registry()
    for crd in store.collection(CRD).items.values():
        registry.register(crd)
    authorizer = Authorizer(store, AuditLog(settings.audit_log))
    collector = Collector(store, clock)
    store.observers += [_crd_observer(registry), collector.observe]
    tokens = Tokens(store, settings.tokens)
    _make_first_namespaces(store, registry, clock.now())
    return Service(store, registry, authorizer, tokens, Admission(store, authorizer), collector, clock)


def _crd_observer(registry: Registry) -> Listener:
    def observe(event: Event) -> None:
        if event.kind != CRD:
            return
        if event.type == DELETED:
            registry.unregister(event.obj)
        elif event.before is None or event.before["spec"] != event.obj["spec"]:
            registry.register(event.obj)

    return observe


def _make_first_namespaces(store: Store, registry: Registry, now: datetime) -> None:
    for name in _FIRST_NAMESPACES:
        if store.get(NAMESPACE, ("", name)) is None:
            meta = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": timestamp(now)}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
            complete(registry.find("", "v1", "namespaces"), namespace, None, now)
            store.put(NAMESPACE, ("", name), namespace)
