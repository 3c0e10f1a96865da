"""Names, labels and the other metadata that every object has: their shapes and their limits."""

import re
from typing import Final

from kubeapi.errors import FieldError, bad_request
from kubeapi.validation import type_name
from kubeapi.values import Json, Obj

_LABEL_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_DNS_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_MOST_ANNOTATION_BYTES: Final = 256 * 1024

_LABEL_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end"
    " with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for"
    " validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_TEXT: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
    " with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"
    " '.', and must start and end"
    " with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DNS_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and"
    " must start and end with an"
    " alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

_GO_TYPES: Final = {
    "boolean": "bool",
    "integer": "number",
    "number": "number",
    "string": "string",
    "array": "array",
    "object": "object",
}


def check_shape(kind: str, version: str, obj: Obj) -> Obj:
    """The object's metadata, made where absent. Raises 400 where it cannot be read as metadata at all."""
    meta: Obj = obj.setdefault("metadata", {})
    if meta is None:
        meta = obj["metadata"] = {}
    for holder, name, wanted in _SHAPES:
        value = meta if holder is None else meta.get(name)
        if holder is not None and value is None:
            meta.pop(name, None)
        elif not _has_shape(value, wanted):
            raise _undecodable(kind, version, name, value, wanted)
    return meta


_SHAPES: Final = (
    (None, "", "object"), ("metadata", "name", "string"), ("metadata", "generateName", "string"),
    ("metadata", "namespace", "string"), ("metadata", "resourceVersion", "string"),
    ("metadata", "uid", "string"),
    ("metadata", "labels", "map"), ("metadata", "annotations", "map"), ("metadata", "finalizers", "strings"),
    ("metadata", "ownerReferences", "objects"), ("metadata", "managedFields", "objects"),
    ("metadata", "creationTimestamp", "string"), ("metadata", "deletionTimestamp", "string"),
)  # fmt: skip


def _has_shape(value: Json, wanted: str) -> bool:
    match wanted:
        case "string":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "map":
            return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        case "strings":
            return isinstance(value, list) and all(isinstance(v, str) for v in value)
        case _:
            return isinstance(value, list) and all(isinstance(v, dict) for v in value)


def go_type(json_type: Json) -> str:
    """What Go's decoder calls a JSON type in its errors."""
    return _GO_TYPES.get(json_type, "null") if isinstance(json_type, str) else "null"


def _undecodable(kind: str, version: str, name: str, value: Json, wanted: str) -> Exception:
    found = go_type(type_name(value))
    wanted_type = {
        "map": "string",
        "strings": "string",
        "objects": "v1.OwnerReference",
        "object": "v1.ObjectMeta",
    }.get(wanted, wanted)
    if wanted == "map" and isinstance(value, dict):
        found = next(go_type(type_name(v)) for v in value.values() if not isinstance(v, str))
    path = f"metadata.{name}" if name else "metadata"
    text = f"json: cannot unmarshal {found} into Go struct field ObjectMeta.{path} of type {wanted_type}"
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}')


def find_errors(meta: Obj, *, dns_label: bool = False, free_name: bool = False) -> list[FieldError]:
    """What is wrong with an object's metadata. `free_name` allows any name that is one path segment
    (RBAC)."""
    errors = _name_errors(meta.get("name", ""), dns_label, free_name)
    for key, value in (meta.get("labels") or {}).items():
        errors.extend(_key_errors("metadata.labels", key))
        if len(value) > 63:
            errors.append(FieldError("FieldValueInvalid", "metadata.labels", value, "must be no more than 63 bytes"))
        elif value and not _LABEL_NAME.match(value):
            errors.append(FieldError("FieldValueInvalid", "metadata.labels", value, _LABEL_TEXT))
    for key in meta.get("annotations") or {}:
        errors.extend(_key_errors("metadata.annotations", key.lower()))
    if _annotation_bytes(meta) > _MOST_ANNOTATION_BYTES:
        errors.append(
            FieldError(
                "FieldValueTooLong",
                "metadata.annotations",
                detail=f"may not be more than {_MOST_ANNOTATION_BYTES} bytes",
            )
        )
    for index, name in enumerate(meta.get("finalizers") or ()):
        errors.extend(_key_errors(f"metadata.finalizers[{index}]", name))
    for index, reference in enumerate(meta.get("ownerReferences") or ()):
        errors.extend(_owner_errors(f"metadata.ownerReferences[{index}]", reference))
    return errors


def _annotation_bytes(meta: Obj) -> int:
    return sum(
        len(k.encode("utf-8", "replace")) + len(v.encode("utf-8", "replace"))
        for k, v in (meta.get("annotations") or {}).items()
    )


def _name_errors(name: str, dns_label: bool, free_name: bool) -> list[FieldError]:
    if not name:
        return [FieldError("FieldValueRequired", "metadata.name", detail="name or generateName is required")]
    if free_name:
        if name in (".", "..") or "/" in name or "%" in name:
            return [
                FieldError(
                    "FieldValueInvalid",
                    "metadata.name",
                    name,
                    "may not be '.' or '..', nor contain '/' or '%'",
                )
            ]
        return []
    if len(name) > (63 if dns_label else 253):
        return [
            FieldError(
                "FieldValueInvalid",
                "metadata.name",
                name,
                f"must be no more than {63 if dns_label else 253} bytes",
            )
        ]
    if not (_DNS_LABEL if dns_label else _DNS_SUBDOMAIN).match(name):
        return [
            FieldError("FieldValueInvalid", "metadata.name", name, _DNS_LABEL_TEXT if dns_label else _SUBDOMAIN_TEXT)
        ]
    return []


def is_dns_label(text: str) -> bool:
    """Whether `text` can be the name of a namespace or a plural."""
    return len(text) <= 63 and bool(_DNS_LABEL.match(text))


def is_subdomain(text: str) -> bool:
    """Whether `text` can be the name of most objects, or an API group."""
    return len(text) <= 253 and bool(_DNS_SUBDOMAIN.match(text))


def _key_errors(path: str, key: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if slash and not is_subdomain(prefix):
        return [FieldError("FieldValueInvalid", path, key, f"prefix part {_SUBDOMAIN_TEXT}")]
    if len(name) > 63:
        return [FieldError("FieldValueInvalid", path, key, "name part must be no more than 63 bytes")]
    if not _LABEL_NAME.match(name):
        return [FieldError("FieldValueInvalid", path, key, _KEY_TEXT)]
    return []


def _owner_errors(path: str, reference: Obj) -> list[FieldError]:
    missing = [
        name
        for name in ("apiVersion", "kind", "name", "uid")
        if not isinstance(reference.get(name), str) or not reference[name]
    ]
    return [FieldError("FieldValueInvalid", f"{path}.{name}", "", f"{name} must not be empty") for name in missing]


def find_update_errors(new: Obj, old: Obj) -> list[FieldError]:
    """What may not change about an object's metadata."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        fresh = [name for name in new.get("finalizers") or () if name not in (old.get("finalizers") or ())]
        if fresh:
            shown = ", ".join(f'"{name}"' for name in fresh)
            detail = (
                "no new finalizers can be added if the object is being deleted, found new finalizers"
                f" []string{{{shown}}}"
            )
            errors.append(FieldError("FieldValueForbidden", "metadata.finalizers", detail=detail))
    for name in ("name", "namespace", "uid"):
        if new.get(name) != old.get(name):
            errors.append(FieldError("FieldValueInvalid", f"metadata.{name}", new.get(name, ""), "field is immutable"))
    return errors
