"""Dropping fields that the schema does not name, and filling in its defaults."""

from kubeapi.objects import Json, Obj, decode
from kubeapi.schema.objectmeta import OBJECT_META
from kubeapi.schema.structural import Node


def prune(node: Node, value: Json, path: str = "", *, root: bool = False) -> list[str]:
    """Drop what the schema does not name, in place; returns the paths that were dropped."""
    unknown: list[str] = []
    _prune(node, value, path, root or node.embedded, unknown)
    return unknown


def _prune(node: Node, value: Json, path: str, whole: bool, unknown: list[str]) -> None:
    if isinstance(value, dict):
        _prune_object(node, value, path, whole, unknown)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if isinstance(item, (dict, list)):
                _prune(node.items, item, f"{path}[{index}]", node.items.embedded, unknown)


def _prune_object(node: Node, value: Obj, path: str, whole: bool, unknown: list[str]) -> None:
    properties, additional = node.properties, node.additional
    for name in list(value):
        here = f"{path}.{name}" if path else name
        if whole and name in ("apiVersion", "kind", "metadata"):
            if name == "metadata" and isinstance(value[name], dict):
                _prune_metadata(value[name], here, unknown)
            continue
        child = properties.get(name) or additional
        if child is None:
            if not node.preserve:
                del value[name]
                unknown.append(here)
        elif isinstance(value[name], (dict, list)):
            _prune(child, value[name], here, child.embedded, unknown)


def _prune_metadata(meta: Obj, path: str, unknown: list[str]) -> None:
    for name in [name for name in meta if name not in OBJECT_META["properties"]]:
        del meta[name]
        unknown.append(f"{path}.{name}")


def apply_defaults(node: Node, value: Json) -> None:
    """Fill in defaults, in place; a null where none is allowed counts as absent if there is a default."""
    if not node.has_defaults:
        return
    if isinstance(value, dict):
        for name, child in node.properties.items():
            if child.default is not None and _is_missing(value, name, child):
                value[name] = decode(child.default)
            if child.has_defaults and name in value:
                apply_defaults(child, value[name])
        if node.additional is not None and node.additional.has_defaults:
            for name in value.keys() - node.properties.keys():
                apply_defaults(node.additional, value[name])
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            apply_defaults(node.items, item)


def _is_missing(value: Obj, name: str, child: Node) -> bool:
    return name not in value or (value[name] is None and not child.nullable)
