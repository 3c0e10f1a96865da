"""What the server would say of a new custom object, asked without a server."""

from typing import Final

from kubeapi.errors import OMITTED, ApiError, FieldError
from kubeapi.objects import Obj, copied
from kubeapi.registry.resource import Registry, Resource
from kubeapi.registry.strategy import NAMESPACE, RBAC_GROUP, find_kind_errors
from kubeapi.schema import (
    BLOCKING,
    MISSING,
    NOT_CHECKED,
    apply_defaults,
    check_decodable,
    check_rules,
    check_shape,
    find_errors,
    find_update_errors,
    is_dns_label,
    prune,
    validate,
)

SERVER_GIVEN: Final = (
    *("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink", "resourceVersion"),
    *("uid", "creationTimestamp"),
)
"""Of a new object's metadata: what only the server gives, whatever was sent."""
_SUFFIX: Final = "00000"
"""Stands for what the server adds to a generateName."""


def resource_of(crd: Obj) -> Resource:
    """The kind that a CRD of one version defines."""
    registry, spec = Registry(), crd["spec"]
    registry.register(crd)
    return registry.find(spec["group"], spec["versions"][0]["name"], spec["names"]["plural"])


def dry_run(resource: Resource, obj: Obj) -> tuple[Obj, list[FieldError]]:
    """A new custom object as it would be stored, and all for which a create with strict validation refuses it.

    What depends on other objects is not asked: rights, webhooks, whether the namespace is there or the name is taken.
    """
    obj = copied(obj)
    try:
        meta = check_shape(resource.kind, resource.version, obj)
    except ApiError as error:
        return obj, [FieldError("FieldValueTypeInvalid", "metadata", OMITTED, error.message)]
    errors = []
    if resource.namespaced:
        meta["namespace"] = namespace = meta.get("namespace") or "default"
        errors += [] if is_dns_label(namespace) else [_bad_namespace(namespace)]
    if meta.get("generateName") and not meta.get("name"):
        meta["name"] = meta["generateName"][:248] + _SUFFIX
    for path in prune(resource.node, obj, root=True):
        errors.append(FieldError("FieldValueForbidden", path, detail="no such field"))
    for name in SERVER_GIVEN:
        meta.pop(name, None)
    if resource.has_status:
        obj.pop("status", None)  # written through its own subresource
    apply_defaults(resource.node, obj)
    return obj, errors + find_object_errors(resource, obj, None)


def _bad_namespace(namespace: str) -> FieldError:
    detail = "must be at most 63 lower-case letters, digits and dashes"
    return FieldError("FieldValueInvalid", "metadata.namespace", namespace, detail)


def find_object_errors(resource: Resource, obj: Obj, live: Obj | None) -> list[FieldError]:
    """What is wrong with an object, pruned and with its defaults, that is to be created or to replace `live`.

    Raises 400 where a built-in kind cannot be read at all.
    """
    meta, old = obj["metadata"], MISSING if live is None else live
    errors = find_errors(meta, dns_label=resource.storage == NAMESPACE, free_name=resource.group == RBAC_GROUP)
    if live is not None:
        errors += find_update_errors(meta, live["metadata"])
    found = validate(resource.node, obj, old=old)
    if not resource.custom:
        check_decodable(resource.kind, resource.version, resource.kind, found)
    if any(error.reason in BLOCKING for error in found):
        return [*errors, *found, *([NOT_CHECKED] if resource.node.has_rules else [])]
    errors += found + check_rules(resource.node, obj, old)
    return errors + ([] if found else find_kind_errors(resource, obj, live))
