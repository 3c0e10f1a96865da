"""Checking a value against its schema, with the texts of a real kube-apiserver."""

import base64
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Final

from kubeapi.errors import FieldError
from kubeapi.objects import Json, Obj, encode, parse_timestamp, quoted, shown
from kubeapi.schema.structural import Node

MISSING: Final = object()

BLOCKING: Final = frozenset(
    f"FieldValue{what}" for what in ("NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid")
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
        errors.append(_wrong_type(node, _type_name(value), path))
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
        supported = ", ".join(shown(allowed) for allowed in node.enum)
        errors.append(FieldError("FieldValueNotSupported", path, value, f"supported values: {supported}"))
    if node.all_of or node.any_of or node.one_of or node.none_of:
        _check_junctors(node, value, path, errors)


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),), "boolean": (bool,), "string": (str,), "integer": (int,), "number": (int, float),
    "array": (list,), "object": (dict,),
}  # fmt: skip


def _type_name(value: Json) -> str:
    """The JSON Schema name of a value's type; bool comes before int, whose subclass it is."""
    return next(name for name, types in _TYPES.items() if isinstance(value, types))


def _has_type(node: Node, value: Json) -> bool:
    if not node.type:
        return not node.int_or_string or _type_name(value) in ("integer", "string")
    if node.type == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(node.type, (object,))) and (
        node.type == "boolean" or not isinstance(value, bool)
    )


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
    if node.format and not _has_format(node.format, value):
        text = f"{path} in body must be of type {node.format}: {quoted(value)}"
        errors.append(FieldError("FieldValueTypeInvalid", path, value, text))


def _check_number(node: Node, value: float, path: str, errors: list[FieldError]) -> None:
    bounds = node.bounds
    maximum, minimum, step = bounds.get("maximum"), bounds.get("minimum"), bounds.get("multipleOf")
    if maximum is not None and (value > maximum or (value == maximum and bounds.get("exclusiveMaximum"))):
        equal = "" if bounds.get("exclusiveMaximum") else "or equal to "
        errors.append(_invalid(path, value, f"should be less than {equal}{maximum}"))
    if minimum is not None and (value < minimum or (value == minimum and bounds.get("exclusiveMinimum"))):
        equal = "" if bounds.get("exclusiveMinimum") else "or equal to "
        errors.append(_invalid(path, value, f"should be greater than {equal}{minimum}"))
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
        key = {name: item.get(name) for name in node.map_keys} if node.map_keys and isinstance(item, dict) else item
        identity = encode(key)
        if identity in seen:
            errors.append(FieldError("FieldValueDuplicate", f"{path}[{index}]", key))
        seen.add(identity)


def _check_junctors(node: Node, value: Json, path: str, errors: list[FieldError]) -> None:
    def refuse(what: str) -> None:
        errors.append(FieldError("FieldValueInvalid", path, value, f'"{path}" must {what}'))

    for sub in node.all_of:
        errors.extend(validate(sub, value, path))
    if node.any_of and all(validate(sub, value, path) for sub in node.any_of):
        refuse("validate at least one schema (anyOf)")
        errors.extend(validate(node.any_of[0], value, path))
    matches = sum(not validate(sub, value, path) for sub in node.one_of)
    if node.one_of and matches != 1:
        found = "none valid" if matches == 0 else f"{matches} valid alternatives"
        refuse(f"validate one and only one schema (oneOf). Found {found}")
    if node.none_of is not None and not validate(node.none_of, value, path):
        refuse("not validate the schema (not)")


_DURATION: Final = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanoseconds?|microseconds?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?)"
)


def _read_by(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """A check that `parse` neither raises ValueError nor finds nothing."""

    def check(text: str) -> bool:
        try:
            return parse(text) is not None
        except ValueError:
            return False

    return check


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text, re.DOTALL) is not None


_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date-time": _read_by(parse_timestamp),
    "datetime": _read_by(parse_timestamp),
    "date": lambda text: len(text) == 10 and _read_by(date.fromisoformat)(text),
    "byte": _read_by(partial(base64.b64decode, validate=True)),
    "uuid": _read_by(uuid.UUID),
    "ipv4": _read_by(ipaddress.IPv4Address),
    "ipv6": _read_by(ipaddress.IPv6Address),
    "duration": _matches(f"0|({_DURATION.pattern}\\s*)+"),
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "uri": _matches(r"([A-Za-z][A-Za-z0-9+.-]*:|/).*"),
    "hostname": lambda text: len(text) <= 255 and _matches(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")(text),
}


def _has_format(name: str, text: str) -> bool:
    """Whether `text` has the format; formats that are not known are not checked, as in a real server."""
    check = _FORMATS.get(name)
    return check is None or check(text)
