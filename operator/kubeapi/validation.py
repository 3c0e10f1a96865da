"""Checking a value against its schema, with the texts of a real kube-apiserver."""

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date
from typing import Final

from kubeapi.errors import FieldError
from kubeapi.schema import Node
from kubeapi.values import Json, Obj, encode, parse_timestamp, quoted

MISSING: Final = object()

BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""After these the CEL rules are not run, because the object may not have the shape they count on."""

NOT_CHECKED: Final = FieldError(
    "FieldValueInvalid", "<nil>", None,
    "some validation rules were not checked because the object was invalid; correct the existing"
    " errors to complete validation",
)  # fmt: skip


def validate(node: Node, value: Json, path: str = "", old: Json = MISSING) -> list[FieldError]:
    """What is wrong with `value`.

    A part that equals the same part of `old` is not checked again, so that a stricter schema does not
    block unrelated edits (the server calls this ratcheting).
    """
    errors: list[FieldError] = []
    _check(node, value, path, old, errors)
    return errors


def _check(node: Node, value: Json, path: str, old: Json, errors: list[FieldError]) -> None:
    if old is not MISSING and old == value and type(old) is type(value):
        return
    if value is None:
        if not (node.nullable or not node.type):
            errors.append(_wrong_type(node, "null", path))
        return
    if not _has_type(node, value):
        errors.append(_wrong_type(node, type_name(value), path))
        return
    if isinstance(value, str):
        _check_string(node, value, path, errors)
    elif isinstance(value, dict):
        _check_object(node, value, path, old, errors)
    elif isinstance(value, list):
        _check_list(node, value, path, errors)
    elif not isinstance(value, bool) and node.bounds:
        _check_number(node, value, path, errors)
    if node.enum and not any(value == allowed and type(value) is type(allowed) for allowed in node.enum):
        shown = ", ".join(quoted(v) if isinstance(v, str) else encode(v).decode() for v in node.enum)
        errors.append(FieldError("FieldValueNotSupported", path, value, f"supported values: {shown}"))
    if node.all_of or node.any_of or node.one_of or node.none_of:
        _check_junctors(node, value, path, errors)


def type_name(value: Json) -> str:
    """The JSON Schema name of a value's type."""
    if value is None:
        return "null"
    names: tuple[tuple[type, str], ...] = (
        (bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (list, "array"),
        (dict, "object"),
    )  # fmt: skip
    return next(name for kind, name in names if isinstance(value, kind))


def _has_type(node: Node, value: Json) -> bool:
    match node.type:
        case "string":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return not node.int_or_string or (isinstance(value, (int, str)) and not isinstance(value, bool))


def _wrong_type(node: Node, found: str, path: str) -> FieldError:
    wanted = "integer,string" if node.int_or_string and not node.type else node.type
    return FieldError("FieldValueTypeInvalid", path, found, f'{path} in body must be of type {wanted}: "{found}"')


def _invalid(path: str, value: Json, what: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, value, f"{path} in body {what}")


def _check_string(node: Node, value: str, path: str, errors: list[FieldError]) -> None:
    bounds = node.bounds
    if len(value) > bounds.get("maxLength", len(value)):
        errors.append(FieldError("FieldValueTooLong", path, detail=f"may not be more than {bounds['maxLength']} bytes"))
    if len(value) < bounds.get("minLength", 0):
        errors.append(_invalid(path, value, f"should be at least {bounds['minLength']} chars long"))
    if node.pattern is not None and not node.pattern.search(value):
        errors.append(_invalid(path, value, f"should match '{node.pattern_text}'"))
    if node.format and not has_format(node.format, value):
        errors.append(
            FieldError(
                "FieldValueTypeInvalid",
                path,
                value,
                f"{path} in body must be of type {node.format}: {quoted(value)}",
            )
        )


def _check_number(node: Node, value: float, path: str, errors: list[FieldError]) -> None:
    bounds = node.bounds
    maximum, minimum, step = bounds.get("maximum"), bounds.get("minimum"), bounds.get("multipleOf")
    if maximum is not None and (value > maximum or (value == maximum and bounds.get("exclusiveMaximum"))):
        errors.append(
            _invalid(
                path,
                value,
                f"should be less than {'' if bounds.get('exclusiveMaximum') else 'or equal to '}{maximum}",
            )
        )
    if minimum is not None and (value < minimum or (value == minimum and bounds.get("exclusiveMinimum"))):
        errors.append(
            _invalid(
                path,
                value,
                f"should be greater than {'' if bounds.get('exclusiveMinimum') else 'or equal to '}{minimum}",
            )
        )
    if step and abs(value / step - round(value / step)) > 1e-9:
        errors.append(_invalid(path, value, f"should be a multiple of {step}"))


def _check_object(node: Node, value: Obj, path: str, old: Json, errors: list[FieldError]) -> None:
    for name in node.required:
        if name not in value:
            errors.append(FieldError("FieldValueRequired", f"{path}.{name}" if path else name))
    previous = old if isinstance(old, dict) else {}
    for name, part in value.items():
        child = node.properties.get(name) or node.additional
        if child is not None:
            _check(child, part, f"{path}.{name}" if path else name, previous.get(name, MISSING), errors)
    if "maxProperties" in node.bounds and len(value) > node.bounds["maxProperties"]:
        errors.append(_too_many(path, len(value), node.bounds["maxProperties"]))
    if len(value) < node.bounds.get("minProperties", 0):
        errors.append(_invalid(path, value, f"should have at least {node.bounds['minProperties']} properties"))


def _too_many(path: str, count: int, most: int) -> FieldError:
    return FieldError("FieldValueTooMany", path, count, f"must have at most {most} items")


def _check_list(node: Node, value: list[Json], path: str, errors: list[FieldError]) -> None:
    if "maxItems" in node.bounds and len(value) > node.bounds["maxItems"]:
        errors.append(_too_many(path, len(value), node.bounds["maxItems"]))
        return
    if len(value) < node.bounds.get("minItems", 0):
        errors.append(_invalid(path, value, f"should have at least {node.bounds['minItems']} items"))
    if node.items is not None:
        for index, item in enumerate(value):
            _check(node.items, item, f"{path}[{index}]", MISSING, errors)
    if node.list_type != "atomic":
        _check_unique(node, value, path, errors)


def _check_unique(node: Node, value: list[Json], path: str, errors: list[FieldError]) -> None:
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        shown = {key: item.get(key) for key in node.map_keys} if node.map_keys and isinstance(item, dict) else item
        identity = encode(shown)
        if identity in seen:
            errors.append(FieldError("FieldValueDuplicate", f"{path}[{index}]", shown))
        seen.add(identity)


def _check_junctors(node: Node, value: Json, path: str, errors: list[FieldError]) -> None:
    shown = f'"{path}"'
    for sub in node.all_of:
        errors.extend(validate(sub, value, path))
    if node.any_of and all(validate(sub, value, path) for sub in node.any_of):
        errors.append(
            FieldError("FieldValueInvalid", path, value, f"{shown} must validate at least one schema (anyOf)")
        )
        errors.extend(validate(node.any_of[0], value, path))
    matches = sum(not validate(sub, value, path) for sub in node.one_of)
    if node.one_of and matches != 1:
        found = "none valid" if matches == 0 else f"{matches} valid alternatives"
        errors.append(
            FieldError(
                "FieldValueInvalid",
                path,
                value,
                f"{shown} must validate one and only one schema (oneOf). Found {found}",
            )
        )
    if node.none_of is not None and not validate(node.none_of, value, path):
        errors.append(FieldError("FieldValueInvalid", path, value, f"{shown} must not validate the schema (not)"))


_DURATION: Final = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanoseconds?|microseconds?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?)"
)


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def is_duration(text: str) -> bool:
    """Whether Go would read `text` as a duration, such as `1h30m`."""
    return text == "0" or bool(re.fullmatch(f"({_DURATION.pattern}\\s*)+", text))


_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date-time": lambda text: parse_timestamp(text) is not None,
    "datetime": lambda text: parse_timestamp(text) is not None,
    "date": _is_date,
    "byte": _is_base64,
    "uuid": _is_uuid,
    "ipv4": lambda text: _is_address(text, 4),
    "ipv6": lambda text: _is_address(text, 6),
    "duration": is_duration,
    "email": lambda text: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", text)),
    "uri": lambda text: bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", text)),
    "hostname": lambda text: len(text) <= 255 and bool(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", text)),
}


def has_format(name: str, text: str) -> bool:
    """Whether `text` has the format; formats that are not known are not checked, as in a real server."""
    check = _FORMATS.get(name)
    return check is None or check(text)
