"""Where the agent reads what Git wants: its own folder of the fleet repository, at a commit it may trust."""

from dataclasses import dataclass
from typing import Protocol

from carbonfleet.clock import Clock
from carbonfleet.fleet.errors import FleetError, HistoryUntrusted
from carbonfleet.fleet.git import Tip
from carbonfleet.fleet.manifests import CLUSTERS, JOBS, cluster_path
from carbonfleet.fleet.publish import Repository
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.spoke.errors import SyncError
from carbonfleet.spoke.wanted.folder import Folder


class FleetSource(Protocol):
    """A fleet repository, as one spoke sees it."""

    def fetch(self) -> Folder:
        """The spoke's folder as it is now. Raises SyncError."""


@dataclass(slots=True)
class FleetFolder:
    """One cluster's folder in a fleet repository on a Git server."""

    cluster: str
    settings: RepositorySettings
    clock: Clock
    _repository: Repository | None = None

    def fetch(self) -> Folder:
        """See `FleetSource`. Where signatures are required, the branch is followed as far as they are good."""
        try:
            if self._repository is None:
                self._repository = Repository(self.settings, self.clock)
            tip = self._repository.fetch()
        except HistoryUntrusted as error:
            raise SyncError(f"{error.reason}: {error}") from error
        except FleetError as error:
            raise SyncError(str(error)) from error
        return folder_of(tip, self.cluster)


def folder_of(tip: Tip, cluster: str) -> Folder:
    """One cluster's part of a tip."""
    own = f"{CLUSTERS}/{cluster}/{JOBS}/"
    files = tip.folder(cluster)
    problem = tip.cluster_problems.get(cluster, "")
    facts = tip.clusters.get(cluster)
    if facts is None and not problem:
        problem = f"{cluster_path(cluster)}: is missing; what runs here goes on, and nothing is pruned"
    return Folder(
        commit=tip.commit,
        facts=facts,
        problem=problem,
        files={path: content for path, content in files.items() if path.startswith(own)},
        is_there=cluster_path(cluster) in files,
        serving=tip.serving(cluster),
        policies=tip.policies,
        unread=tip.why_held(CLUSTERS, cluster),
    )
