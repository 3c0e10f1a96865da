"""What the fleet repository says at one commit, read again only where it changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

import pygit2

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.fleet.errors import RepositoryInvalid
from carbonfleet.fleet.git.commits import time_of
from carbonfleet.fleet.git.declared import read_cluster, read_policies
from carbonfleet.fleet.git.trees import MOST_ENTRIES, Files, blob, content_of, contents, is_file, leaves, subtree
from carbonfleet.fleet.manifests import (
    CLUSTER_FILE,
    CLUSTERS,
    JOBS,
    MOVES,
    NO_PLACEMENTS,
    SERVING,
    Held,
    Placement,
    PlacementInvalid,
    Placements,
    cluster_path,
    held_by,
    is_label,
    is_policy_path,
    meant_root,
    parse,
    parse_move,
    why_held,
    why_unread,
)
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.yaml_reader import FileInvalid, FileProblem


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
    held: Held = field(default_factory=dict)
    _odb: pygit2.Odb = field(default_factory=pygit2.Odb, repr=False, compare=False)
    _tree: pygit2.Tree | None = field(default=None, repr=False, compare=False)

    @property
    def placements(self) -> Mapping[str, Placement]:
        """By job UID; where a job has several, the highest attempt."""
        return self.index.latest

    @property
    def files(self) -> Mapping[str, Placement]:
        """All placements by path."""
        return self.index.by_path

    def why_held(self, root: str, cluster: str = "") -> str:
        """Why nothing new goes to a cluster, is served on it, or is moved; empty where all that says so can be read."""
        return why_held(self.held, root, cluster)

    def folder(self, cluster: str) -> Files:
        """All of one cluster's folder by its path from the root; empty where there is none."""
        return contents(self._odb, subtree(self._tree, f"{CLUSTERS}/{cluster}"), f"{CLUSTERS}/{cluster}")

    def serving(self, cluster: str) -> Files:
        """What people want served on a cluster, by path; empty where that is nothing."""
        return contents(self._odb, subtree(self._tree, f"{SERVING}/{cluster}"), f"{SERVING}/{cluster}")

    def file(self, path: str) -> bytes | None:
        """The content of one file; None where there is none."""
        return blob(self._odb, self._tree, path)


