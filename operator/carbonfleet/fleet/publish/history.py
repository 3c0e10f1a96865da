"""What the branch's history says of placements: which were ever there, and who took them away."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

import pygit2
from pygit2.enums import SortMode

from carbonfleet.faults import only
from carbonfleet.fleet.git import blob, email_of, measured, message_of, name_of, subtree, time_of
from carbonfleet.fleet.manifests import CLUSTERS, Placement, PlacementInvalid, parse
from carbonfleet.fleet.publish.message import Change, changes_in

MOST_COMMITS_SEARCHED: Final = 10_000
MOST_FILES_READ: Final = 1000
"""Of one commit of a person's, to find the placements that it adds."""
_PLACED: Final = re.compile(rf"{CLUSTERS}/[a-z0-9-]+/jobs/[a-z0-9-]+/[a-z0-9-]+\.yaml")
PLACE: Final = "place"
"""What a trailer calls it."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """A placement that was on the branch and is not any more."""

    by_us: bool
    """The hub removed it; otherwise a person did, or the branch's history was rewritten."""
    commit: str = ""
    author: str = ""

    @property
    def who(self) -> str:
        """For people: by whom and in which commit."""
        if self.by_us:
            return f"the hub in {self.commit[:10]}"
        return f"{self.author} in {self.commit[:10]}" if self.commit else "someone who rewrote the branch"


@dataclass(frozen=True, slots=True)
class Stood:
    """An attempt that was placed on the branch, as the trailers of its commit say."""

    placement_id: str
    attempt: int
    cluster: str
    path: str
    commit: str
    committed_at: datetime


class PlacementHistory:
    """Index of the placements in all commits that were ever seen on the branch; it grows with the tip."""

    def __init__(self, author_email: str) -> None:
        self._author_email = author_email
        self._placed: dict[str, str] = {}
        self._removed: dict[str, str] = {}
        self._decided: dict[tuple[str, int], dict[str, str]] = {}
        self._lapsed: Counter[str] = Counter()
        self._attempts: dict[str, dict[tuple[str, str], Stood]] = {}
        self._head: pygit2.Oid | None = None

    def advance(
        self, repository: pygit2.Repository, tip: pygit2.Oid, clone_faults: tuple[type[Exception], ...] = ()
    ) -> None:
        """Read the commits that are new since the last call; each is read once. Raises `clone_faults`.

        Whatever else goes wrong over one commit ends there: nothing is known of what it did.
        """
        if tip == self._head:
            return
        walk = repository.walk(tip, SortMode.TOPOLOGICAL | SortMode.REVERSE)
        if self._head is not None and self._head in repository:
            walk.hide(self._head)
        for commit in walk:
            with only(f"what the commit {commit.id} did with placements can't be read", but=clone_faults):
                self._read(repository.odb, commit)
        self._head = tip

    def placed_in(self, placement_id: str) -> str | None:
        """The commit that first wrote a placement."""
        return self._placed.get(placement_id)

    def removed_in(self, placement_id: str) -> str | None:
        """The commit of ours that removed a placement."""
        return self._removed.get(placement_id)

    def placed_for(self, uid: str, generation: int) -> dict[str, str]:
        """The paths, by placement id, that were written for one generation of a job."""
        return dict(self._decided.get((uid, generation), {}))

    def attempts(self, uid: str) -> tuple[Stood, ...]:
        """Every attempt of a job that was ever placed, each once for a cluster, in the order of their commits."""
        return tuple(self._attempts.get(uid, {}).values())

    def lapses(self, placement_id: str) -> int:
        """How often people's word on a move to this placement came to nothing."""
        return self._lapsed[placement_id]

    def _read(self, odb: pygit2.Odb, commit: pygit2.Commit) -> None:
        ours = email_of(commit.author) == self._author_email
        for change in _changes(odb, commit, ours=ours):
            if change.action == PLACE:
                self._placed.setdefault(change.placement_id, str(commit.id))
                stood = _stood(change, commit)
                self._decided.setdefault((change.uid, change.generation), {})[change.placement_id] = stood.path
                self._attempts.setdefault(change.uid, {}).setdefault((stood.placement_id, stood.cluster), stood)
                self._removed.pop(change.placement_id, None)
            elif change.action == "remove" and ours:
                self._removed[change.placement_id] = str(commit.id)
            elif change.action == "lapse" and ours:
                self._lapsed[change.placement_id] += 1


