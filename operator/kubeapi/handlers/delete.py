"""Delete one object, or a collection of them."""

from dataclasses import dataclass, replace
from typing import Final

from kubeapi.call import Call
from kubeapi.errors import ApiError, bad_request, forbidden
from kubeapi.garbage import begin_deletion
from kubeapi.handlers.read import get, select
from kubeapi.handlers.table import Shape
from kubeapi.objects import Json, Obj
from kubeapi.registry import NAMESPACE, to_served
from kubeapi.service import Service

_POLICIES: Final = ("Background", "Foreground", "Orphan")
_PERMANENT: Final = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a client says about a deletion."""

    policy: str = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def read(cls, call: Call, body: Json) -> "DeleteOptions":
        """Options from the body and the query. Raises 400 for a policy that does not exist."""
        body = body if isinstance(body, dict) else {}
        policy = call.query.get("propagationPolicy") or body.get("propagationPolicy") or ""
        if not policy and body.get("orphanDependents") is not None:
            policy = "Orphan" if body["orphanDependents"] else "Background"
        if policy and policy not in _POLICIES:
            known = ", ".join(_POLICIES)
            raise bad_request(f"invalid DeleteOptions: propagationPolicy: {policy!r} is not one of {known}")
        wanted = body.get("preconditions") or {}
        dry = call.dry_run or body.get("dryRun") == ["All"]
        return cls(policy or "Background", wanted.get("uid") or "", wanted.get("resourceVersion") or "", dry)


async def delete(service: Service, call: Call, options: DeleteOptions) -> Obj:
    """Delete one object: a Status where it is gone, the object itself where finalizers hold it."""
    resource = call.resource
    obj = get(service.store, call)
    _check(call, obj, options)
    await service.admission.review(call, "DELETE", None, obj)
    obj = get(service.store, call)
    _check(call, obj, options)
    if not options.dry_run:
        left, done = begin_deletion(service.store, resource.storage, call.key, options.policy, call.now)
        await done
        if left is not None:
            return to_served(resource, left)
    details = {
        "name": call.target.name, "group": resource.group, "kind": resource.plural, "uid": obj["metadata"]["uid"],
    }  # fmt: skip
    details = {key: value for key, value in details.items() if value}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _check(call: Call, obj: Obj, options: DeleteOptions) -> None:
    if call.resource.storage == NAMESPACE and call.target.name in _PERMANENT:
        raise forbidden("", "namespaces", call.target.name, "this namespace may not be deleted")
    wanted = {"UID": options.uid, "ResourceVersion": options.resource_version}
    found = {"UID": obj["metadata"]["uid"], "ResourceVersion": obj["metadata"]["resourceVersion"]}
    for label in wanted:
        if wanted[label] and wanted[label] != found[label]:
            why = f"{label} in precondition: {wanted[label]}, {label} in object meta: {found[label]}"
            raise call.conflict(f"Precondition failed: {why}")


async def delete_collection(service: Service, call: Call, options: DeleteOptions, shape: Shape) -> Obj:
    """Delete every object that the call is limited to; the list of them as they were."""
    deleted = select(service.store, call)
    for obj in deleted:
        meta = obj["metadata"]
        target = replace(call.target, namespace=meta.get("namespace", ""), name=meta["name"])
        try:
            one = replace(call, verb="delete", target=target)
            await delete(service, one, DeleteOptions(options.policy, dry_run=options.dry_run))
        except ApiError as error:
            if error.code != 404:
                raise
    return shape.listed(call.resource, deleted, call.now, {"resourceVersion": str(service.store.version)})