@dataclass(frozen=True, slots=True)
class _Namespace:
    tree: pygit2.Oid | None = None
    files: Mapping[str, "tuple[_Key, Placement | str]"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cluster:
    tree: pygit2.Oid | None = None
    file: "_Key | None" = None
    facts: ClusterFacts | None = None
    problem: str = ""
    namespaces: Mapping[str, _Namespace] = field(default_factory=dict)
    strays: Mapping[str, str] = field(default_factory=dict)


_NO_CLUSTER, _NO_NAMESPACE = _Cluster(), _Namespace()


class TipReader:
    """Reads commits of one clone; what has the same tree as last time is not read again."""

    def __init__(self, git: pygit2.Repository) -> None:
        self._odb = git.odb
        self._clusters: Mapping[str, _Cluster] = {}
        self._policies: tuple[_Key, PolicySet] | None = None
        self._moves: tuple[_Key, Mapping[str, Placement | str]] = (), {}
        self._unread: tuple[_Key, Mapping[str, str]] = (), {}
        self._last: Tip | None = None

    def read(self, commit: pygit2.Commit) -> Tip:
        """The tip at `commit`. Raises RepositoryInvalid where nobody could read all of its clusters."""
        if self._last is not None and self._last.commit == str(commit.id):
            return self._last
        before, clusters = self._clusters, subtree(commit.tree, CLUSTERS)
        if clusters is not None and len(clusters) > MOST_ENTRIES:
            raise RepositoryInvalid(
                f"{CLUSTERS}/ holds {len(clusters)} entries, more than the {MOST_ENTRIES} that are read: take away "
                "what is no cluster's folder; until then all goes on as it was"
            )
        self._clusters = {
            str(entry.name): _read_cluster(self._odb, entry, before.get(str(entry.name), _NO_CLUSTER))
            for entry in clusters or ()
            if isinstance(entry, pygit2.Tree)
        }
        index = self._last.index if self._last else NO_PLACEMENTS
        index = index.changed(*_differences(before, self._clusters))
        roots = [entry for entry in commit.tree if meant_root(str(entry.name))]
        policies = self._read_policies([entry for entry in roots if is_policy_path(str(entry.name))])
        moves = self._read_moves([entry for entry in roots if entry.name == MOVES])
        unread = self._read_others(roots)
        self._last = _tip(self._odb, commit, index, self._clusters, policies, moves, unread)
        return self._last

    def _read_moves(self, roots: Sequence[pygit2.Object]) -> Mapping[str, Placement | str]:
        if self._moves[0] != _key(*roots):
            self._moves = _key(*roots), {path: _read_move(path, data) for path, data in self._contents(roots).items()}
        return self._moves[1]

    def _read_policies(self, roots: Sequence[pygit2.Object]) -> PolicySet:
        if self._policies is None or self._policies[0] != _key(*roots):
            self._policies = _key(*roots), read_policies(self._contents(roots))
        return self._policies[1]

    def _read_others(self, roots: Sequence[pygit2.Object]) -> Mapping[str, str]:
        found = _others(roots)
        if self._unread[0] != _key(*found.values()):
            self._unread = _key(*found.values()), _unread(*found.items())
        return self._unread[1]

    def _contents(self, roots: Sequence[pygit2.Object]) -> Files:
        return {path: data for root in roots for path, data in contents(self._odb, root, str(root.name)).items()}


_Key = tuple[tuple[str | None, pygit2.Oid, int], ...]


def _key(*entries: pygit2.Object) -> _Key:
    """Equal where the entries are, links and files told apart."""
    return tuple((entry.name, entry.id, int(entry.filemode)) for entry in entries)


def _others(roots: Sequence[pygit2.Object]) -> dict[str, pygit2.Object]:
    """What lies beside policies, clusters' folders and moves, which name themselves what nobody reads in them."""
    found: dict[str, pygit2.Object] = {}
    for root in roots:
        if root.name == CLUSTERS and isinstance(root, pygit2.Tree):
            found |= {f"{CLUSTERS}/{each.name}": each for each in root if not isinstance(each, pygit2.Tree)}
        elif root.name != MOVES and not is_policy_path(str(root.name)):
            found[str(root.name)] = root
    return found


def _unread(*entries: tuple[str, pygit2.Object]) -> dict[str, str]:
    """What lies at or under paths and nobody reads, and why."""
    found = (leaf for path, entry in entries for leaf in leaves(entry, path))
    return {path: _said(path, why) for path, leaf in found if (why := why_unread(path, is_file=is_file(leaf)))}


def _said(path: str, message: str) -> str:
    return str(FileProblem(path, 1, message))


def _tip(
    odb: pygit2.Odb,
    commit: pygit2.Commit,
    index: Placements,
    clusters: Mapping[str, _Cluster],
    policies: PolicySet,
    moves: Mapping[str, Placement | str],
    unread: Mapping[str, str],
) -> Tip:
    strays = dict(chain.from_iterable(cluster.strays.items() for cluster in clusters.values()))
    differing = {path: str(each.differs) for path, each in index.by_path.items() if each.differs}
    problems = {name: found.problem for name, found in clusters.items() if found.problem}
    broken = {**unread, **strays, **_unfit(moves)}
    return Tip(
        commit=str(commit.id),
        time=time_of(commit),
        index=index,
        problems={**broken, **differing},
        clusters={name: found.facts for name, found in clusters.items() if found.facts is not None},
        cluster_problems=problems,
        policies=policies,
        moves={found.uid: found for _, found in sorted(moves.items(), reverse=True) if isinstance(found, Placement)},
        held=held_by({**broken, **{cluster_path(name): problem for name, problem in problems.items()}}),
        _odb=odb,
        _tree=commit.tree,
    )


def _unfit(moves: Mapping[str, Placement | str]) -> dict[str, str]:
    """What is wrong with files of moves."""
    found = {path: move if isinstance(move, str) else move.differs for path, move in moves.items()}
    return {path: str(problem) for path, problem in found.items() if problem}


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
        for path, (key, found) in these.files.items()
        if isinstance(found, Placement) and those.files.get(path, (None,))[0] != key
    ]


