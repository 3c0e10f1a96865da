"""OpenAPI v3 documents, as far as `kubectl explain`, `apply` and validation read them."""

import hashlib
from typing import Final

from kubeapi.objects import Obj, encode
from kubeapi.patch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH
from kubeapi.registry import Registry, Resource
from kubeapi.schema import OBJECT_META

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_STRING: Final = {"type": "string"}
_TYPE_FIELDS: Final[Obj] = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object.",
    },
    "kind": {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object represents.",
    },
    "metadata": {
        "description": "Standard object's metadata.",
        "allOf": [{"$ref": f"#/components/schemas/{_META}"}],
        "default": {},
    },
}
_QUERY: Final = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("pretty", "dryRun", "fieldManager", "fieldValidation")
]


V2_MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
EMPTY_V2: Final = b"\x0a\x032.0"
"""An OpenAPI v2 document (protobuf, `swagger: "2.0"`) that defines nothing: kubectl falls back to it for a
kind that was made since it read the v3 index, and then leaves validation to the server."""


def index(registry: Registry) -> Obj:
    """Where each version's document is; the address changes with its content, so that clients may cache it."""
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(encode(document(registry, group, version))).hexdigest()[:32].upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> Obj:
    """The document of one version. Raises 404 where it is not served."""
    schemas: Obj = {_META: OBJECT_META}
    paths: Obj = {}
    for resource in registry.of_version(group, version):
        name = _schema_name(resource)
        schemas[name] = _schema(resource)
        schemas[name + "List"] = _list_schema(resource, name)
        paths |= _paths(resource, name)
    info = {"title": "Embedded Kubernetes API", "version": "v1.36.2"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _schema_name(resource: Resource) -> str:
    if not resource.custom:
        return f"io.k8s.api.{(resource.group or 'core').split('.')[0]}.{resource.version}.{resource.kind}"
    return ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))


def _schema(resource: Resource) -> Obj:
    published = resource.schema
    properties = {**(published.get("properties") or {}), **_TYPE_FIELDS}
    return {**published, "properties": properties, "x-kubernetes-group-version-kind": [resource.gvk]}


def _list_schema(resource: Resource, name: str) -> Obj:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    kind = {**resource.gvk, "kind": resource.list_kind}
    properties = {"apiVersion": _STRING, "kind": _STRING, "metadata": {"type": "object"}, "items": items}
    head = {"type": "object", "required": ["items"], "x-kubernetes-group-version-kind": [kind]}
    return {**head, "properties": properties}


def _paths(resource: Resource, schema: str) -> Obj:
    prefix = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if resource.namespaced:
        prefix += "/namespaces/{namespace}"
    base = f"{prefix}/{resource.plural}"
    found: Obj = {}
    if "list" in resource.verbs:
        get, post = _operation(resource, "list", schema + "List"), _operation(resource, "post", schema)
        found[base] = {"get": get, "post": post}
        found[base + "/{name}"] = _item_operations(resource, schema)
    elif "create" in resource.verbs:
        found[base] = {"post": _operation(resource, "post", schema)}
    for name in resource.subresources:
        if name == "status":
            found[f"{base}/{{name}}/status"] = _item_operations(resource, schema)
    return found


def _item_operations(resource: Resource, schema: str) -> Obj:
    operations = {verb: _operation(resource, verb, schema) for verb in ("get", "put", "patch", "delete")}
    accepted = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    body = {"schema": {"type": "object"}}
    operations["patch"]["requestBody"] = {"required": True, "content": dict.fromkeys(accepted, body)}
    return operations


def _operation(resource: Resource, action: str, schema: str) -> Obj:
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    operation: Obj = {
        "responses": {"200": {"description": "OK", "content": answer}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": resource.gvk,
    }
    if action in ("post", "put", "patch"):
        operation["parameters"] = _QUERY
    return operation
