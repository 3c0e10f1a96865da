"""What the fleet repository says at one commit, read again only where it changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import pygit2

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.fleet.declared import read_cluster, read_policies
from carbonfleet.fleet.layout import (
    CLUSTER_FILE,
    CLUSTERS,
    JOBS,
    MOVES,
    POLICIES,
    SERVING,
    cluster_path,
    is_label,
    is_policy_file,
)
from carbonfleet.fleet.manifest import Placement, PlacementInvalid, parse, parse_move
from carbonfleet.fleet.placements import NO_PLACEMENTS, Placements
from carbonfleet.fleet.trees import blob, subtree, walk_blobs
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.yaml_reader import FileInvalid


@dataclass(frozen=True, slots=True)
class Tip:
    """The branch at one commit."""

    commit: str
    time: datetime
    index: Placements = field(repr=False)
    """All placements, by path, job UID and id."""
    problems: Mapping[str, str]
    """Files among the placements and moves that are none, by path: what is wrong."""
    clusters: Mapping[str, ClusterFacts]
    cluster_problems: Mapping[str, str]
    """By cluster: why its facts can't be used."""
    policies: PolicySet
    moves: Mapping[str, Placement] = field(default_factory=dict)
    """By job UID: the moves that people agreed to and that are not made yet, as the placements that they lead to."""
    _tree: pygit2.Tree | None = field(default=None, repr=False, compare=False)

    @property
    def placements(self) -> Mapping[str, Placement]:
        """By job UID; where a job has several, the highest attempt."""
        return self.index.latest

    @property
    def files(self) -> Mapping[str, Placement]:
        """All placements by path."""
        return self.index.by_path

    def folder(self, cluster: str) -> Mapping[str, bytes]:
        """Every file of one cluster's folder by its path from the root; empty where there is none."""
        return dict(walk_blobs(subtree(self._tree, f"{CLUSTERS}/{cluster}"), f"{CLUSTERS}/{cluster}", _data))

    def serving(self, cluster: str) -> Mapping[str, bytes]:
        """What people want served on a cluster, by path; empty where that is nothing."""
        return dict(walk_blobs(subtree(self._tree, f"{SERVING}/{cluster}"), f"{SERVING}/{cluster}", _data))

    def file(self, path: str) -> bytes | None:
        """The content of one file; None where there is none."""
        return blob(self._tree, path)