_TOO_FULL = f"holds more than {MOST_ENTRIES} files, and nothing that is new in it is read: take away what is no job's"


def _read_cluster(odb: pygit2.Odb, tree: pygit2.Tree, last: _Cluster) -> _Cluster:
    if last.tree == tree.id:
        return last
    name = str(tree.name)
    file, facts, problem = _facts(odb, name, tree, last)
    namespaces: dict[str, _Namespace] = {}
    here = f"{CLUSTERS}/{name}"
    is_jobs = subtree(tree, JOBS) is not None
    strays = _unread(*((f"{here}/{entry.name}", entry) for entry in tree if entry.name != JOBS or not is_jobs))
    if strays and facts is not None:  # what was meant by it may be a limit
        file, facts, problem = None, None, next(iter(strays.values()))
    jobs = subtree(tree, JOBS)
    if jobs is not None and len(jobs) > MOST_ENTRIES:
        namespaces, jobs = dict(last.namespaces), None
        strays[f"{here}/{JOBS}"] = _said(f"{here}/{JOBS}", _TOO_FULL)
    for entry in jobs or ():
        path = f"{here}/{JOBS}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            before = last.namespaces.get(str(entry.name), _NO_NAMESPACE)
            namespaces[str(entry.name)] = _read_namespace(odb, entry, path, before)
        else:
            strays[path] = _said(path, "only folders of namespaces belong here; remove it")
    for namespace in namespaces.values():
        strays |= {path: found for path, (_key, found) in namespace.files.items() if isinstance(found, str)}
    return _Cluster(tree.id, file, facts, problem, namespaces, strays)


def _facts(
    odb: pygit2.Odb, name: str, tree: pygit2.Tree, last: _Cluster
) -> tuple[_Key | None, ClusterFacts | None, str]:
    path = cluster_path(name)
    entry = tree / CLUSTER_FILE if CLUSTER_FILE in tree else None
    if not is_label(name):
        return None, None, f"{CLUSTERS}/{name}: the folder's name is not a lower-case DNS label"
    if entry is None or isinstance(entry, pygit2.Tree):
        return None, None, f"{path}: is missing, so nothing can be placed there"
    if (content := content_of(odb, entry)) is None:
        return None, None, _said(path, why_unread(path, is_file=False))
    if _key(entry) == last.file:
        return last.file, last.facts, last.problem
    try:
        return _key(entry), read_cluster(path, content), ""
    except FileInvalid as error:
        return _key(entry), None, str(error)


def _read_namespace(odb: pygit2.Odb, tree: pygit2.Tree, path: str, last: _Namespace) -> _Namespace:
    if last.tree == tree.id:
        return last
    if len(tree) > MOST_ENTRIES:
        # What ran before they were put there goes on.
        return _Namespace(tree.id, {**last.files, path: (_key(tree), _said(path, _TOO_FULL))})
    files: dict[str, tuple[_Key, Placement | str]] = {}
    for entry in tree:
        file = f"{path}/{entry.name}"
        before = last.files.get(file)
        files[file] = (
            before if before and before[0] == _key(entry) else (_key(entry), _read_placement(odb, file, entry))
        )
    return _Namespace(tree.id, files)


def _read_move(path: str, data: bytes | None) -> Placement | str:
    if data is None:
        return _said(path, why_unread(path, is_file=False))
    try:
        return parse_move(path, data)
    except PlacementInvalid as error:
        return str(error)


def _read_placement(odb: pygit2.Odb, path: str, entry: pygit2.Object) -> Placement | str:
    if isinstance(entry, pygit2.Tree):
        return _said(path, "only files of placements belong here; remove it")
    if (content := content_of(odb, entry)) is None:
        return _said(path, why_unread(path, is_file=False))
    try:
        return parse(path, content)
    except PlacementInvalid as error:
        return str(error)
