"""What is particular to single built-in kinds when they are written."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kubeapi.cel import find_rule_errors
from kubeapi.errors import OMITTED, FieldError
from kubeapi.jsonpath import parse as parse_jsonpath
from kubeapi.objectmeta import is_dns_label, is_subdomain
from kubeapi.resources import Resource
from kubeapi.schema import compile_schema, find_schema_errors
from kubeapi.validation import validate
from kubeapi.values import Json, Obj, timestamp

CRD: Final = ("apiextensions.k8s.io", "customresourcedefinitions")
NAMESPACE: Final = ("", "namespaces")
RBAC_GROUP: Final = "rbac.authorization.k8s.io"

_MOST_DATA_BYTES: Final = 1024 * 1024


def complete(resource: Resource, obj: Obj, old: Obj | None, now: datetime) -> None:
    """Fill in, in place, what the server itself adds to an object of this kind; an invalid one is left as it is."""
    step = _COMPLETIONS.get(resource.storage)
    if step is not None and not validate(resource.node, obj):
        step(obj, old, now)


def find_errors(resource: Resource, obj: Obj, old: Obj | None) -> list[FieldError]:
    """What this kind forbids beyond its schema."""
    check = _CHECKS.get(resource.storage)
    return check(obj, old) if check is not None else []


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


def _complete_crd(obj: Obj, old: Obj | None, now: datetime) -> None:
    spec = obj["spec"]
    names = spec["names"]
    names.setdefault("listKind", names["kind"] + "List")
    names.setdefault("singular", names["kind"].lower())
    spec.setdefault("conversion", {"strategy": "None"})
    stored = [v["name"] for v in spec["versions"] if v["storage"]]
    before = ((old or {}).get("status") or {}).get("storedVersions") or []
    then = timestamp(now)
    accepted = {"status": "True", "lastTransitionTime": then}
    status = obj.get("status") or {}
    status["acceptedNames"] = dict(names)
    status["storedVersions"] = before + [name for name in stored if name not in before]
    status.setdefault(
        "conditions",
        [
            {"type": "NamesAccepted", **accepted, "reason": "NoConflicts", "message": "no conflicts found"},
            {
                "type": "Established",
                **accepted,
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ],
    )
    obj["status"] = status


def _check_crd(obj: Obj, old: Obj | None) -> list[FieldError]:
    spec = obj["spec"]
    names, versions = spec["names"], spec["versions"]
    errors: list[FieldError] = []
    wanted = f"{names['plural']}.{spec['group']}"
    if obj["metadata"]["name"] != wanted:
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "metadata.name",
                obj["metadata"]["name"],
                'must be spec.names.plural+"."+spec.group',
            )
        )
    if not is_subdomain(spec["group"]) or "." not in spec["group"]:
        errors.append(
            FieldError("FieldValueInvalid", "spec.group", spec["group"], "should be a domain with at least one dot")
        )
    if not is_dns_label(names["plural"]):
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "spec.names.plural",
                names["plural"],
                "must be a lowercase RFC 1123 label",
            )
        )
    if sum(bool(v["storage"]) for v in versions) != 1:
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "spec.versions",
                [v["name"] for v in versions],
                "must have exactly one version marked as storage version",
            )
        )
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        errors.append(
            FieldError(
                "FieldValueNotSupported",
                "spec.conversion.strategy",
                spec["conversion"]["strategy"],
                'the embedded API converts with strategy "None" only',
            )
        )
    for index, version in enumerate(versions):
        errors.extend(_version_errors(version, f"spec.versions[{index}]"))
    if old is not None:
        for path in ("group", "scope"):
            if spec[path] != old["spec"][path]:
                errors.append(FieldError("FieldValueInvalid", f"spec.{path}", spec[path], "field is immutable"))
    return errors


def _version_errors(version: Obj, path: str) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.schema.openAPIV3Schema"
    if not schema:
        return [FieldError("FieldValueRequired", where, detail="schemas are required")]
    try:
        errors = _schema_errors(schema, where)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        return [FieldError("FieldValueInvalid", where, OMITTED, f"cannot be read as a schema: {error}")]
    errors += _column_errors(version, path)
    return errors


def _schema_errors(schema: Json, where: str) -> list[FieldError]:
    errors = find_schema_errors(schema, where)
    if schema.get("type") != "object":
        errors.append(
            FieldError("FieldValueInvalid", f"{where}.type", schema.get("type", ""), "must be object at the root")
        )
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    named = (metadata.get("properties") or {}).keys()
    if not (metadata.keys() <= {"type", "properties"} and named <= {"name", "generateName"}):
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(FieldError("FieldValueForbidden", f"{where}.properties[metadata]", detail=detail))
    if not errors:
        errors.extend(find_rule_errors(compile_schema(schema), where))
    return errors


def _column_errors(version: Obj, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        try:
            parse_jsonpath(column["jsonPath"])
        except ValueError as error:
            errors.append(
                FieldError(
                    "FieldValueInvalid",
                    f"{path}.additionalPrinterColumns[{index}].jsonPath",
                    column["jsonPath"],
                    str(error),
                )
            )
    return errors


def _check_data(obj: Obj, old: Obj | None) -> list[FieldError]:
    errors: list[FieldError] = []
    parts = {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}
    for key in parts:
        if not key or len(key) > 253 or not all(c.isalnum() or c in "-_." for c in key) or key in (".", ".."):
            text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            errors.append(FieldError("FieldValueInvalid", f"data[{key}]", key, text))
    if sum(len(value or "") for value in parts.values()) > _MOST_DATA_BYTES:
        errors.append(FieldError("FieldValueTooLong", "", detail=f"may not be more than {_MOST_DATA_BYTES} bytes"))
    if old is not None and old.get("immutable"):
        for name in ("data", "binaryData", "immutable"):
            if obj.get(name) != old.get(name):
                errors.append(
                    FieldError("FieldValueForbidden", name, detail="field is immutable when `immutable` is set")
                )
    return errors


def _check_binding(obj: Obj, old: Obj | None) -> list[FieldError]:
    if old is not None and obj["roleRef"] != old["roleRef"]:
        return [FieldError("FieldValueInvalid", "roleRef", obj["roleRef"], "cannot change roleRef")]
    return []


def _check_webhooks(obj: Obj, old: Obj | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, hook in enumerate(obj.get("webhooks") or ()):
        config = hook["clientConfig"]
        path = f"webhooks[{index}].clientConfig"
        if bool(config.get("url")) == bool(config.get("service")):
            errors.append(FieldError("FieldValueRequired", path, detail="exactly one of url or service is required"))
        elif config.get("url") and not config["url"].startswith("https://"):
            errors.append(
                FieldError(
                    "FieldValueInvalid",
                    f"{path}.url",
                    config["url"],
                    "'https' is the only allowed URL scheme",
                )
            )
    return errors


_COMPLETIONS: Final[dict[tuple[str, str], Callable[[Obj, Obj | None, datetime], None]]] = {
    NAMESPACE: _complete_namespace,
    ("", "secrets"): _complete_secret,
    CRD: _complete_crd,
}
_CHECKS: Final[dict[tuple[str, str], Callable[[Obj, Obj | None], list[FieldError]]]] = {
    CRD: _check_crd,
    ("", "configmaps"): _check_data,
    ("", "secrets"): _check_data,
    (RBAC_GROUP, "rolebindings"): _check_binding,
    (RBAC_GROUP, "clusterrolebindings"): _check_binding,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): _check_webhooks,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): _check_webhooks,
}
