"""The metadata that every object has: its schema, its limits, and the shapes of names and labels."""

import re
from typing import Final

from kubeapi.errors import ApiError, FieldError, bad_request
from kubeapi.objects import Obj, quoted
from kubeapi.schema.structural import compile_schema
from kubeapi.schema.validation import validate

_STRING: Final[Obj] = {"type": "string"}
_TIME: Final[Obj] = {"type": "string", "format": "date-time"}
_INTEGER: Final[Obj] = {"type": "integer", "format": "int64"}
_ANY_OBJECT: Final[Obj] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_STRINGS: Final[Obj] = {"type": "object", "additionalProperties": _STRING}
OBJECT_META: Final[Obj] = {
    "type": "object",
    "description": "ObjectMeta is metadata that all persisted resources must have.",
    "properties": {
        "name": {**_STRING, "description": "Name must be unique within a namespace."},
        "generateName": _STRING,
        "namespace": {**_STRING, "description": "Namespace defines the space within which each name must be unique."},
        "uid": _STRING,
        "resourceVersion": _STRING,
        "generation": _INTEGER,
        "creationTimestamp": _TIME,
        "deletionTimestamp": _TIME,
        "deletionGracePeriodSeconds": _INTEGER,
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "ownerReferences": {
            "type": "array",
            "items": {**_ANY_OBJECT, "x-kubernetes-map-type": "atomic"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
        },
        "finalizers": {"type": "array", "items": _STRING, "x-kubernetes-list-type": "set"},
        "managedFields": {"type": "array", "items": _ANY_OBJECT},
        "selfLink": _STRING,
    },
}
"""As OpenAPI publishes it; the list types also say how server-side apply merges metadata."""

META_NODE: Final = compile_schema(OBJECT_META)
_META_OF_OBJECT: Final = compile_schema({"type": "object", "properties": {"metadata": OBJECT_META}})

_LABEL: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_CHARACTERS: Final = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_TEXT: Final = (
    f"a valid label must be an empty string or {_LABEL_CHARACTERS} (e.g. 'MyValue',  or 'my_value',  or '12345',"
    f" regex used for validation is '({_LABEL})?')"
)
_KEY_TEXT: Final = (
    f"name part must {_LABEL_CHARACTERS} (e.g. 'MyName',  or 'my.name',  or '123-abc',"
    f" regex used for validation is '{_LABEL}')"
)
_DNS_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    f" an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_DNS_LABEL}')"
)
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    f" end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_MOST_ANNOTATION_BYTES: Final = 256 * 1024

_GO_TYPES: Final = {"boolean": "bool", "integer": "number", "null": "null"}


def check_shape(kind: str, version: str, obj: Obj) -> Obj:
    """The object's metadata, made where absent. Raises 400 where it cannot be read as metadata at all."""
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    meta: Obj = obj["metadata"]
    if isinstance(meta, dict):
        for name in [name for name, value in meta.items() if value is None]:
            del meta[name]
    check_decodable(kind, version, "ObjectMeta", validate(_META_OF_OBJECT, {"metadata": meta}))
    return meta


def check_decodable(kind: str, version: str, struct: str, errors: list[FieldError]) -> None:
    """Raise 400 where a value has a wrong type, in the words of Go's JSON decoder, which reads only types."""
    for error in errors:
        if error.reason == "FieldValueTypeInvalid":
            found = _GO_TYPES.get(error.value, error.value)
            wanted = error.detail.partition("must be of type ")[2].partition(":")[0]
            field = re.sub(r"(\.[^.\[]+)[.\[].*", r"\1", error.field) if struct == "ObjectMeta" else error.field
            raise cannot_handle(
                kind, version, f"json: cannot unmarshal {found} into Go struct field {struct}.{field} of type {wanted}"
            )


def cannot_handle(kind: str, version: str, why: str) -> ApiError:
    """400 for an object that is not of the kind, or not in the version, that the path names."""
    return bad_request(f"{kind} in version {quoted(version)} cannot be handled as a {kind}: {why}")


