"""Fetch and push over a real transport, bounded in time, with the server's answer turned into ours."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import CredentialType, FetchPrune

from carbonfleet.fleet.errors import Failure, classify
from carbonfleet.fleet.settings import RepositorySettings

NOTHING: Final = pygit2.Oid(hex="0" * 40)
CONNECT_SECONDS: Final = 10
MOST_SAID: Final = 500
"""Characters of what a server's hook says that are passed on."""


class TransportFailure(Exception):  # noqa: N818  named like its reason
    """A fetch or push that did not end well, with what to do about it."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Transport(Protocol):
    """Moves commits between the clone and the server."""

    def fetch(self, refspecs: list[str]) -> None:
        """Bring branches here. Raises TransportFailure."""

    def push(
        self, commit: pygit2.Oid | None, branch: str, expected: pygit2.Oid | None, *, rewrite: bool = False
    ) -> None:
        """Set `branch` to `commit` (None deletes it) if it is at `expected` (None: does not exist).

        `rewrite` allows a commit that does not follow `expected`. Raises TransportFailure with MOVED where
        the branch is elsewhere.
        """


def transport_for(repository: pygit2.Repository, settings: RepositorySettings) -> Transport:
    """libgit2, and for SSH the git command, since libgit2 can't pin a host's key."""
    if settings.scheme == "ssh":
        return GitCommand(repository, settings)
    return LibGit2(repository, settings)


class LibGit2:
    """http, https and git:// through libgit2."""

    def __init__(self, repository: pygit2.Repository, settings: RepositorySettings) -> None:
        self._repository, self._settings = repository, settings
        # libgit2 keeps these for the whole process; a process has one fleet repository.
        if settings.ca_file is not None:
            pygit2.settings.set_ssl_cert_locations(str(settings.ca_file), None)
        pygit2.settings.server_connect_timeout = CONNECT_SECONDS * 1000
        pygit2.settings.server_timeout = round(settings.timeout.total_seconds() * 1000)

    def fetch(self, refspecs: list[str]) -> None:
        """See Transport."""
        remote = self._repository.remotes.create_anonymous(self._settings.url)
        try:
            remote.fetch(refspecs, callbacks=_Callbacks(self._settings), prune=FetchPrune.PRUNE)
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            raise _failure(error) from error

    def push(
        self, commit: pygit2.Oid | None, branch: str, expected: pygit2.Oid | None, *, rewrite: bool = False
    ) -> None:
        """See Transport."""
        remote = self._repository.remotes.create_anonymous(self._settings.url)
        callbacks = _Callbacks(self._settings, expected or NOTHING)
        refspec = f"{'+' if rewrite else ''}{commit or ''}:refs/heads/{branch}"
        try:
            remote.push([refspec], callbacks=callbacks)
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            raise _failure(error) from error
        if callbacks.refusal is not None:
            raise TransportFailure(classify(callbacks.refusal), callbacks.explanation)


class _Callbacks(pygit2.RemoteCallbacks):
    def __init__(self, settings: RepositorySettings, lease: pygit2.Oid | None = None) -> None:
        super().__init__()
        self._settings, self._lease, self._asked = settings, lease, False
        self.refusal: str | None = None
        self._said = ""

    @property
    def explanation(self) -> str:
        """Why the server refused, with what its hook said."""
        said = " ".join(self._said.split())
        return f"{self.refusal}: {said}" if said else str(self.refusal)

    def sideband_progress(self, string: str) -> None:
        """What the server says beside the protocol, hooks above all."""
        self._said = (self._said + string)[-MOST_SAID:]

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> pygit2.UserPass:
        """The token, once: a server that asks again has refused it. It may ask from elsewhere than we asked."""
        asks, ours = _origin(url), _origin(self._settings.url)
        if asks != ours:
            raise TransportFailure(
                Failure.DENIED,
                f"authentication failed: the token is for {ours}, and a redirect or a Git configuration "
                f"(url.<base>.insteadOf) leads to {asks}; give the repository's address there, or take that away",
            )
        secret = token_of(self._settings)
        if self._asked or not secret or not allowed_types & CredentialType.USERPASS_PLAINTEXT:
            raise TransportFailure(
                Failure.DENIED, "authentication failed: the server refused the token, or none is set"
            )
        self._asked = True
        return pygit2.UserPass(username_from_url or self._settings.username, secret)

    def push_negotiation(self, updates: list[pygit2.remotes.PushUpdate]) -> None:
        """Stop before anything is sent if the branch is not where we think."""
        for update in updates:
            if self._lease is not None and update.src != self._lease:
                raise TransportFailure(Failure.MOVED, f"the branch is at {update.src}, not at {self._lease}")

    def push_update_reference(self, refname: str, message: str | None) -> None:
        """A server refuses here and raises nothing."""
        if message is not None:
            self.refusal = message


def _origin(url: str) -> str:
    """Scheme, host and port: what a token is for."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def token_of(settings: RepositorySettings) -> str:
    """The token as it is now; empty where there is none."""
    if settings.token_file is not None:
        return settings.token_file.read_text().strip()
    return settings.token.get_secret_value() if settings.token else ""


def _failure(error: Exception) -> TransportFailure:
    message = str(error) or type(error).__name__
    return TransportFailure(classify(message), message)


class GitCommand:
    """SSH through the git command, with the host's key pinned."""

    def __init__(self, repository: pygit2.Repository, settings: RepositorySettings) -> None:
        self._repository, self._settings = repository, settings

    def fetch(self, refspecs: list[str]) -> None:
        """See Transport."""
        self._run("fetch", "--quiet", "--no-tags", "--prune", "--no-auto-gc", self._settings.url, *refspecs)

    def push(
        self, commit: pygit2.Oid | None, branch: str, expected: pygit2.Oid | None, *, rewrite: bool = False
    ) -> None:
        """See Transport."""
        ref = f"refs/heads/{branch}"
        lease = f"--force-with-lease={ref}:{expected or ''}"
        self._run("push", "--porcelain", "--no-verify", lease, self._settings.url, f"{commit or ''}:{ref}")

    def _run(self, *arguments: str) -> None:
        command = ["git", "--git-dir", self._repository.path, *arguments]
        seconds = 4 * self._settings.timeout.total_seconds()
        try:
            done = subprocess.run(
                command, env=self._environment(), capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TransportFailure(Failure.UNREACHABLE, f"git {arguments[0]} took over {seconds:.0f} s") from error
        except OSError as error:
            raise TransportFailure(Failure.DENIED, f"ssh:// needs the git command: {error}") from error
        if done.returncode:
            message = (done.stdout + done.stderr).strip() or f"git {arguments[0]} failed"
            raise TransportFailure(classify(message), message)

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/nonexistent"),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": " ".join(_quoted(word) for word in ssh_command(self._settings)),
        }


def ssh_command(settings: RepositorySettings) -> list[str]:
    """ssh that asks nothing, knows only the pinned host keys and gives up in time."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(settings.known_hosts or Path(os.devnull)),
        "GlobalKnownHostsFile": os.devnull,
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": str(max(1, round(settings.timeout.total_seconds() / 3))),
        "ServerAliveCountMax": "3",
    }
    command = ["ssh", "-F", os.devnull]
    command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    if settings.ssh_key is not None:
        command += ["-o", "IdentitiesOnly=yes", "-i", str(settings.ssh_key)]
    return command


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
