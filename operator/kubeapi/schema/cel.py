"""CEL rules (`x-kubernetes-validations`): compiled once, run over the parts of an object they stand at."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import cel
from cel.stdlib import add_stdlib_to_context

from kubeapi.errors import OMITTED, FieldError
from kubeapi.objects import Json, parse_timestamp, quoted
from kubeapi.schema.structural import Node, Rule
from kubeapi.schema.validation import MISSING

logging.getLogger("cel").setLevel(logging.ERROR)  # what a function raises stands in the answer

_ERRORS: Final = (ValueError, RuntimeError, TypeError, KeyError, ArithmeticError, IndexError, AttributeError)
"""What the CEL wheel raises for an expression that cannot be compiled or evaluated."""

_KEYWORDS: Final = frozenset([
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
    "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
])  # fmt: skip
_GETTER: Final = re.compile(r"get(FullYear|Month|Date|Day\w+|Hours|Minutes|Seconds|Milliseconds)")
"""What the wheel offers on timestamps and durations."""

_CORE: Final = frozenset([
    "size", "has", "all", "exists", "exists_one", "map", "filter", "contains", "startsWith", "endsWith",
    "matches", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn", "_in_",
    "hasValue", "value", "of", "ofNonZeroValue", "none", "or", "orValue",
])  # fmt: skip
"""What the language itself has, with the methods of optional values."""

_NAMESPACES: Final = frozenset({"math", "sets", "lists", "strings", "base64"})
"""Those of the library's functions."""

NOT_EVALUATED: Final = "could not be evaluated"
_REASONS: Final = ("FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired", "FieldValueDuplicate")

_UNITS: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip


@lru_cache(maxsize=4096)
def _program(source: str) -> cel.Program:
    return cel.compile(source)


def _index_of(where: Json, what: Json) -> int:
    if isinstance(where, str):
        return where.find(what)
    return where.index(what) if what in where else -1


def _hours_in_zone(moment: datetime, zone: str) -> int:
    """The wheel has this getter for UTC alone."""
    try:
        return moment.astimezone(ZoneInfo(zone)).hour
    except (ValueError, KeyError, OSError):
        raise ValueError(f"unknown time zone {zone}") from None


@lru_cache(maxsize=1)
def _functions() -> dict[str, Callable[..., Any]]:
    """The wheel's library, and what it lacks of CEL's time zones and of Kubernetes' list, regex and URL functions."""
    context = cel.Context()
    add_stdlib_to_context(context)
    return {
        **context.functions,
        "isSorted": lambda items: list(items) == sorted(items),
        "indexOf": _index_of,
        "find": lambda text, pattern: (re.search(pattern, text) or [""])[0],
        "findAll": lambda text, pattern: [m.group(0) for m in re.finditer(pattern, text)],
        "getHours": _hours_in_zone,
        "isURL": lambda text: bool(urlsplit(text).scheme),
    }


@lru_cache(maxsize=4096)
def _calls_library(source: str) -> bool:
    """Whether an expression calls more than the language's core, beside which the library is dear to set up."""
    program = _program(source)
    beyond = [name for name in program.functions() if name.isidentifier() and name not in _CORE]
    return bool(beyond) or not _NAMESPACES.isdisjoint(program.variables())


def _evaluate(source: str, variables: dict[str, Any]) -> Json:
    """The value of an expression. Raises one of the wheel's errors where there is none."""
    if not _calls_library(source):
        return _program(source).execute(variables)
    return _program(source).execute(cel.Context(variables=variables, functions=_functions()))


def _check_functions(source: str) -> None:
    """Compile an expression; raise ValueError where it calls a function that could never be found at run time."""
    known = _CORE | {name.rpartition(".")[2] for name in _functions()}
    for name in _program(source).functions():
        if name.isidentifier() and name not in known and not _GETTER.fullmatch(name):
            raise ValueError(f"undeclared reference to '{name}' (the embedded API does not know this function)")


def find_rule_errors(node: Node, path: str) -> list[FieldError]:
    """The rules of a schema that do not compile, as the CRD's own validation reports them."""
    errors: list[FieldError] = []
    for index, rule in enumerate(node.rules):
        where = f"{path}.x-kubernetes-validations[{index}]"
        if rule.reason not in _REASONS:
            supported = f"supported values: {', '.join(map(quoted, _REASONS))}"
            errors.append(FieldError("FieldValueNotSupported", f"{where}.reason", rule.reason, supported))
        try:
            _check_functions(rule.rule)
        except _ERRORS as error:
            errors.append(FieldError("FieldValueInvalid", f"{where}.rule", rule.rule, f"compilation failed: {error}"))
    for name, child in node.properties.items():
        errors.extend(find_rule_errors(child, f"{path}.properties[{name}]"))
    for label, below in (("items", node.items), ("additionalProperties", node.additional)):
        if below is not None:
            errors.extend(find_rule_errors(below, f"{path}.{label}"))
    return errors