def find_errors(meta: Obj, *, dns_label: bool = False, free_name: bool = False) -> list[FieldError]:
    """What is wrong with an object's metadata. `free_name` allows any name that is one path segment (RBAC)."""
    errors = _name_errors(meta.get("name", ""), dns_label, free_name)
    for key, value in (meta.get("labels") or {}).items():
        errors.extend(_key_errors("metadata.labels", key))
        if len(value) > 63:
            errors.append(FieldError("FieldValueInvalid", "metadata.labels", value, "must be no more than 63 bytes"))
        elif value and not re.fullmatch(_LABEL, value):
            errors.append(FieldError("FieldValueInvalid", "metadata.labels", value, _LABEL_TEXT))
    annotations = meta.get("annotations") or {}
    for key in annotations:
        errors.extend(_key_errors("metadata.annotations", key.lower()))
    if (
        sum(len(text.encode("utf-8", "replace")) for pair in annotations.items() for text in pair)
        > _MOST_ANNOTATION_BYTES
    ):
        detail = f"may not be more than {_MOST_ANNOTATION_BYTES} bytes"
        errors.append(FieldError("FieldValueTooLong", "metadata.annotations", detail=detail))
    for index, name in enumerate(meta.get("finalizers") or ()):
        errors.extend(_key_errors(f"metadata.finalizers[{index}]", name))
    for index, reference in enumerate(meta.get("ownerReferences") or ()):
        errors.extend(_owner_errors(f"metadata.ownerReferences[{index}]", reference))
    return errors


def _name_errors(name: str, dns_label: bool, free_name: bool) -> list[FieldError]:
    if not name:
        return [FieldError("FieldValueRequired", "metadata.name", detail="name or generateName is required")]
    longest = 63 if dns_label else 253
    if free_name:
        bad = name in (".", "..") or "/" in name or "%" in name
        detail = "may not be '.' or '..', nor contain '/' or '%'" if bad else ""
    elif len(name) > longest:
        detail = f"must be no more than {longest} bytes"
    elif dns_label:
        detail = "" if is_dns_label(name) else _DNS_LABEL_TEXT
    else:
        detail = "" if is_subdomain(name) else _SUBDOMAIN_TEXT
    return [FieldError("FieldValueInvalid", "metadata.name", name, detail)] if detail else []


def is_dns_label(text: str) -> bool:
    """Whether `text` can be the name of a namespace or a plural."""
    return len(text) <= 63 and re.fullmatch(_DNS_LABEL, text) is not None


def is_subdomain(text: str) -> bool:
    """Whether `text` can be the name of most objects, or an API group."""
    return len(text) <= 253 and re.fullmatch(_SUBDOMAIN, text) is not None


def _key_errors(path: str, key: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if slash and not is_subdomain(prefix):
        detail = f"prefix part {_SUBDOMAIN_TEXT}"
    elif len(name) > 63:
        detail = "name part must be no more than 63 bytes"
    else:
        detail = "" if re.fullmatch(_LABEL, name) else _KEY_TEXT
    return [FieldError("FieldValueInvalid", path, key, detail)] if detail else []


def _owner_errors(path: str, reference: Obj) -> list[FieldError]:
    values = {name: reference.get(name) for name in ("apiVersion", "kind", "name", "uid")}
    missing = [name for name, value in values.items() if not isinstance(value, str) or not value]
    return [FieldError("FieldValueInvalid", f"{path}.{name}", "", f"{name} must not be empty") for name in missing]


def find_update_errors(new: Obj, old: Obj) -> list[FieldError]:
    """What may not change about an object's metadata."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        fresh = [name for name in new.get("finalizers") or () if name not in (old.get("finalizers") or ())]
        if fresh:
            names = ", ".join(f'"{name}"' for name in fresh)
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers"
            errors.append(
                FieldError("FieldValueForbidden", "metadata.finalizers", detail=f"{detail} []string{{{names}}}")
            )
    for name in ("name", "namespace", "uid"):
        if new.get(name) != old.get(name):
            errors.append(FieldError("FieldValueInvalid", f"metadata.{name}", new.get(name, ""), "field is immutable"))
    return errors
