"""A clone of the fleet repository as an auditor reads it: what stood in a commit, and heads of the ledger."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import SortMode

from carbonfleet.fleet.errors import RepositoryInvalid
from carbonfleet.fleet.git import blob, message_of
from carbonfleet.fleet.manifests import Placement, PlacementInvalid, job_path, parse
from carbonfleet.fleet.publish import ledger_head_in


class NotedHead(NamedTuple):
    """A head of a ledger, as a commit's message names it."""

    commit: str
    head: str


class AuditedClone:
    """Reads alone: no hook, filter or other program that its configuration names is run."""

    def __init__(self, folder: Path) -> None:
        """Raises RepositoryInvalid where there is no clone."""
        try:
            self._git = pygit2.Repository(str(folder))
        except pygit2.GitError as error:
            raise RepositoryInvalid(f"{folder} is no clone of the fleet repository: {error}") from error

    def placement(self, commit: str, cluster: str, namespace: str, name: str) -> Placement | None:
        """What the commit says of a job's place on a cluster; None where it is not here, or says nothing."""
        try:
            path = str(job_path(cluster, namespace, name))
            return parse(path, blob(self._git.odb, self._git[commit].peel(pygit2.Commit).tree, path) or b"")
        except (KeyError, ValueError, pygit2.GitError, PlacementInvalid):
            return None

    def noted_heads(self) -> Iterator[NotedHead]:
        """Every head that a commit until the clone's HEAD names, oldest first. Raises RepositoryInvalid."""
        try:
            for commit in self._git.walk(self._git.head.target, SortMode.TOPOLOGICAL | SortMode.REVERSE):
                if head := ledger_head_in(message_of(commit)):
                    yield NotedHead(str(commit.id), head)
        except pygit2.GitError as error:
            raise RepositoryInvalid(f"{self._git.path} can't be read: {error}") from error
