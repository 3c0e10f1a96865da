"""The kinds that are served: the built-in ones, and one for each version of each CRD."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import yaml

from kubeapi.errors import no_such_resource, qualified
from kubeapi.objects import Obj
from kubeapi.schema import META_NODE, Node, compile_schema
from kubeapi.storage import Kind

_ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_VERBS: Final = {"all": _ALL_VERBS, "read": ("get", "list", "watch"), "review": ("create",)}


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
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL_VERBS
    subresources: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
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
    def gvk(self) -> Obj:
        """Group, version and kind, as many documents name them."""
        return {"group": self.group, "version": self.version, "kind": self.kind}

    @property
    def has_status(self) -> bool:
        """Whether status is written through its own subresource."""
        return "status" in self.subresources

    @property
    def fields(self) -> Node:
        """The schema that managed fields follow: `node` with the metadata of every object."""
        node = self.node
        properties = {**node.properties, "metadata": META_NODE}
        return Node("object", properties=properties, additional=node.additional, preserve=node.preserve)


@lru_cache(maxsize=1)
def builtin_resources() -> tuple[Resource, ...]:
    """The kinds that exist without a CRD."""
    text = (Path(__file__).parent / "builtins.yaml").read_text()
    return tuple(_builtin(raw) for raw in yaml.safe_load(text)["resources"])


def _builtin(raw: Obj) -> Resource:
    stored = raw.get("stored") or raw
    return Resource(
        **_named(raw, raw),
        version=raw["version"],
        namespaced=raw.get("namespaced", True),
        storage=(stored.get("group", ""), stored["plural"]),
        storage_version=raw["version"],
        schema=raw["schema"],
        node=compile_schema(raw["schema"]),
        verbs=_VERBS[raw.get("verbs", "all")],
        subresources=tuple(raw.get("subresources", ())),
        columns=tuple(Column(**{**c, "count": tuple(c.get("count", ()))}) for c in raw.get("columns", ())),
        selectable=tuple(raw.get("selectable", ())),
        counts_generation=raw.get("generation", False),
        warning=raw.get("warning", ""),
    )


def _custom(spec: Obj, version: Obj, storage_version: str) -> Resource:
    sub = version.get("subresources") or {}
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    warning = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    columns = [
        Column(**{"path" if key == "jsonPath" else key: value for key, value in column.items()})
        for column in version.get("additionalPrinterColumns") or ()
    ]
    return Resource(
        **_named(spec, spec["names"]),
        version=version["name"],
        namespaced=spec["scope"] == "Namespaced",
        storage=(spec["group"], spec["names"]["plural"]),
        storage_version=storage_version,
        schema=schema,
        node=compile_schema(schema),
        subresources=tuple(name for name in ("status", "scale") if name in sub),
        columns=tuple(columns) or (Column("Age", "date", ".metadata.creationTimestamp"),),
        selectable=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
        custom=True,
        counts_generation=True,
        scale=sub.get("scale") or {},
        warning=(version.get("deprecationWarning") or warning) if version.get("deprecated") else "",
    )


def _named(spec: Obj, names: Obj) -> Obj:
    """The names of a kind, as a CRD's `spec.names` gives them."""
    return {
        "group": spec.get("group", ""),
        "plural": names["plural"],
        "singular": names.get("singular") or names["kind"].lower(),
        "kind": names["kind"],
        "list_kind": names.get("listKind") or names["kind"] + "List",
        "short_names": tuple(names.get("shortNames") or ()),
        "categories": tuple(names.get("categories") or ()),
    }


class Registry:
    """Every resource that is served now."""

    def __init__(self) -> None:
        self._resources = {(r.group, r.version, r.plural): r for r in builtin_resources()}

    def find(self, group: str, version: str, plural: str) -> Resource:
        """The resource of a path. Raises 404 where nothing is served."""
        found = self._resources.get((group, version, plural))
        if found is None:
            raise no_such_resource()
        return found

    def register(self, crd: Obj) -> None:
        """Serve a CRD's versions in place of those that it had before."""
        self.unregister(crd)
        spec = crd["spec"]
        storage_version = next(version["name"] for version in spec["versions"] if version["storage"])
        for version in spec["versions"]:
            if version["served"]:
                resource = _custom(spec, version, storage_version)
                self._resources[resource.group, resource.version, resource.plural] = resource

    def unregister(self, crd: Obj) -> None:
        """Serve a CRD's kind no more."""
        kind = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        self._resources = {k: r for k, r in self._resources.items() if not (r.custom and r.storage == kind)}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Group to version to resources, in the order of registration."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in self:
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found

    def of_version(self, group: str, version: str) -> list[Resource]:
        """The resources of one version of a group. Raises 404 where it is not served."""
        found = self.groups().get(group, {}).get(version)
        if found is None:
            raise no_such_resource()
        return found
