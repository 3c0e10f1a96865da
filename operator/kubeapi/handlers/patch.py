"""Patch an object, or apply a configuration on the server."""

from collections.abc import Callable
from typing import Final

from kubeapi.call import Call
from kubeapi.errors import ApiError, bad_request, unsupported_media
from kubeapi.handlers.body import media_type, read_body
from kubeapi.handlers.checks import check_address, writer_of
from kubeapi.handlers.create import create
from kubeapi.handlers.update import update, write_scale
from kubeapi.managedfields import apply
from kubeapi.objects import Json, Obj, copied
from kubeapi.patch import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_patch,
)
from kubeapi.schema import prune
from kubeapi.service import Service

_PATCHES: Final[dict[str, Callable[[Obj, Json], Json]]] = {
    JSON_PATCH: apply_json_patch,
    MERGE_PATCH: apply_merge_patch,
    STRATEGIC_PATCH: apply_strategic_patch,
}


async def patch(service: Service, call: Call, body: bytes, content_type: str) -> tuple[int, Obj]:
    """The HTTP code and the changed object, which an apply may have made. Raises 415 for a format not taken."""
    media = media_type(content_type)
    accepted = [JSON_PATCH, MERGE_PATCH, *(() if call.resource.custom else (STRATEGIC_PATCH,)), APPLY_PATCH]
    if media not in accepted:
        raise unsupported_media(accepted)
    change = read_body(body, media)
    if media != JSON_PATCH and not isinstance(change, dict):
        raise bad_request("the patch must be an object")
    if media == APPLY_PATCH:
        return await _apply(service, call, change)
    if call.target.subresource == "scale":
        return 200, await write_scale(service, call, lambda scale: _PATCHES[media](scale, change))
    return 200, await update(service, call, lambda live: _PATCHES[media](live, change))


async def _apply(service: Service, call: Call, config: Obj) -> tuple[int, Obj]:
    """Server-side apply: create the object, or merge the fields that the applier names."""
    if not call.query.get("fieldManager"):
        text = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        raise bad_request(text)
    _check_config(call, config)
    resource = call.resource

    def applied(live: Obj | None) -> Obj:
        force, reset = call.flag("force"), _fields_not_written(call)
        return apply(resource.fields, live, copied(config), writer_of(call), force=force, reset=reset)

    if service.store.get(resource.storage, call.key) is not None:
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        return 200, await update(service, call, lambda live: applied(live) | head, applied=True)
    if call.target.subresource:
        raise call.not_found()
    service.authorizer.demand(call, "create")
    return 201, await create(service, call, applied(None), applied=True)


def _check_config(call: Call, config: Obj) -> None:
    resource = call.resource
    if check_address(call, config).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    unknown = prune(resource.node, config, root=True)
    if unknown and call.field_validation == "Strict":
        name = f"{call.target.namespace}/{call.target.name}; {resource.api_version}, Kind={resource.kind}"
        texts = ", ".join(f".{path}: field not declared in schema" for path in unknown)
        raise ApiError(500, "InternalError", f"failed to create typed patch object ({name}): {texts}")
    if unknown and call.field_validation == "Warn":
        call.warnings.extend(f'unknown field "{path}"' for path in unknown)


def _fields_not_written(call: Call) -> tuple[str, ...]:
    if call.target.subresource == "status":
        return tuple({*call.resource.node.properties, "spec", "metadata"} - {"status"})
    return ("status",) if call.resource.has_status else ()
