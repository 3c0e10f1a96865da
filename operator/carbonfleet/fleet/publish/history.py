"""What the branch's history says of placements: which were ever there, and who took them away."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

import pygit2
from pygit2.enums import SortMode

from carbonfleet.fleet.git import blob, time_of
from carbonfleet.fleet.publish.message import Change, changes_in

MOST_COMMITS_SEARCHED: Final = 10_000


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


class History:
    """Index of the placements in all commits that were ever seen on the branch; it grows with the tip."""

    def __init__(self, author_email: str) -> None:
        self._author_email = author_email
        self._placed: dict[str, str] = {}
        self._removed: dict[str, str] = {}
        self._decided: dict[tuple[str, int], dict[str, str]] = {}
        self._lapsed: Counter[str] = Counter()
        self._attempts: dict[str, dict[tuple[str, str], Stood]] = {}
        self._head: pygit2.Oid | None = None

    def advance(self, repository: pygit2.Repository, tip: pygit2.Oid) -> None:
        """Read the commits that are new since the last call; each is read once."""
        if tip == self._head:
            return
        walk = repository.walk(tip, SortMode.TOPOLOGICAL | SortMode.REVERSE)
        if self._head is not None and self._head in repository:
            walk.hide(self._head)
        for commit in walk:
            self._read(commit)
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

    def _read(self, commit: pygit2.Commit) -> None:
        if "CTJ-" not in commit.message:
            return
        ours = commit.author.email == self._author_email
        for change in changes_in(commit.message):
            if change.action == "place":
                self._placed.setdefault(change.placement_id, str(commit.id))
                stood = _stood(change, commit)
                self._decided.setdefault((change.uid, change.generation), {})[change.placement_id] = stood.path
                self._attempts.setdefault(change.uid, {}).setdefault((stood.placement_id, stood.cluster), stood)
                self._removed.pop(change.placement_id, None)
            elif change.action == "remove" and ours:
                self._removed[change.placement_id] = str(commit.id)
            elif change.action == "lapse" and ours:
                self._lapsed[change.placement_id] += 1


def _stood(change: Change, commit: pygit2.Commit) -> Stood:
    return Stood(
        change.placement_id,
        change.attempt,
        change.spoke,
        f"clusters/{change.spoke}/jobs/{change.job}.yaml",
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
        if placement_id.encode() not in (blob(commit.tree, path) or b""):
            return found
        found = commit
    return None


def last_removal(repository: pygit2.Repository, tip: pygit2.Oid, path: str) -> Vanished:
    """Who removed the file at `path` last, as far back as is searched."""
    walk = repository.walk(tip, SortMode.TOPOLOGICAL)
    for commit in islice(walk, MOST_COMMITS_SEARCHED):
        parents = commit.parents
        if blob(commit.tree, path) is None and any(blob(parent.tree, path) is not None for parent in parents):
            return Vanished(by_us=False, commit=str(commit.id), author=commit.author.name)
    return Vanished(by_us=False)