@dataclass(frozen=True, slots=True)
class _Namespace:
    tree: pygit2.Oid | None = None
    files: Mapping[str, tuple[pygit2.Oid, Placement | str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cluster:
    tree: pygit2.Oid | None = None
    file: pygit2.Oid | None = None
    facts: ClusterFacts | None = None
    problem: str = ""
    namespaces: Mapping[str, _Namespace] = field(default_factory=dict)
    strays: Mapping[str, str] = field(default_factory=dict)


_NO_CLUSTER, _NO_NAMESPACE = _Cluster(), _Namespace()


class TipReader:
    """Reads commits of one clone; what has the same tree as last time is not read again."""

    def __init__(self) -> None:
        self._clusters: Mapping[str, _Cluster] = {}
        self._policies: tuple[pygit2.Oid | None, PolicySet] | None = None
        self._moves: tuple[pygit2.Oid | None, Mapping[str, Placement | str]] = None, {}
        self._last: Tip | None = None

    def read(self, commit: pygit2.Commit) -> Tip:
        """The tip at `commit`."""
        if self._last is not None and self._last.commit == str(commit.id):
            return self._last
        before = self._clusters
        self._clusters = {
            str(entry.name): _read_cluster(entry, before.get(str(entry.name), _NO_CLUSTER))
            for entry in subtree(commit.tree, CLUSTERS) or ()
            if isinstance(entry, pygit2.Tree)
        }
        index = self._last.index if self._last else NO_PLACEMENTS
        index = index.changed(*_differences(before, self._clusters))
        policies = self._read_policies(subtree(commit.tree, POLICIES))
        self._last = _tip(commit, index, self._clusters, policies, self._read_moves(subtree(commit.tree, MOVES)))
        return self._last

    def _read_moves(self, tree: pygit2.Tree | None) -> Mapping[str, Placement | str]:
        oid = tree.id if tree is not None else None
        if self._moves[0] != oid:
            self._moves = oid, {path: _read_move(path, data) for path, data in walk_blobs(tree, MOVES, _data)}
        return self._moves[1]

    def _read_policies(self, tree: pygit2.Tree | None) -> PolicySet:
        oid = tree.id if tree is not None else None
        if self._policies is None or self._policies[0] != oid:
            contents = dict(walk_blobs(tree, POLICIES, _data))
            yaml_only = {path: data for path, data in contents.items() if is_policy_file(path)}
            self._policies = oid, read_policies(yaml_only)
        return self._policies[1]


def _data(found: pygit2.Blob) -> bytes:
    return found.data


def _tip(
    commit: pygit2.Commit,
    index: Placements,
    clusters: Mapping[str, _Cluster],
    policies: PolicySet,
    moves: Mapping[str, Placement | str],
) -> Tip:
    strays = dict(chain.from_iterable(cluster.strays.items() for cluster in clusters.values()))
    return Tip(
        commit=str(commit.id),
        time=datetime.fromtimestamp(commit.commit_time, UTC),
        index=index,
        problems=strays | {path: found for path, found in moves.items() if isinstance(found, str)},
        clusters={name: found.facts for name, found in clusters.items() if found.facts is not None},
        cluster_problems={name: found.problem for name, found in clusters.items() if found.problem},
        policies=policies,
        moves={found.uid: found for _, found in sorted(moves.items(), reverse=True) if isinstance(found, Placement)},
        _tree=commit.tree,
    )


def _differences(
    before: Mapping[str, _Cluster], after: Mapping[str, _Cluster]
) -> tuple[list[Placement], list[Placement]]:
    """The placements that went and those that came; folders with the same tree are not looked into."""
    gone: list[Placement] = []
    come: list[Placement] = []
    for name in before.keys() | after.keys():
        old, new = before.get(name, _NO_CLUSTER), after.get(name, _NO_CLUSTER)
        if old is new:
            continue
        for namespace in old.namespaces.keys() | new.namespaces.keys():
            had = old.namespaces.get(namespace, _NO_NAMESPACE)
            has = new.namespaces.get(namespace, _NO_NAMESPACE)
            if had is not has:
                gone += _only_in(had, has)
                come += _only_in(has, had)
    return gone, come


def _only_in(these: _Namespace, those: _Namespace) -> list[Placement]:
    return [
        found
        for path, (oid, found) in these.files.items()
        if isinstance(found, Placement) and those.files.get(path, (None,))[0] != oid
    ]


def _read_cluster(tree: pygit2.Tree, last: _Cluster) -> _Cluster:
    if last.tree == tree.id:
        return last
    name = str(tree.name)
    file, facts, problem = _facts(name, tree, last)
    namespaces: dict[str, _Namespace] = {}
    strays: dict[str, str] = {}
    for entry in subtree(tree, JOBS) or ():
        path = f"{CLUSTERS}/{name}/{JOBS}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            before = last.namespaces.get(str(entry.name), _NO_NAMESPACE)
            namespaces[str(entry.name)] = _read_namespace(entry, path, before)
        else:
            strays[path] = f"{path}: only folders of namespaces belong here"
    for namespace in namespaces.values():
        strays |= {path: found for path, (_oid, found) in namespace.files.items() if isinstance(found, str)}
    return _Cluster(tree.id, file, facts, problem, namespaces, strays)


def _facts(name: str, tree: pygit2.Tree, last: _Cluster) -> tuple[pygit2.Oid | None, ClusterFacts | None, str]:
    path = cluster_path(name)
    entry = tree / CLUSTER_FILE if CLUSTER_FILE in tree else None
    if not is_label(name):
        return None, None, f"{CLUSTERS}/{name}: the folder's name is not a lower-case DNS label"
    if not isinstance(entry, pygit2.Blob):
        return None, None, f"{path}: is missing, so nothing can be placed there"
    if entry.id == last.file:
        return last.file, last.facts, last.problem
    try:
        return entry.id, read_cluster(path, entry.data), ""
    except FileInvalid as error:
        return entry.id, None, str(error)


def _read_namespace(tree: pygit2.Tree, path: str, last: _Namespace) -> _Namespace:
    if last.tree == tree.id:
        return last
    files: dict[str, tuple[pygit2.Oid, Placement | str]] = {}
    for entry in tree:
        file = f"{path}/{entry.name}"
        before = last.files.get(file)
        files[file] = before if before and before[0] == entry.id else (entry.id, _read_placement(file, entry))
    return _Namespace(tree.id, files)


def _read_move(path: str, data: bytes) -> Placement | str:
    try:
        return parse_move(path, data)
    except PlacementInvalid as error:
        return str(error)


def _read_placement(path: str, entry: pygit2.Object) -> Placement | str:
    if not isinstance(entry, pygit2.Blob):
        return f"{path}: only files of placements belong here"
    try:
        return parse(path, entry.data)
    except PlacementInvalid as error:
        return str(error)
