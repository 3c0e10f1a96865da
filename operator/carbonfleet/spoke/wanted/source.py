"""Where the agent reads what Git wants: its own folder of the fleet repository, at a commit it may trust."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from carbonfleet.clock import Clock
from carbonfleet.fleet.errors import FleetError
from carbonfleet.fleet.git import Tip, holds_openpgp, keyring
from carbonfleet.fleet.manifests import CLUSTERS, JOBS, cluster_path
from carbonfleet.fleet.publish import Repository
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.spoke.errors import SyncError
from carbonfleet.spoke.wanted.folder import Folder

_SIGNATURE_SECONDS: Final = 20
_GOOD_SSH: Final = 'Good "git" signature for '
"""An untrusted key makes git say Good as well, without a principal, and fail."""
_GOOD_OPENPGP: Final = "[GNUPG:] GOODSIG "


class Source(Protocol):
    """A fleet repository, as one spoke sees it."""

    def fetch(self) -> Folder:
        """The spoke's folder as it is now. Raises SyncError."""


@dataclass(slots=True)
class FleetFolder:
    """One cluster's folder in a fleet repository on a Git server."""

    cluster: str
    settings: RepositorySettings
    clock: Clock
    allowed_signers: Path | None = None
    """Keys that may sign commits, in ssh-keygen's format or armored OpenPGP; None where nobody need sign."""
    _repository: Repository | None = None
    _trusted: set[str] = field(default_factory=set)

    def fetch(self) -> Folder:
        """See `Source`. A commit without a good signature is not followed, where one is required."""
        try:
            if self._repository is None:
                self._repository = Repository(self.settings, self.clock)
            tip = self._repository.fetch()
        except FleetError as error:
            raise SyncError(str(error)) from error
        self._check_signature(tip.commit)
        return folder_of(tip, self.cluster)

    def _check_signature(self, commit: str) -> None:
        if self.allowed_signers is None or commit in self._trusted:
            return
        verify_commit(self.settings.directory, commit, self.allowed_signers)
        self._trusted = {commit}


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
    )


def verify_commit(repository: Path, commit: str, allowed_signers: Path) -> None:
    """Check a commit's signature with git itself, by ssh-keygen's list of signers or by armored OpenPGP keys.

    Raises SyncError if it is not good.
    """
    try:
        if holds_openpgp(allowed_signers):
            wanted = _GOOD_OPENPGP
            with keyring(allowed_signers) as environment:
                done = _verify(repository, commit, environment=environment)
        else:
            wanted = _GOOD_SSH
            done = _verify(repository, commit, "-c", f"gpg.ssh.allowedSignersFile={allowed_signers}")
    except (OSError, subprocess.SubprocessError) as error:
        raise SyncError(f"UnsignedCommit: git verify-commit did not run: {error}") from error
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 or wanted not in said:
        why = (said.strip().splitlines() or ["it has no signature"])[-1][:300]
        raise SyncError(
            f"UnsignedCommit: {commit[:12]} is not signed by a key in {allowed_signers} ({why}); "
            "nothing of it is applied"
        )


def _verify(
    repository: Path, commit: str, *options: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", f"--git-dir={repository}", *options, "verify-commit", "--raw", commit]
    return subprocess.run(command, env=environment, capture_output=True, timeout=_SIGNATURE_SECONDS, check=False)
