"""Where resources lie in a Kubernetes API, and how objects are named to people."""

from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.kube.answers import Object


def ours(plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of carbonfleet's own resources."""
    return path(f"apis/{GROUP}/{VERSION}", plural, namespace, name, subresource)


def path(api: str, plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of a resource: `api` is `api/v1` or `apis/<group>/<version>`."""
    parts = [api, *(("namespaces", namespace) if namespace else ()), plural, name, subresource]
    return "/" + "/".join(part for part in parts if part)


def name_of(body: Object) -> str:
    """`namespace/name`, or the name of what has no namespace: for people, whatever stands there."""
    metadata = body.get("metadata") or {}
    return "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
