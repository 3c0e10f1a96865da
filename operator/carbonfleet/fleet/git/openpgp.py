"""OpenPGP keys from a file, in a keyring that lives only as long as it is needed."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

SECONDS: Final = 20
_ARMOR: Final = b"-----BEGIN PGP "


def holds_openpgp(file: Path) -> bool:
    """Whether a file holds armored OpenPGP keys; False where it can't be read."""
    try:
        with file.open("rb") as content:
            return _ARMOR in content.read(4096)
    except OSError:
        return False


@contextmanager
def keyring(file: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which gpg and git know the keys in `file` and no others.

    Raises subprocess.SubprocessError where gpg can't read them, OSError where there is no gpg.
    """
    with TemporaryDirectory(prefix="carbonfleet-keys-") as home:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "GNUPGHOME": home, "LC_ALL": "C"}
        gpg = ["gpg", "--batch", "--quiet", "--import", str(file)]
        subprocess.run(gpg, env=environment, capture_output=True, timeout=SECONDS, check=True)
        try:
            yield environment
        finally:
            # The agent that holds the private key ends with its keyring.
            end = ["gpgconf", "--kill", "all"]
            subprocess.run(end, env=environment, capture_output=True, timeout=SECONDS, check=False)
