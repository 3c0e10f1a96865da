"""Signatures on commits, as `git verify-commit` and Flux check them; Argo CD knows those by OpenPGP keys only."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from carbonfleet.fleet.errors import RepositoryInvalid
from carbonfleet.fleet.git.openpgp import SECONDS, holds_openpgp, keyring

NAMESPACE: Final = "git"


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
