"""Which commits of the branch are followed: those whose changes to what counts were signed by who may make them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import SortMode

from carbonfleet.fleet.errors import HistoryUntrusted
from carbonfleet.fleet.git.clone import commit_at
from carbonfleet.fleet.git.commits import name_of
from carbonfleet.fleet.git.signing import is_signer, signer_of
from carbonfleet.fleet.git.transport import NOTHING
from carbonfleet.fleet.git.trees import MOST_ENTRIES, leaves, subtree
from carbonfleet.fleet.manifests import CLUSTERS, JOBS, meant_root

logger = logging.getLogger(__name__)
_TRUSTED: Final = "refs/carbonfleet/trusted"
"""In the clone: the last commit up to which all was looked at."""
_DEEPEST: Final = 3
"""Slashes in the path of a namespace's folder, the deepest that holds what counts."""
MOST_COMMITS: Final = 10_000
"""Looked at one by one since then; more are not followed."""


def trusted_by(clone: Path) -> str:
    """The commit up to which the user of a clone has looked at the branch; empty where there is none yet."""
    try:
        commit = commit_at(pygit2.Repository(str(clone)), _TRUSTED)
    except pygit2.GitError:
        return ""
    return str(commit or "")


@dataclass(frozen=True, slots=True)
class Trust:
    """Looks at every commit since the last trusted one, on all parents, before anything is made of the newest.

    What counts lies under `policies/`, `clusters/`, `moves/` and `serving/`. A commit that changes something there is
    signed by one of `signers`; one that puts a file among the placements is signed by the hub, whose key bears the
    address `hub` there. A merge is judged by what it changes beside its first parent; commits that change nothing that
    counts need no signature.
    """

    git: pygit2.Repository
    signers: Path
    hub: str
    begins_anywhere: bool
    """The hub's first look at a repository takes it as it is; others want it signed from the first."""

    def check(self, tip: pygit2.Oid) -> None:
        """Follow the branch to `tip`. Raises HistoryUntrusted, and RepositoryInvalid where no signature can be read."""
        base = commit_at(self.git, _TRUSTED)
        if base == tip:
            return
        if base is None:
            self._check_anew(tip)
        elif not self.git.descendant_of(tip, base):
            raise HistoryUntrusted(
                f"the branch was rewritten: {str(tip)[:12]} does not follow {str(base)[:12]}, which was trusted. Put "
                f"that back; or, if it was meant, take {self.git.path} away while nothing uses it"
            )
        else:
            self._check_since(base, tip)
        self.follow(tip)

    def follow(self, commit: pygit2.Oid) -> None:
        """Take a commit, our own for one, as trusted."""
        self.git.references.create(_TRUSTED, commit, force=True)

    def _check_since(self, base: pygit2.Oid, tip: pygit2.Oid) -> None:
        walk = self.git.walk(tip, SortMode.TOPOLOGICAL | SortMode.REVERSE)
        for seen in (base, self._put_back(base, tip)):
            if seen is not None:
                walk.hide(seen)
        for count, commit in enumerate(walk):
            if count == MOST_COMMITS:
                raise HistoryUntrusted(
                    f"over {MOST_COMMITS} commits lie between {str(base)[:12]}, which was trusted, and "
                    f"{str(tip)[:12]}, more than are looked at. Look what they are; if they were meant, take "
                    f"{self.git.path} away while nothing uses it"
                )
            self._check(commit)

    def _check_anew(self, tip: pygit2.Oid) -> None:
        """Of a branch that was never looked at: who signed what it says now, and that the hub signed each placement."""
        if self.begins_anywhere:
            logger.warning("%s is taken as it is at %s: what is signed counts from there", self.git.path, tip)
            return
        _refuse_overfull(self.git[tip].peel(pygit2.Commit), None)
        newest = next((each for each in self._first_parents(tip) if _changes_what_counts(each)), None)
        if newest is not None:
            self._signer(newest)
        left = dict(_placements(self.git[tip].peel(pygit2.Commit).tree))
        for commit in islice(self.git.walk(tip, SortMode.TOPOLOGICAL), MOST_COMMITS):
            if not left:
                return
            mine = {path for path, blob in _introduced(commit) if left.get(path) == blob}
            if mine:
                self._by_hub(commit, self._signer(commit), min(mine))
                left = {path: blob for path, blob in left.items() if path not in mine}
        if left:
            raise HistoryUntrusted(f"{min(left)} came in no commit of the last {MOST_COMMITS}: take it away")

    def _check(self, commit: pygit2.Commit) -> None:
        if _changes_what_counts(commit):
            _refuse_overfull(commit, commit.parents[0].tree if commit.parents else None)
            signer = self._signer(commit)
            for path, _blob in _introduced(commit):
                self._by_hub(commit, signer, path)

    def _signer(self, commit: pygit2.Commit) -> str:
        """Who signed it. Raises HistoryUntrusted where nobody did who may."""
        try:
            return signer_of(Path(self.git.path), str(commit.id), self.signers, self.hub)
        except HistoryUntrusted as error:
            touched = ", ".join(path for path, _ in islice(_changed(commit), 3))
            raise HistoryUntrusted(
                f"{error}; {name_of(commit.author)} changed {touched} in it. Nothing is made of it, nor put on top of "
                "it: have who may sign take it back to what it was, or sign it"
            ) from error

    def _by_hub(self, commit: pygit2.Commit, signer: str, path: str) -> None:
        if not is_signer(signer, self.hub):
            raise HistoryUntrusted(
                f"{path} came in {str(commit.id)[:12]}, signed by {signer}: only the hub ({self.hub}) places jobs. "
                "Take it back to what it was"
            )

    def _put_back(self, base: pygit2.Oid, tip: pygit2.Oid) -> pygit2.Oid | None:
        """The newest signed commit that made everything what it was at `base`: what lay between counts no more."""
        wanted = _what_counts(self.git[base].peel(pygit2.Commit))
        for commit in islice(self._first_parents(tip), MOST_COMMITS):
            if commit.id == base:
                return None
            if _what_counts(commit) == wanted and _changes_what_counts(commit):
                self._signer(commit)
                return commit.id
        return None

    def _first_parents(self, tip: pygit2.Oid) -> Iterator[pygit2.Commit]:
        walk = self.git.walk(tip, SortMode.TOPOLOGICAL)
        walk.simplify_first_parent()
        return iter(walk)


