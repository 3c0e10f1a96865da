"""The kinds that are served: the built-in ones, and one for each version of each CRD."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import yaml

from kubeapi.errors import no_such_resource, qualified
from kubeapi.fields import root_of
from kubeapi.journal import Kind
from kubeapi.schema import Node, compile_schema
from kubeapi.values import Obj

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_VERBS: Final = {"all": ALL_VERBS, "read": ("get", "list", "watch"), "ask": ("create",)}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    type: str
    path: str = ""
    count: tuple[str, ...] = ()
    made: str = ""
    priority: int = 0
    description: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served version of one kind."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    list_kind: str
    namespaced: bool
    storage: Kind
    storage_version: str
    schema: Obj
    node: Node
    fields: Node
    """The schema that managed fields follow: `node` with the metadata of every object."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    custom: bool = False
    counts_generation: bool = False
    scale: Obj = field(default_factory=dict)
    warning: str = ""
    """What every write of this kind is answered with."""

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`plural.group`, or the plural alone in the core group."""
        return qualified(self.group, self.plural)

    @property
    def has_status(self) -> bool:
        """Whether status is written through its own subresource."""
        return "status" in self.subresources


def _columns(raw: list[Obj]) -> tuple[Column, ...]:
    return tuple(
        Column(
            c["name"],
            c["type"],
            c.get("path", ""),
            tuple(c.get("count", ())),
            c.get("made", ""),
            int(bool(c.get("wide"))),
        )
        for c in raw
    )


def _builtin(raw: Obj) -> Resource:
    group, plural = raw.get("group", ""), raw["plural"]
    stored = raw.get("stored") or {"group": group, "plural": plural}
    node = compile_schema(raw["schema"])
    return Resource(
        group=group,
        version=raw["version"],
        plural=plural,
        singular=raw["kind"].lower(),
        kind=raw["kind"],
        list_kind=raw["kind"] + "List",
        namespaced=raw.get("namespaced", True),
        storage=(stored["group"], stored["plural"]),
        storage_version=raw["version"],
        schema=raw["schema"],
        node=node,
        fields=root_of(node),
        short_names=tuple(raw.get("short", ())),
        categories=tuple(raw.get("categories", ())),
        verbs=_VERBS[raw.get("verbs", "all")],
        subresources=tuple(raw.get("subresources", ())),
        columns=_columns(raw.get("columns", [])),
        selectable=("metadata.name", "metadata.namespace", *raw.get("selectable", ())),
        counts_generation=raw.get("generation", False),
        warning=raw.get("warning", ""),
    )


@lru_cache(maxsize=1)
def builtin_resources() -> tuple[Resource, ...]:
    """The kinds that exist without a CRD."""
    text = (Path(__file__).parent / "builtins.yaml").read_text()
    return tuple(_builtin(raw) for raw in yaml.safe_load(text)["resources"])


def _crd_columns(version: Obj) -> tuple[Column, ...]:
    raw = version.get("additionalPrinterColumns")
    if not raw:
        return (Column("Age", "date", ".metadata.creationTimestamp"),)
    return tuple(
        Column(
            c["name"],
            c["type"],
            c["jsonPath"],
            priority=c.get("priority", 0),
            description=c.get("description", ""),
            format=c.get("format", ""),
        )
        for c in raw
    )


def resources_of(crd: Obj) -> list[Resource]:
    """The served versions that a CustomResourceDefinition defines."""
    spec = crd["spec"]
    storage_version = next(v["name"] for v in spec["versions"] if v["storage"])
    return [_custom(spec, version, storage_version) for version in spec["versions"] if version["served"]]


def _custom(spec: Obj, version: Obj, storage_version: str) -> Resource:
    names = spec["names"]
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    node = compile_schema(schema)
    sub = version.get("subresources") or {}
    fields = tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ())
    warning = f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        kind=names["kind"],
        list_kind=names.get("listKind") or names["kind"] + "List",
        namespaced=spec["scope"] == "Namespaced",
        storage=(spec["group"], names["plural"]),
        storage_version=storage_version,
        schema=schema,
        node=node,
        fields=root_of(node),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(name for name in ("status", "scale") if name in sub),
        columns=_crd_columns(version),
        selectable=("metadata.name", "metadata.namespace", *fields),
        custom=True,
        counts_generation=True,
        scale=sub.get("scale") or {},
        warning=(version.get("deprecationWarning") or warning) if version.get("deprecated") else "",
    )


class Registry:
    """Every resource that is served now; `revision` changes with each registration."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self.revision = 0
        for resource in builtin_resources():
            self._resources[resource.group, resource.version, resource.plural] = resource

    def find(self, group: str, version: str, plural: str) -> Resource:
        """The resource of a path. Raises 404 where nothing is served."""
        found = self._resources.get((group, version, plural))
        if found is None:
            raise no_such_resource()
        return found

    def of_kind(self, kind: Kind) -> Resource | None:
        """The resource that serves a storage kind, in its storage version where that is served."""
        found = [r for r in self._resources.values() if r.storage == kind]
        return next(
            (r for r in found if r.version == r.storage_version and r.group == kind[0]),
            found[0] if found else None,
        )

    def register(self, crd: Obj) -> None:
        """Serve a CRD's versions in place of those that it had before."""
        self.unregister(crd)
        for resource in resources_of(crd):
            self._resources[resource.group, resource.version, resource.plural] = resource

    def unregister(self, crd: Obj) -> None:
        """Serve a CRD's kind no more."""
        spec = crd["spec"]
        kind = (spec["group"], spec["names"]["plural"])
        self._resources = {k: r for k, r in self._resources.items() if not (r.custom and r.storage == kind)}
        self.revision += 1

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Group to version to resources, in the order of registration."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in self:
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found
