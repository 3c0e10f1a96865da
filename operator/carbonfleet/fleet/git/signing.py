"""Signatures on commits, as `git verify-commit` and Flux check them; Argo CD knows those by OpenPGP keys only."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from carbonfleet.fleet.errors import HistoryUntrusted, RepositoryInvalid
from carbonfleet.fleet.git.openpgp import SECONDS, holds_openpgp, keyring

NAMESPACE: Final = "git"
_GOOD: Final = re.compile(r'^Good "git" signature for (\S+) with |^\[GNUPG:\] GOODSIG \S+ (.*)$', re.MULTILINE)
"""An SSH key that is not trusted makes git say Good as well, without a principal, and fail."""


def sign(text: str, key: Path) -> str:
    """The armored signature of a commit's text, by an SSH key or an armored OpenPGP key without a passphrase.

    Raises RepositoryInvalid where the key can't sign.
    """
    try:
        if holds_openpgp(key):
            with keyring(key) as environment:
                return _signed(text, ["gpg", "--batch", "--quiet", "--armor", "--detach-sign"], environment)
        return _signed(text, ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)])
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise RepositoryInvalid(f"can't sign commits with the key {key}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RepositoryInvalid(f"can't sign commits with the key {key}: {error}") from error


def _signed(text: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=text.encode(), env=environment, capture_output=True, timeout=SECONDS, check=True
    )
    return done.stdout.decode().strip()


def signer_of(repository: Path, commit: str, signers: Path, hub: str) -> str:
    """Who signed a commit, as git itself checks it: the principals of an SSH key, or the owner of an OpenPGP key.

    `signers` is ssh-keygen's list of allowed signers or armored OpenPGP keys; or, as with the hub that is told of
    nobody else, the private key of `hub`. Raises HistoryUntrusted where no such key has signed it, RepositoryInvalid
    where that can't be told.
    """
    try:
        if holds_openpgp(signers):
            with keyring(signers) as environment:
                done = _verify(repository, commit, environment=environment)
        else:
            with _allowed(signers, hub) as allowed:
                done = _verify(repository, commit, "-c", f"gpg.ssh.allowedSignersFile={allowed}")
    except (OSError, subprocess.SubprocessError) as error:
        raise RepositoryInvalid(f"whether {commit[:12]} is signed can't be told: {error}") from error
    said = done.stderr.decode("utf-8", "replace")
    found = _GOOD.search(said)
    if done.returncode != 0 or found is None:
        why = (said.strip().splitlines() or ["it has no signature"])[-1][:300]
        raise HistoryUntrusted(f"{commit[:12]} is not signed by a key in {signers} ({why})")
    return found[1] or found[2]


def is_signer(signer: str, address: str) -> bool:
    """Whether what `signer_of` says is, or covers, who has this address."""
    owner = re.search(r"<([^<>]+)>$", signer)
    return any(fnmatchcase(address, pattern) for pattern in (owner[1] if owner else signer).split(","))


@contextmanager
def _allowed(signers: Path, hub: str) -> Iterator[Path]:
    """The list of allowed signers; of a private key, one with its public half alone."""
    if b"PRIVATE KEY-----" not in signers.read_bytes()[:4096]:
        yield signers
        return
    with TemporaryDirectory(prefix="carbonfleet-signers-") as folder:
        file = Path(folder) / "allowed_signers"
        file.write_text(f"{public_line(signers, hub)}\n")
        yield file


def public_line(key: Path, owner: str) -> str:
    """The line for a private SSH key in a list of allowed signers. Raises OSError, subprocess.SubprocessError."""
    command = ["ssh-keygen", "-y", "-f", str(key)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
    kind, public, *_ = done.stdout.decode().split()
    return f'{owner} namespaces="{NAMESPACE}" {kind} {public}'


def _verify(
    repository: Path, commit: str, *options: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", f"--git-dir={repository}", *options, "verify-commit", "--raw", commit]
    return subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS, check=False)
