"""SSH signatures on commits, as `git verify-commit` and Flux check them."""

import subprocess
from pathlib import Path
from typing import Final

from carbonfleet.fleet.errors import RepositoryInvalid

NAMESPACE: Final = "git"
SECONDS: Final = 20


def sign(text: str, key: Path) -> str:
    """The armored signature of a commit's text. Raises RepositoryInvalid where the key can't sign."""
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise RepositoryInvalid(f"can't sign commits with the key {key}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RepositoryInvalid(f"can't sign commits: ssh-keygen did not run: {error}") from error
    return done.stdout.decode().strip()
