"""What the fleet repository says at one commit, read again only where it changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import pygit2

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.fleet.declared import read_cluster, read_policies
from carbonfleet.fleet.layout import CLUSTER_FILE, CLUSTERS, JOBS, POLICIES, cluster_path, is_label
from carbonfleet.fleet.manifest import Placement, PlacementInvalid, parse
from carbonfleet.fleet.source import SourceInvalid
from carbonfleet.fleet.trees import blob, subtree, walk_blobs
from carbonfleet.placement.snapshot import PolicySet


@dataclass(frozen=True, slots=True)
class Tip:
    """The branch at one commit."""

    commit: str
    time: datetime
    placements: Mapping[str, Placement]
    """By job UID; where a job has several, the highest attempt."""
    files: Mapping[str, Placement]
    """All placements by path."""
    problems: Mapping[str, str]
    """Files among the placements that are none, by path: what is wrong."""
    clusters: Mapping[str, ClusterFacts]
    cluster_problems: Mapping[str, str]
    """By cluster: why its facts can't be used."""
    policies: PolicySet
    _tree: pygit2.Tree | None = field(default=None, repr=False, compare=False)

    def folder(self, cluster: str) -> Mapping[str, bytes]:
        """Every file of one cluster's folder by its path from the root; empty where there is none."""
        return dict(walk_blobs(subtree(self._tree, f"{CLUSTERS}/{cluster}"), f"{CLUSTERS}/{cluster}", _data))

    def file(self, path: str) -> bytes | None:
        """The content of one file; None where there is none."""
        return blob(self._tree, path)


@dataclass(frozen=True, slots=True)
class _Namespace:
    tree: pygit2.Oid
    files: Mapping[str, tuple[pygit2.Oid, Placement | str]]


@dataclass(frozen=True, slots=True)
class _Cluster:
    tree: pygit2.Oid
    facts: ClusterFacts | None
    problem: str
    namespaces: Mapping[str, _Namespace]
    strays: Mapping[str, str]


class TipReader:
    """Reads commits of one clone; what has the same tree as last time is not read again."""

    def __init__(self) -> None:
        self._clusters: Mapping[str, _Cluster] = {}
        self._policies: tuple[pygit2.Oid | None, PolicySet] | None = None
        self._last: Tip | None = None

    def read(self, commit: pygit2.Commit) -> Tip:
        """The tip at `commit`."""
        if self._last is None or self._last.commit != str(commit.id):
            tree = commit.tree
            folders = (entry for entry in subtree(tree, CLUSTERS) or () if isinstance(entry, pygit2.Tree))
            self._clusters = {
                str(entry.name): _read_cluster(entry, self._clusters.get(str(entry.name))) for entry in folders
            }
            self._last = _tip(commit, self._clusters, self._read_policies(subtree(tree, POLICIES)))
        return self._last

    def _read_policies(self, tree: pygit2.Tree | None) -> PolicySet:
        oid = tree.id if tree is not None else None
        if self._policies is None or self._policies[0] != oid:
            contents = dict(walk_blobs(tree, POLICIES, _data))
            yaml_only = {path: data for path, data in contents.items() if path.endswith((".yaml", ".yml"))}
            self._policies = oid, read_policies(yaml_only)
        return self._policies[1]


def _data(found: pygit2.Blob) -> bytes:
    return found.data


def _tip(commit: pygit2.Commit, clusters: Mapping[str, _Cluster], policies: PolicySet) -> Tip:
    read = {
        path: found
        for cluster in clusters.values()
        for namespace in cluster.namespaces.values()
        for path, (_oid, found) in namespace.files.items()
    }
    files = {path: found for path, found in read.items() if isinstance(found, Placement)}
    strays = chain.from_iterable(cluster.strays.items() for cluster in clusters.values())
    return Tip(
        commit=str(commit.id),
        time=datetime.fromtimestamp(commit.commit_time, UTC),
        placements=_by_uid(files.values()),
        files=files,
        problems=dict(strays) | {path: found for path, found in read.items() if isinstance(found, str)},
        clusters={name: found.facts for name, found in clusters.items() if found.facts is not None},
        cluster_problems={name: found.problem for name, found in clusters.items() if found.problem},
        policies=policies,
        _tree=commit.tree,
    )


def _by_uid(placements: Iterable[Placement]) -> dict[str, Placement]:
    found: dict[str, Placement] = {}
    for placement in placements:
        other = found.get(placement.uid)
        if other is None or (placement.attempt, placement.path) > (other.attempt, other.path):
            found[placement.uid] = placement
    return found


def _read_cluster(tree: pygit2.Tree, last: _Cluster | None) -> _Cluster:
    if last is not None and last.tree == tree.id:
        return last
    name = str(tree.name)
    facts, problem = _facts(name, blob(tree, CLUSTER_FILE))
    namespaces: dict[str, _Namespace] = {}
    strays: dict[str, str] = {}
    for entry in subtree(tree, JOBS) or ():
        path = f"{CLUSTERS}/{name}/{JOBS}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            before = last.namespaces.get(str(entry.name)) if last else None
            namespaces[str(entry.name)] = _read_namespace(entry, path, before)
        else:
            strays[path] = f"{path}: only folders of namespaces belong here"
    return _Cluster(tree.id, facts, problem, namespaces, strays)


def _facts(name: str, content: bytes | None) -> tuple[ClusterFacts | None, str]:
    if not is_label(name):
        return None, f"{CLUSTERS}/{name}: the folder's name is not a lower-case DNS label"
    if content is None:
        return None, f"{cluster_path(name)}: is missing, so nothing can be placed there"
    try:
        return read_cluster(cluster_path(name), content), ""
    except SourceInvalid as error:
        return None, str(error)


def _read_namespace(tree: pygit2.Tree, path: str, last: _Namespace | None) -> _Namespace:
    if last is not None and last.tree == tree.id:
        return last
    files: dict[str, tuple[pygit2.Oid, Placement | str]] = {}
    for entry in tree:
        file = f"{path}/{entry.name}"
        before = last.files.get(file) if last else None
        unchanged = before is not None and before[0] == entry.id
        files[file] = before if before and unchanged else (entry.id, _read_placement(file, entry))
    return _Namespace(tree.id, files)


def _read_placement(path: str, entry: pygit2.Object) -> Placement | str:
    if not isinstance(entry, pygit2.Blob):
        return f"{path}: only files of placements belong here"
    try:
        return parse(path, entry.data)
    except PlacementInvalid as error:
        return str(error)
