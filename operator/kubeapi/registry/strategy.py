"""What is particular to single built-in kinds when they are written."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kubeapi.errors import FieldError
from kubeapi.objects import Obj
from kubeapi.registry.crd import complete_crd, find_crd_errors
from kubeapi.registry.resource import Resource
from kubeapi.schema import validate
from kubeapi.storage import Kind

CRD: Final = ("apiextensions.k8s.io", "customresourcedefinitions")
NAMESPACE: Final = ("", "namespaces")
QUOTA: Final = ("", "resourcequotas")
RBAC_GROUP: Final = "rbac.authorization.k8s.io"
_WEBHOOK_GROUP: Final = "admissionregistration.k8s.io"

_MOST_DATA_BYTES: Final = 1024 * 1024


def complete(resource: Resource, obj: Obj, old: Obj | None, now: datetime) -> None:
    """Fill in, in place, what the server itself adds to an object of this kind; an invalid one is left as it is."""
    step = _COMPLETIONS.get(resource.storage)
    if step is not None and not validate(resource.node, obj):
        step(obj, old, now)


def find_kind_errors(resource: Resource, obj: Obj, old: Obj | None) -> list[FieldError]:
    """What this kind forbids beyond its schema."""
    check = _CHECKS.get(resource.storage)
    return check(obj, old) if check is not None else []


def holds_content(kind: Kind, obj: Obj) -> bool:
    """A namespace stays until its content is gone, whatever its finalizers in metadata say."""
    return kind == NAMESPACE and bool((obj.get("spec") or {}).get("finalizers"))


def _complete_namespace(obj: Obj, old: Obj | None, now: datetime) -> None:
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    if old is None:
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}
    else:
        obj.setdefault("spec", old.get("spec", {}))


def _complete_secret(obj: Obj, old: Obj | None, now: datetime) -> None:
    plain = obj.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(text.encode("utf-8", "replace")).decode() for key, text in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _data_errors(obj: Obj, old: Obj | None) -> list[FieldError]:
    errors: list[FieldError] = []
    parts = {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}
    for key in parts:
        if not key or len(key) > 253 or not all(c.isalnum() or c in "-_." for c in key) or key in (".", ".."):
            text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            errors.append(FieldError("FieldValueInvalid", f"data[{key}]", key, text))
    if sum(len(value or "") for value in parts.values()) > _MOST_DATA_BYTES:
        errors.append(FieldError("FieldValueTooLong", "", detail=f"may not be more than {_MOST_DATA_BYTES} bytes"))
    if old is not None and old.get("immutable"):
        text = "field is immutable when `immutable` is set"
        changed = [name for name in ("data", "binaryData", "immutable") if obj.get(name) != old.get(name)]
        errors += [FieldError("FieldValueForbidden", name, detail=text) for name in changed]
    return errors


def _binding_errors(obj: Obj, old: Obj | None) -> list[FieldError]:
    if old is not None and obj["roleRef"] != old["roleRef"]:
        return [FieldError("FieldValueInvalid", "roleRef", obj["roleRef"], "cannot change roleRef")]
    return []


def _webhook_errors(obj: Obj, old: Obj | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, hook in enumerate(obj.get("webhooks") or ()):
        url, path = hook["clientConfig"].get("url"), f"webhooks[{index}].clientConfig"
        if bool(url) == bool(hook["clientConfig"].get("service")):
            errors.append(FieldError("FieldValueRequired", path, detail="exactly one of url or service is required"))
        elif url and not url.startswith("https://"):
            errors.append(FieldError("FieldValueInvalid", f"{path}.url", url, "'https' is the only allowed URL scheme"))
    return errors


_COMPLETIONS: Final[dict[Kind, Callable[[Obj, Obj | None, datetime], None]]] = {
    NAMESPACE: _complete_namespace,
    ("", "secrets"): _complete_secret,
    CRD: complete_crd,
}
_CHECKS: Final[dict[Kind, Callable[[Obj, Obj | None], list[FieldError]]]] = {
    CRD: find_crd_errors,
    ("", "configmaps"): _data_errors,
    ("", "secrets"): _data_errors,
    (RBAC_GROUP, "rolebindings"): _binding_errors,
    (RBAC_GROUP, "clusterrolebindings"): _binding_errors,
    (_WEBHOOK_GROUP, "validatingwebhookconfigurations"): _webhook_errors,
    (_WEBHOOK_GROUP, "mutatingwebhookconfigurations"): _webhook_errors,
}
