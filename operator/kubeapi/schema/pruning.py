"""Dropping fields that the schema does not name, and filling in its defaults."""

from kubeapi.objects import Json, decode
from kubeapi.schema.objectmeta import META_NODE
from kubeapi.schema.structural import Node


def prune(node: Node, value: Json, path: str = "", *, root: bool = False) -> list[str]:
    """Drop what the schema does not name, in place; returns the paths that were dropped.

    A `root`, like an embedded resource, has apiVersion, kind and metadata beside what its schema names.
    """
    unknown: list[str] = []
    if isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            unknown += prune(node.items, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name in list(value):
            here, child = f"{path}.{name}" if path else name, node.child(name)
            if (root or node.embedded) and name in ("apiVersion", "kind", "metadata"):
                child = META_NODE if name == "metadata" else None
            elif child is None and not node.preserve:
                del value[name]
                unknown.append(here)
            if child is not None:
                unknown += prune(child, value[name], here)
    return unknown


def apply_defaults(node: Node, value: Json) -> None:
    """Fill in defaults, in place; a null where none is allowed counts as absent if there is a default."""
    if not node.has_defaults:
        return
    if isinstance(value, dict):
        for name, child in node.properties.items():
            absent = name not in value or (value[name] is None and not child.nullable)
            if child.default is not None and absent:
                value[name] = decode(child.default)
            if child.has_defaults and name in value:
                apply_defaults(child, value[name])
        if node.additional is not None:
            for name in value.keys() - node.properties.keys():
                apply_defaults(node.additional, value[name])
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            apply_defaults(node.items, item)
