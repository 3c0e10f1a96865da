"""Discovery: which groups, versions and resources there are, in both shapes that clients ask for."""

import hashlib
from functools import lru_cache
from typing import Final

from kubeapi.errors import no_such_resource
from kubeapi.resources import Registry, Resource
from kubeapi.values import Obj

VERSION: Final = {
    "major": "1", "minor": "36", "gitVersion": "v1.36.2+embedded", "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "none",
    "platform": "embedded",
}  # fmt: skip
"""The version whose answers the conformance transcript holds; the suffix says that this is not that
server."""

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _storage_hash(resource: Resource) -> str:
    return hashlib.sha256("/".join((*resource.storage, resource.kind)).encode()).hexdigest()[:11] + "="


def resource_list(registry: Registry, group: str, version: str) -> Obj:
    """An `APIResourceList`. Raises 404 where the version is not served."""
    resources = registry.groups().get(group, {}).get(version)
    if resources is None:
        raise no_such_resource()
    listed = [entry for resource in resources for entry in _entries(resource)]
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


_OTHER_KINDS: Final = {
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_SUB_VERBS: Final = {"token": ["create"], "finalize": ["update"]}


def _subresource(resource: Resource, name: str) -> Obj:
    entry: Obj = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    if name in _OTHER_KINDS:
        entry["group"], entry["version"], entry["kind"] = _OTHER_KINDS[name]
    else:
        entry["kind"] = resource.kind
    return {**entry, "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"])}


def group_list(registry: Registry) -> Obj:
    """The `APIGroupList` of all groups but the core one."""
    groups = [_group(name, list(versions)) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Obj:
    """One `APIGroup`. Raises 404 where there is none."""
    versions = registry.groups().get(name)
    if not name or versions is None:
        raise no_such_resource()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))}


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in by_priority(versions)]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def by_priority(versions: list[str]) -> list[str]:
    """Stable before beta before alpha, newer before older, as Kubernetes prefers them."""
    return sorted(versions, key=_priority)


@lru_cache(maxsize=256)
def _priority(version: str) -> tuple[int, int, int, str]:
    for rank, stage in enumerate(("", "beta", "alpha")):
        major, _, minor = version.removeprefix("v").partition(stage) if stage else (version.removeprefix("v"), "", "0")
        if version.startswith("v") and major.isdigit() and minor.isdigit():
            return (rank, -int(major), -int(minor), "")
    return (9, 0, 0, version)


def aggregated(registry: Registry, *, core: bool) -> Obj:
    """The `APIGroupDiscoveryList` that newer clients read in one request instead of one for each version."""
    items = []
    for name, versions in registry.groups().items():
        if bool(name) != core:
            listed = [_aggregated_version(version, versions[version]) for version in by_priority(list(versions))]
            items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_version(version: str, resources: list[Resource]) -> Obj:
    return {
        "version": version,
        "freshness": "Current",
        "resources": [_aggregated_resource(r) for r in resources],
    }


def _aggregated_resource(resource: Resource) -> Obj:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: Obj = {
        "resource": resource.plural, "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular, "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }  # fmt: skip
    below = []
    for name in resource.subresources:
        group_version_kind = _OTHER_KINDS.get(name)
        response = (
            dict(zip(("group", "version", "kind"), group_version_kind, strict=True)) if group_version_kind else kind
        )
        below.append(
            {
                "subresource": name,
                "responseKind": response,
                "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"]),
            }
        )
    if below:
        entry["subresources"] = below
    return {key: value for key, value in entry.items() if value != []}