def _changes(odb: pygit2.Odb, commit: pygit2.Commit, *, ours: bool) -> list[Change]:
    """What a commit did to placements.

    Its message may be anybody's words, and a squash loses ours: what is placed is read from the files that it adds.
    """
    said = [change for change in changes_in(message_of(commit)) if change.action != PLACE or _adds(odb, commit, change)]
    if ours or len(commit.parents) != 1 or any(change.action == PLACE for change in said):
        return said
    return said + [_as_change(placed) for placed in _added(odb, commit)]


def _adds(odb: pygit2.Odb, commit: pygit2.Commit, change: Change) -> bool:
    path, wanted = _path(change), change.placement_id.encode()
    before = (blob(odb, parent.tree, path) or b"" for parent in commit.parents)
    return wanted in (blob(odb, commit.tree, path) or b"") and not any(wanted in content for content in before)


def _added(odb: pygit2.Odb, commit: pygit2.Commit) -> Iterator[Placement]:
    """The placements that a commit puts where there was none of that id."""
    old, new = subtree(commit.parents[0].tree, CLUSTERS), subtree(commit.tree, CLUSTERS)
    if new is None or (old is not None and old.id == new.id):
        return
    deltas = (old.diff_to_tree(new) if old is not None else new.diff_to_tree(swap=True)).deltas
    for delta in islice(deltas, MOST_FILES_READ):
        path = f"{CLUSTERS}/{delta.new_file.raw_path.decode('ascii', 'replace')}"
        if not _PLACED.fullmatch(path):
            continue
        try:
            placed = parse(path, measured(odb, delta.new_file.id) if delta.new_file.id in odb else b"")
        except PlacementInvalid:
            continue
        before = measured(odb, delta.old_file.id) if delta.old_file.id in odb else b""
        if placed.placement_id.encode() not in before:
            yield placed


def _as_change(placed: Placement) -> Change:
    return Change(PLACE, placed.key, placed.uid, placed.generation, placed.attempt, placed.cluster, placed.placement_id)


def _path(change: Change) -> str:
    return f"{CLUSTERS}/{change.spoke}/jobs/{change.job}.yaml"


def _stood(change: Change, commit: pygit2.Commit) -> Stood:
    return Stood(
        change.placement_id,
        change.attempt,
        change.spoke,
        _path(change),
        str(commit.id),
        time_of(commit),
    )


def arrival(repository: pygit2.Repository, tip: pygit2.Oid, path: str, placement_id: str) -> pygit2.Commit | None:
    """The commit with which the branch got a placement, a merge for one; None beyond what is searched.

    Only first parents are followed: what was on a branch before it was merged was not there yet.
    """
    found = None
    walk = repository.walk(tip, SortMode.TOPOLOGICAL)
    walk.simplify_first_parent()
    for commit in islice(walk, MOST_COMMITS_SEARCHED):
        if placement_id.encode() not in (blob(repository.odb, commit.tree, path) or b""):
            return found
        found = commit
    return None


def last_removal(repository: pygit2.Repository, tip: pygit2.Oid, path: str) -> Vanished:
    """Who removed the file at `path` last, as far back as is searched."""
    walk = repository.walk(tip, SortMode.TOPOLOGICAL)
    for commit in islice(walk, MOST_COMMITS_SEARCHED):
        parents = commit.parents
        if blob(repository.odb, commit.tree, path) is None and any(
            blob(repository.odb, parent.tree, path) is not None for parent in parents
        ):
            return Vanished(by_us=False, commit=str(commit.id), author=name_of(commit.author))
    return Vanished(by_us=False)
