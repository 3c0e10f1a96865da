"""From a request for a resource to its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import yaml

from kubeapi import ownership, protobuf, questions
from kubeapi.calls import Call
from kubeapi.conversion import to_served
from kubeapi.deletes import DeleteOptions
from kubeapi.errors import (
    ApiError,
    FieldError,
    bad_request,
    invalid,
    method_not_allowed,
    not_found,
    unsupported_media,
)
from kubeapi.objectmeta import check_shape
from kubeapi.ownership import Writer
from kubeapi.patch import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_patch,
)
from kubeapi.pruning import prune
from kubeapi.reads import Shape
from kubeapi.service import Service
from kubeapi.table import make_table, partial_metadata
from kubeapi.values import Json, Obj, copied, decode, encode, timestamp

_PATCHES: Final[dict[str, Callable[[Obj, Json], Json]]] = {
    JSON_PATCH: apply_json_patch,
    MERGE_PATCH: apply_merge_patch,
    STRATEGIC_PATCH: apply_strategic_patch,
}


_YAML_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_YAML_VALUES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is complete."""

    code: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def read_body(body: bytes, content_type: str) -> Json:
    """The JSON value in a body of JSON, YAML or protobuf. Raises 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.read(body)
    try:
        if media in ("application/yaml", APPLY_PATCH) and body.lstrip()[:1] not in (b"{", b""):
            return copied(_bounded(yaml.load(body, _YAML_LOADER)))  # noqa: S506 - a safe loader, in C if possible
        if media in (
            "",
            "application/json",
            "application/yaml",
            "application/octet-stream",
            *_PATCHES,
            APPLY_PATCH,
        ):
            return decode(body) if body.strip() else None
    except (ValueError, yaml.YAMLError, RecursionError, TypeError) as error:
        what = str(error).splitlines()[0]
        raise bad_request(f"the object provided is unrecognized (must be of type JSON or YAML): {what}") from error
    raise unsupported_media(("application/json", "application/yaml", protobuf.MEDIA_TYPE))


def _bounded(value: Json) -> Json:
    """`value`, unless aliases make it far larger than its text (a "billion laughs")."""
    left, waiting = _MOST_YAML_VALUES, [value]
    while waiting:
        part = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"the YAML holds more than {_MOST_YAML_VALUES} values")
        if isinstance(part, (dict, list)):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return value


def _object_of(body: bytes, content_type: str) -> Obj:
    value = read_body(body, content_type)
    if not isinstance(value, dict):
        raise bad_request("the body of the request must be an object")
    return value


async def handle(service: Service, call: Call, body: bytes, content_type: str, shape: Shape) -> Answer:
    """Do what an authorised request asks, but for watches."""
    _check_offered(call)
    match call.verb:
        case "get" | "list":
            return Answer(200, _read(service, call, shape))
        case "create":
            return await _create(service, call, body, content_type, shape)
        case "update":
            obj = _object_of(body, content_type)
            return _shaped(call, shape, await _replace(service, call, obj))
        case "patch":
            return await _patch(service, call, body, content_type, shape)
        case "delete":
            options = DeleteOptions.read(call, read_body(body, content_type))
            return Answer(200, encode(await service.deletes.delete(call, options)))
        case "deletecollection":
            options = DeleteOptions.read(call, read_body(body, content_type))
            return await _delete_collection(service, call, options)
    raise method_not_allowed(call.verb)


def _check_offered(call: Call) -> None:
    """Raise 404 for a subresource, and 405 for a verb, that the resource does not have."""
    resource, subresource = call.resource, call.target.subresource
    if subresource:
        if subresource not in resource.subresources:
            raise not_found(resource.group, resource.plural, call.target.name)
        offered: tuple[str, ...] = ("create",) if subresource == "token" else ("get", "update", "patch")
    else:
        offered = resource.verbs
    if call.verb not in offered or (call.verb in ("update", "patch") and not call.target.name):
        raise method_not_allowed(call.verb)


def _read(service: Service, call: Call, shape: Shape) -> bytes:
    if call.target.subresource == "scale":
        return encode(_scale_of(call, decode(service.reads.get(call, Shape()))))
    return service.reads.get(call, shape) if call.target.name else service.reads.page(call, shape)


async def _create(service: Service, call: Call, body: bytes, content_type: str, shape: Shape) -> Answer:
    obj = _object_of(body, content_type)
    if call.target.subresource == "token":
        return Answer(201, encode(service.tokens.issue(*call.key, obj, call.now)))
    if call.resource.verbs == ("create",):
        return Answer(201, encode(questions.answer(call, obj, service.authorizer)))
    if call.target.name:
        raise method_not_allowed("POST")
    if call.resource.namespaced and not call.target.namespace:
        raise bad_request("an empty namespace may not be set during creation")
    return _shaped(call, shape, await service.writes.create(call, obj), 201)


async def _replace(service: Service, call: Call, obj: Obj) -> Obj:
    if call.target.subresource == "scale":
        replicas = (obj.get("spec") or {}).get("replicas")
        return _scale_of(call, await service.writes.update(call, lambda live: _scaled(call, live, replicas)))
    meta = check_shape(call.resource.kind, call.resource.version, obj)
    if meta.setdefault("name", call.target.name) != call.target.name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({call.target.name})"
        )
    if call.resource.custom and not meta.get("resourceVersion"):
        stored = service.store.get(call.resource.storage, call.key)
        if stored is None:
            raise not_found(call.resource.group, call.resource.plural, call.target.name)
        missing = FieldError("FieldValueInvalid", "metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(call.resource.group, call.resource.kind, call.target.name, [missing])
    return await service.writes.update(call, lambda live: copied(obj))


async def _patch(service: Service, call: Call, body: bytes, content_type: str, shape: Shape) -> Answer:
    media = content_type.partition(";")[0].strip().lower()
    accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if not call.resource.custom:
        accepted.insert(2, STRATEGIC_PATCH)
    if media not in accepted:
        raise unsupported_media(accepted)
    patch = read_body(body, media)
    if media == APPLY_PATCH:
        return await _apply(service, call, patch, shape)
    if media != JSON_PATCH and not isinstance(patch, dict):
        raise bad_request("the patch must be an object")
    how = _PATCHES[media]
    if call.target.subresource == "scale":
        written = await service.writes.update(call, lambda live: _patched_scale(call, live, how, patch))
        return Answer(200, encode(_scale_of(call, written)))
    return _shaped(call, shape, await service.writes.update(call, lambda live: how(live, patch)))


async def _apply(service: Service, call: Call, config: Json, shape: Shape) -> Answer:
    """Server-side apply: create the object, or merge the fields that the applier names."""
    if not isinstance(config, dict):
        raise bad_request("the body of an apply patch must be an object")
    if not call.query.get("fieldManager"):
        raise ApiError(
            400,
            "BadRequest",
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        )
    _check_config(call, config)
    resource, force = call.resource, call.flag("force")
    writer = Writer(call.manager, resource.api_version, timestamp(call.now), call.target.subresource)
    reset = _reset_fields(call)
    exists = service.store.get(resource.storage, call.key) is not None
    if exists:

        def change(live: Obj) -> Obj:
            return ownership.apply(resource.fields, live, copied(config), writer, force=force, reset=reset) | {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
            }

        return _shaped(call, shape, await service.writes.update(call, change, applied=True))
    if call.target.subresource:
        raise not_found(resource.group, resource.plural, call.target.name)
    service.authorizer.demand(call, "create")
    made = ownership.apply(resource.fields, None, config, writer, force=force, reset=reset)
    return _shaped(call, shape, await service.writes.create(call, made, applied=True), 201)


def _check_config(call: Call, config: Obj) -> None:
    resource = call.resource
    meta = check_shape(resource.kind, resource.version, config)
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if meta.setdefault("name", call.target.name) != call.target.name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({call.target.name})"
        )
    unknown = prune(resource.node, config, root=True)
    if unknown and call.field_validation == "Strict":
        texts = ", ".join(f".{path}: field not declared in schema" for path in unknown)
        raise ApiError(
            500,
            "InternalError",
            f"failed to create typed patch object ({call.target.namespace}/{call.target.name};"
            f" {resource.api_version}, Kind={resource.kind}): {texts}",
        )
    if unknown and call.field_validation == "Warn":
        call.warnings.extend(f'unknown field "{path}"' for path in unknown)


def _reset_fields(call: Call) -> tuple[str, ...]:
    if call.target.subresource == "status":
        return tuple({*call.resource.node.properties, "spec", "metadata"} - {"status"})
    return ("status",) if call.resource.has_status else ()


async def _delete_collection(service: Service, call: Call, options: DeleteOptions) -> Answer:
    deleted = []
    for stored in service.reads.select(call):
        meta = stored.obj["metadata"]
        target = type(call.target)(call.resource, meta.get("namespace", ""), meta["name"])
        one = Call(call.user, "delete", target, call.query, call.now, call.user_agent, call.warnings)
        try:
            await service.deletes.delete(one, DeleteOptions(options.policy, dry_run=options.dry_run))
        except ApiError as error:
            if error.code != 404:
                raise
        deleted.append(encode(to_served(call.resource, stored.obj)))
    meta = {"resourceVersion": str(service.store.version)}
    head = b'{"kind":%b,"apiVersion":%b,"metadata":%b,"items":[' % (
        encode(call.resource.list_kind),
        encode(call.resource.api_version),
        encode(meta),
    )
    return Answer(200, head + b",".join(deleted) + b"]}")


def _shaped(call: Call, shape: Shape, obj: Obj, code: int = 200) -> Answer:
    if shape.table:
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return Answer(code, encode(make_table(call.resource, [obj], call.now, meta, shape.include)))
    if shape.metadata_only:
        return Answer(code, encode(partial_metadata(obj)))
    return Answer(code, encode(obj))


def _at(obj: Json, path: str) -> Json:
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _scale_of(call: Call, obj: Obj) -> Obj:
    paths, meta = call.resource.scale, obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status = {"replicas": _at(obj, paths.get("statusReplicasPath", "")) or 0}
    if paths.get("labelSelectorPath"):
        status["selector"] = _at(obj, paths["labelSelectorPath"]) or ""
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": _at(obj, paths.get("specReplicasPath", "")) or 0}, "status": status,
    }  # fmt: skip


def _scaled(call: Call, live: Obj, replicas: Json) -> Obj:
    *parents, last = call.resource.scale["specReplicasPath"].strip(".").split(".")
    place = live
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = replicas
    return live


def _patched_scale(call: Call, live: Obj, how: Callable[[Obj, Json], Json], patch: Json) -> Obj:
    scale = how(_scale_of(call, live), patch)
    return _scaled(call, live, (scale.get("spec") or {}).get("replicas"))
