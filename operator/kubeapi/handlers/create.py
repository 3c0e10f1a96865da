"""Create an object."""

import random
import uuid
from typing import Final

from kubeapi.call import Call
from kubeapi.errors import already_exists, bad_request, forbidden, not_found
from kubeapi.handlers.checks import check, check_address, clean, writer_of
from kubeapi.managedfields import record_create
from kubeapi.objects import Obj, timestamp
from kubeapi.registry import NAMESPACE, QUOTA, SERVER_GIVEN, complete, to_served, to_stored
from kubeapi.service import Service
from kubeapi.storage import Store

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


async def create(service: Service, call: Call, obj: Obj, *, applied: bool = False) -> Obj:
    """The new object, once it is on disk. `applied` says that server-side apply has set its managedFields."""
    resource, namespace = call.resource, call.target.namespace
    meta = check_address(call, obj)
    if (meta.get("namespace") or namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        meta["namespace"] = namespace
    if meta.get("generateName") and not meta.get("name"):
        meta["name"] = meta["generateName"][:248] + "".join(random.choices(_ALPHABET, k=5))  # noqa: S311
    clean(call, obj)
    _stamp(call, obj, keep_fields=applied)
    complete(resource, obj, None, call.now)
    check(resource, obj, None)
    if not applied:
        record_create(resource.fields, obj, writer_of(call))
    admitted = await service.admission.review(call, "CREATE", obj, None)
    if admitted is not None and admitted is not obj:
        obj = admitted
        clean(call, obj)
        check(resource, obj, None)
    _check_namespace(service.store, call)
    _check_quotas(service.store, call, obj)
    key = (namespace, obj["metadata"]["name"])
    if service.store.get(resource.storage, key) is not None:
        raise already_exists(resource.group, resource.plural, key[1])
    if call.dry_run:
        return obj
    stored = to_stored(resource, obj)
    await service.store.put(resource.storage, key, stored)
    return to_served(resource, stored)


def _stamp(call: Call, obj: Obj, *, keep_fields: bool) -> None:
    """Give a new object what only the server may give."""
    meta, resource = obj["metadata"], call.resource
    for name in (*SERVER_GIVEN, *(() if keep_fields else ("managedFields",))):
        meta.pop(name, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = timestamp(call.now)
    if resource.counts_generation:
        meta["generation"] = 1
    if resource.custom and resource.has_status:
        obj.pop("status", None)


def _check_quotas(store: Store, call: Call, obj: Obj) -> None:
    """Of a ResourceQuota, the counts of objects (`count/<plural>.<group>`); nothing else of it is looked at."""
    namespace, resource = call.target.namespace, call.resource
    counted = f"count/{resource.plural}.{resource.group}".rstrip(".")
    for (place, name), quota in store.collection(QUOTA).items.items():
        most = ((quota.get("spec") or {}).get("hard") or {}).get(counted) if place == namespace else None
        if most is None:
            continue
        used = sum(key[0] == namespace for key in store.collection(resource.storage).items)
        if used >= int(most):
            why = f"exceeded quota: {name}, requested: {counted}=1, used: {counted}={used}, limited: {counted}={most}"
            raise forbidden(resource.group, resource.plural, obj["metadata"]["name"], why)


def _check_namespace(store: Store, call: Call) -> None:
    namespace = call.target.namespace
    if not namespace:
        return
    stored = store.get(NAMESPACE, ("", namespace))
    if stored is None:
        raise not_found("", "namespaces", namespace)
    if stored["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        error = forbidden(call.resource.group, call.resource.plural, call.target.name, why)
        text = f"namespace {namespace} is being terminated"
        error.details["causes"] = [{"reason": "NamespaceTerminating", "message": text, "field": "metadata.namespace"}]
        raise error
