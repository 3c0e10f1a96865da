"""What every write goes through: its address, its unknown fields and defaults, its validation."""

from kubeapi.call import Call
from kubeapi.errors import bad_request, invalid
from kubeapi.managedfields import Writer
from kubeapi.objects import Obj, quoted, timestamp
from kubeapi.registry import Resource, find_object_errors
from kubeapi.schema import apply_defaults, cannot_handle, check_shape, prune


def writer_of(call: Call) -> Writer:
    """Who is to own the fields that the call sets."""
    return Writer(call.manager, call.resource.api_version, timestamp(call.now), call.target.subresource)


def check_address(call: Call, obj: Obj) -> Obj:
    """The object's metadata, once kind, version and name agree with the path. Raises 400 where they do not."""
    resource = call.resource
    _check_type(resource, obj)
    meta = check_shape(resource.kind, resource.version, obj)
    if call.target.name and meta.setdefault("name", call.target.name) != call.target.name:
        names = f"the name of the object ({meta['name']}) does not match the name on the URL ({call.target.name})"
        raise bad_request(names)
    return meta


def _check_type(resource: Resource, obj: Obj) -> None:
    api_version, kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise bad_request("apiVersion and kind must be strings")
    if kind != resource.kind:
        raise bad_request(
            f"{kind} in version {quoted(resource.version)} cannot be handled as a {resource.kind}: converting"
            f" ({api_version}.{kind}) to ({resource.api_version}.{resource.kind}): unknown conversion"
        )
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind


def clean(call: Call, obj: Obj) -> None:
    """Drop unknown fields, as strictly as the client asked, then fill in defaults."""
    resource = call.resource
    unknown = prune(resource.node, obj, root=True)
    if unknown and call.field_validation != "Ignore":
        texts = [f"unknown field {quoted(path)}" for path in unknown]
        if call.field_validation == "Strict":
            raise cannot_handle(resource.kind, resource.version, f"strict decoding error: {', '.join(texts)}")
        call.warnings.extend(texts)
    if resource.warning:
        call.warnings.append(resource.warning)
    apply_defaults(resource.node, obj)


def check(resource: Resource, obj: Obj, live: Obj | None) -> None:
    """Raise 422 with everything that is wrong, or 400 where a built-in kind cannot be read at all."""
    if errors := find_object_errors(resource, obj, live):
        raise invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), errors)
