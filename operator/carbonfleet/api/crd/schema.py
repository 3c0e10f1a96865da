"""From a Pydantic model's JSON Schema to a structural schema, as a CustomResourceDefinition wants it."""

from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
    "properties",
    "items",
)
"""What a structural schema may hold of ours, in the order in which people read it."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The model's structural schema: no references, no null, nothing that Kubernetes refuses.

    Without `defaults` none are written: a status is set by its controller, never filled in.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(document, document.get("$defs", {}), defaults)


def _convert(node: Schema, definitions: Schema, defaults: bool) -> Schema:
    node = _resolve(node, definitions)
    if "const" in node:
        node["enum"] = [node["const"]]
    for key in ("properties", "items"):
        if key in node:
            node[key] = _children(node[key], key, definitions, defaults)
    _bounds_as_flags(node)
    _default(node, defaults)
    return {key: node[key] for key in _KEPT if key in node}


def _children(value: Schema, key: str, definitions: Schema, defaults: bool) -> Schema:
    if key == "items":
        return _convert(value, definitions, defaults)
    return {name: _convert(child, definitions, defaults) for name, child in value.items()}


def _resolve(node: Schema, definitions: Schema) -> Schema:
    """Follow references and drop the null of an optional value; what stands nearer wins."""
    node = dict(node)
    if "$ref" in node:
        target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        return _resolve(target | node, definitions)
    if "anyOf" in node:
        (one,) = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
        return _resolve(one | node, definitions)
    return node


def _bounds_as_flags(node: Schema) -> None:
    """Kubernetes writes `minimum: 0` with `exclusiveMinimum: true`, not `exclusiveMinimum: 0`."""
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if flag in node:
            node[bound], node[flag] = node[flag], True


def _default(node: Schema, defaults: bool) -> None:
    """Keep a default that says something: of an object, what differs from its fields' own."""
    default = node.pop("default", None)
    if not defaults or default in (None, "", [], ()):
        return
    if isinstance(default, dict):
        default = _differing(default, node)
    elif isinstance(default, float) and default.is_integer():
        default = int(default)
    node["default"] = default


def _differing(value: Schema, schema: Schema) -> Schema:
    fields = schema.get("properties", {})
    return {
        name: inner
        for name, inner in value.items()
        if inner not in (None, "", [], {})
        and inner != fields[name].get("default")
        and not (isinstance(inner, dict) and not _differing(inner, fields[name]))
    }
