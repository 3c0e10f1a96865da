"""A structural schema, compiled once so that each object can be pruned, defaulted and checked quickly."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from kubeapi.errors import FieldError
from kubeapi.objects import Json, Obj, encode


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `x-kubernetes-validations`."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old_self: bool = False


@dataclass(slots=True)
class Node:
    """One place in the schema. `type` is empty where any JSON may stand."""

    type: str = ""
    nullable: bool = False
    properties: dict[str, "Node"] = field(default_factory=dict)
    additional: "Node | None" = None
    items: "Node | None" = None
    preserve: bool = False
    """Fields that the schema does not name are kept."""
    embedded: bool = False
    """An object with apiVersion, kind and metadata of its own."""
    int_or_string: bool = False
    default: bytes | None = None
    has_defaults: bool = False
    """A default stands here or below."""
    required: tuple[str, ...] = ()
    enum: tuple[Json, ...] = ()
    format: str = ""
    pattern: "re.Pattern[str] | None" = None
    pattern_text: str = ""
    bounds: dict[str, Any] = field(default_factory=dict)
    all_of: tuple["Node", ...] = ()
    any_of: tuple["Node", ...] = ()
    one_of: tuple["Node", ...] = ()
    none_of: "Node | None" = None
    list_type: str = "atomic"
    map_keys: tuple[str, ...] = ()
    atomic_map: bool = False
    rules: tuple[Rule, ...] = ()
    has_rules: bool = False
    """A CEL rule stands here or below."""

    def child(self, name: str) -> "Node | None":
        """The schema of a field of this object."""
        return self.properties.get(name) or self.additional


ANYTHING: Final = Node(preserve=True)

_BOUNDS: Final = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems",
)  # fmt: skip


def compile_schema(schema: Obj) -> Node:
    """Compile an `openAPIV3Schema`. Raises ValueError where a pattern is not a regular expression."""
    node = Node(
        type=schema.get("type", ""),
        nullable=bool(schema.get("nullable")),
        preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(schema.get("x-kubernetes-int-or-string")),
        required=tuple(schema.get("required") or ()),
        enum=tuple(schema.get("enum") or ()),
        format=schema.get("format", ""),
        bounds={name: schema[name] for name in _BOUNDS if schema.get(name) is not None},
        list_type=schema.get("x-kubernetes-list-type") or "atomic",
        map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        atomic_map=schema.get("x-kubernetes-map-type") == "atomic",
        rules=tuple(_rule(rule) for rule in schema.get("x-kubernetes-validations") or ()),
    )
    if schema.get("default") is not None:
        node.default = encode(schema["default"])
    if schema.get("pattern"):
        node.pattern_text = schema["pattern"]
        node.pattern = compile_pattern(node.pattern_text)
    _compile_children(node, schema)
    _compile_junctors(node, schema)
    below = [*node.properties.values(), *(n for n in (node.items, node.additional) if n)]
    node.has_defaults = node.default is not None or any(child.has_defaults for child in below)
    node.has_rules = bool(node.rules) or any(child.has_rules for child in below)
    return node


def _compile_children(node: Node, schema: Obj) -> None:
    node.properties = {name: compile_schema(sub) for name, sub in (schema.get("properties") or {}).items()}
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        node.additional = compile_schema(additional)
    elif additional:
        node.additional = ANYTHING
    if isinstance(schema.get("items"), dict):
        node.items = compile_schema(schema["items"])


def _compile_junctors(node: Node, schema: Obj) -> None:
    """`allOf`, `anyOf`, `oneOf` and `not` only check values; they name no fields."""
    node.all_of = tuple(compile_schema(sub) for sub in schema.get("allOf") or ())
    node.any_of = tuple(compile_schema(sub) for sub in schema.get("anyOf") or ())
    node.one_of = tuple(compile_schema(sub) for sub in schema.get("oneOf") or ())
    node.none_of = compile_schema(schema["not"]) if isinstance(schema.get("not"), dict) else None


def _rule(raw: Obj) -> Rule:
    return Rule(
        rule=raw["rule"],
        message=raw.get("message") or "",
        message_expression=raw.get("messageExpression") or "",
        reason=raw.get("reason") or "FieldValueInvalid",
        field_path=raw.get("fieldPath") or "",
        optional_old_self=bool(raw.get("optionalOldSelf")),
    )


_PATTERN_PARTS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$|\(\?[ims]+\)|\(|\)", re.DOTALL)
"""An escape, a whole character class, an end, flags, or the begin or end of a group."""


def compile_pattern(pattern: str) -> "re.Pattern[str]":
    r"""A Go (RE2) pattern for Python's `re`.

    `$` and `\z` mean the very end, classes are ASCII, and flags as `(?i)` hold from where they stand to the end of
    their group.
    """
    flagged = [0]  # by group that is open: the flags in it, each of which became a group

    def translate(part: "re.Match[str]") -> str:
        text = part[0]
        if text in ("$", r"\z"):
            return r"\Z"
        if text.startswith("(?"):
            flagged[-1] += 1
            return f"{text[:-1]}:"
        if text == "(":
            flagged.append(0)
        return ")" * flagged.pop() + ")" if text == ")" and len(flagged) > 1 else text

    translated = _PATTERN_PARTS.sub(translate, pattern) + ")" * flagged[0]
    try:
        return re.compile(translated, re.ASCII)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


def find_schema_errors(schema: Json, path: str) -> list[FieldError]:
    """What keeps `schema` from being a structural schema; empty where nothing does."""
    if not isinstance(schema, dict):
        return [FieldError("FieldValueInvalid", path, schema, "must be an object")]
    errors = _own_errors(schema, path)
    below = {f"properties[{name}]": sub for name, sub in (schema.get("properties") or {}).items()}
    below |= {name: schema[name] for name in ("additionalProperties", "items") if isinstance(schema.get(name), dict)}
    for label, sub in below.items():
        errors.extend(find_schema_errors(sub, f"{path}.{label}"))
    return errors


def _own_errors(schema: Obj, path: str) -> list[FieldError]:
    """What is wrong at one place of a schema, whatever stands below it."""
    loose = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    keyless = schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys")
    required = (
        (not schema.get("type") and not loose, "type", "must not be empty for specified object fields"),
        (schema.get("type") == "array" and not isinstance(schema.get("items"), dict), "items", "must be specified"),
        (keyless, "x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map"),
    )
    quadratic = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
    both = schema.get("properties") and schema.get("additionalProperties")
    forbidden = (
        (schema.get("uniqueItems"), "uniqueItems", quadratic),
        (both, "additionalProperties", "must be mutual exclusive with properties"),
    )
    errors = [FieldError("FieldValueRequired", f"{path}.{name}", detail=text) for bad, name, text in required if bad]
    errors += [FieldError("FieldValueForbidden", f"{path}.{name}", detail=text) for bad, name, text in forbidden if bad]
    if schema.get("pattern"):
        try:
            compile_pattern(schema["pattern"])
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: {error.__cause__}"
            errors.append(FieldError("FieldValueInvalid", f"{path}.pattern", schema["pattern"], text))
    return errors