def check_rules(node: Node, value: Json, old: Json = MISSING, path: str = "") -> list[FieldError]:
    """The rules that `value` breaks. Rules on `oldSelf` run only where there is an old value to compare with."""
    if not node.has_rules or value is None:
        return []
    errors = [error for rule in node.rules if (error := _broken(node, rule, value, old, path))]
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, part in value.items():
            child = node.child(name)
            if child is not None and child.has_rules:
                errors += check_rules(child, part, before.get(name, MISSING), f"{path}.{name}" if path else name)
    elif isinstance(value, list) and node.items is not None:
        for index, part in enumerate(value):
            errors += check_rules(node.items, part, _same_item(node, part, old), f"{path}[{index}]")
    return errors


def _same_item(node: Node, item: Json, old: Json) -> Json:
    """The item of the old list that has the same keys; only a list-map's items can be told apart."""
    if node.list_type != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return MISSING
    for before in old:
        if isinstance(before, dict) and all(before.get(key) == item.get(key) for key in node.map_keys):
            return before
    return MISSING


def _broken(node: Node, rule: Rule, value: Json, old: Json, path: str) -> FieldError | None:
    where = f"{path}{rule.field_path}" if path else (rule.field_path.lstrip(".") or "<nil>")
    try:
        uses_old = "oldSelf" in _program(rule.rule).variables()
        if uses_old and old is MISSING and not rule.optional_old_self:
            return None
        if not uses_old and old is not MISSING and old == value:
            return None
        variables = _variables(node, rule, value, old, uses_old)
        if _evaluate(rule.rule, variables) is True:
            return None
        return FieldError(rule.reason, where, OMITTED, _message(rule, variables))
    except _ERRORS as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            text = f"no such key: {error.args[0]}"
        return FieldError("FieldValueInvalid", where, OMITTED, f"rule {rule.rule!r} {NOT_EVALUATED}: {text}")


def _variables(node: Node, rule: Rule, value: Json, old: Json, uses_old: bool) -> dict[str, Any]:
    variables: dict[str, Any] = {"self": _typed(node, value)}
    if uses_old:
        before = None if old is MISSING else _typed(node, old)
        if rule.optional_old_self:
            before = cel.OptionalValue.none() if old is MISSING else cel.OptionalValue.of(before)
        variables["oldSelf"] = before
    return variables


def _message(rule: Rule, variables: dict[str, Any]) -> str:
    if rule.message_expression:
        try:
            text = _evaluate(rule.message_expression, variables)
        except _ERRORS:
            text = None
        if isinstance(text, str) and text.strip() and "\n" not in text:
            return text
    return rule.message or f"failed rule: {rule.rule.strip()}"


def _typed(node: Node, value: Json) -> Json:
    """`value` with CEL's types: timestamps and durations by format, doubles for numbers, names escaped."""
    if isinstance(value, dict):
        return {_escaped(k): _typed(child, v) if (child := node.child(k)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_typed(node.items, item) for item in value] if node.items is not None else value
    if isinstance(value, str) and node.format:
        return _formatted(node.format, value)
    if node.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _formatted(name: str, text: str) -> Json:
    if name in ("date-time", "datetime"):
        return parse_timestamp(text) or text
    if name == "date":
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    if name == "duration":
        return _duration(text)
    return text


def _duration(text: str) -> timedelta:
    parts = re.findall(r"([\d.]+)\s*([a-zµ]+)", text)
    seconds = sum(float(number) * _UNITS.get(unit, 0.0) for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


@lru_cache(maxsize=8192)
def _escaped(name: str) -> str:
    """A property's name as CEL can select it (KEP-2876): `__dot__`, `__dash__`, keywords in underscores."""
    if name in _KEYWORDS:
        return f"__{name}__"
    if name.isidentifier() and "__" not in name:
        return name
    for char, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(char, word)
    return name


def evaluate_condition(source: str, variables: dict[str, Any]) -> bool:
    """Whether a match condition holds. One that cannot be evaluated holds, so that its check is not skipped."""
    try:
        return _evaluate(source, variables) is not False
    except _ERRORS:
        return True
