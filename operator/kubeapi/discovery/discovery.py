"""Discovery: which groups, versions and resources there are, in both shapes that clients ask for."""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from kubeapi.errors import no_such_resource
from kubeapi.objects import Obj
from kubeapi.registry import Registry, Resource

VERSION: Final = {
    "major": "1", "minor": "36", "gitVersion": "v1.36.2+embedded", "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "none",
    "platform": "embedded",
}  # fmt: skip
"""The version whose answers the conformance transcript holds; the suffix says that this is not that server."""

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _storage_hash(resource: Resource) -> str:
    return hashlib.sha256("/".join((*resource.storage, resource.kind)).encode()).hexdigest()[:11] + "="


def resource_list(registry: Registry, group: str, version: str) -> Obj:
    """An `APIResourceList`. Raises 404 where the version is not served."""
    listed = [entry for resource in registry.of_version(group, version) for entry in _entries(resource)]
    api_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def _entries(resource: Resource) -> list[Obj]:
    main: Obj = {
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": list(resource.verbs), "storageVersionHash": _storage_hash(resource),
    }  # fmt: skip
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    return [main, *(_subresource(resource, name) for name in resource.subresources)]


_OTHER_KINDS: Final[dict[str, Obj]] = {
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
}


def _sub_verbs(name: str) -> list[str]:
    return {"token": ["create"], "finalize": ["update"]}.get(name, ["get", "patch", "update"])


def _subresource(resource: Resource, name: str) -> Obj:
    entry = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    return {**entry, **_OTHER_KINDS.get(name, {"kind": resource.kind}), "verbs": _sub_verbs(name)}


def group_list(registry: Registry) -> Obj:
    """The `APIGroupList` of all groups but the core one."""
    groups = [_group(name, versions) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Obj:
    """One `APIGroup`. Raises 404 where there is none."""
    versions = registry.groups().get(name)
    if not name or versions is None:
        raise no_such_resource()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _group(name: str, versions: Iterable[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in _by_priority(versions)]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _by_priority(versions: Iterable[str]) -> list[str]:
    """Stable before beta before alpha, newer before older, as Kubernetes prefers them."""
    return sorted(versions, key=_priority)


def _priority(version: str) -> tuple[int, int, int, str]:
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return 3, 0, 0, version
    return ("", "beta", "alpha").index(match[2] or ""), -int(match[1]), -int(match[3] or 0), ""


def aggregated(registry: Registry, *, core: bool) -> Obj:
    """The `APIGroupDiscoveryList` that newer clients read in one request instead of one for each version."""
    items = []
    for name, versions in registry.groups().items():
        if bool(name) != core:
            listed = [_aggregated_version(version, versions[version]) for version in _by_priority(versions)]
            items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
    return {**head, "items": items}


def _aggregated_version(version: str, resources: list[Resource]) -> Obj:
    listed = [_aggregated_resource(resource) for resource in resources]
    return {"version": version, "freshness": "Current", "resources": listed}


def _aggregated_resource(resource: Resource) -> Obj:
    entry: Obj = {
        "resource": resource.plural, "responseKind": resource.gvk,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular, "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names), "categories": list(resource.categories),
        "subresources": [
            {"subresource": name, "responseKind": _OTHER_KINDS.get(name, resource.gvk), "verbs": _sub_verbs(name)}
            for name in resource.subresources
        ],
    }  # fmt: skip
    return {key: value for key, value in entry.items() if value != []}