def _what_counts(commit: pygit2.Commit) -> tuple[tuple[str | None, str, int], ...]:
    """The folders that mean something, or were meant to, as one value."""
    entries = (entry for entry in commit.tree if meant_root(str(entry.name)))
    return tuple((entry.name, str(entry.id), int(entry.filemode)) for entry in entries)


def _changes_what_counts(commit: pygit2.Commit) -> bool:
    before = _what_counts(commit.parents[0]) if commit.parents else ()
    return _what_counts(commit) != before


def _refuse_overfull(commit: pygit2.Commit, before: pygit2.Tree | None) -> None:
    """Refuse a folder among those that a commit changes that holds more entries than are read, before it is compared.

    Namespaces' own files are not gone through: their folders may be large, and hold no others.
    """
    roots = [entry for entry in commit.tree if isinstance(entry, pygit2.Tree) and meant_root(str(entry.name))]
    todo = [(str(entry.name), entry, subtree(before, str(entry.name))) for entry in roots]
    while todo:
        path, now, then = todo.pop()
        if then is not None and then.id == now.id:
            continue
        if len(now) > MOST_ENTRIES:
            raise HistoryUntrusted(
                f"{path} holds {len(now)} entries in {str(commit.id)[:12]}, more than the {MOST_ENTRIES} that are "
                "looked at, so that nothing is made of it: have who may sign take it back to what it was"
            )
        if path.count("/") < _DEEPEST:
            folders = [entry for entry in now if isinstance(entry, pygit2.Tree)]
            todo += [(f"{path}/{each.name}", each, subtree(then, str(each.name))) for each in folders]


def _changed(commit: pygit2.Commit) -> Iterator[tuple[str, pygit2.Oid]]:
    """The files that a commit changes beside its first parent, as they are in it."""
    parents = commit.parents
    difference = parents[0].tree.diff_to_tree(commit.tree) if parents else commit.tree.diff_to_tree(swap=True)
    if len(difference) > MOST_ENTRIES:
        raise HistoryUntrusted(
            f"{str(commit.id)[:12]} changes {len(difference)} files, more than the {MOST_ENTRIES} that are looked at: "
            "have who may sign take it back to what it was, and make the change in parts"
        )
    for delta in difference.deltas:
        yield delta.new_file.raw_path.decode("utf-8", "surrogateescape"), delta.new_file.id


def _introduced(commit: pygit2.Commit) -> Iterator[tuple[str, pygit2.Oid]]:
    """The placements that a commit has and none of its parents had so."""
    others = [parent.tree for parent in commit.parents[1:]]
    for path, blob in _changed(commit):
        parts = path.split("/")
        is_placement = len(parts) > 3 and (parts[0], parts[2]) == (CLUSTERS, JOBS) and blob != NOTHING
        if is_placement and not any(_stands(tree, path, blob) for tree in others):
            yield path, blob


def _stands(tree: pygit2.Tree, path: str, blob: pygit2.Oid) -> bool:
    try:
        return tree[path].id == blob
    except KeyError:
        return False


def _placements(tree: pygit2.Tree) -> Iterator[tuple[str, pygit2.Oid]]:
    """All that lies among placements, by path."""
    for cluster in subtree(tree, CLUSTERS) or ():
        if isinstance(cluster, pygit2.Tree) and JOBS in cluster:
            found = leaves(cluster[JOBS], f"{CLUSTERS}/{cluster.name}/{JOBS}")
            yield from ((path, leaf.id) for path, leaf in found)
