"""A host over the user's own OpenSSH client, so that its configuration, keys, jump hosts and known hosts hold."""

import json
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self
from urllib.parse import urlsplit

from carbonfleet.install.overlays import InstallError

_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|[0-9A-Fa-f:]{2,45}")
_PYTHON: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]{0,255}")
_OPTIONS: Final = (
    *("-T", "-x", "-a"),
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=4"),
    *("-o", "ClearAllForwardings=yes"),
)
"""Ask nothing, give up on a host that is silent, and forward nothing either way, whatever the configuration says."""
_LONGEST_LINE: Final = 65_536
_MOST_LINES: Final = 100_000
_BOOTSTRAP: Final = (
    'for p in $1; do f=$(command -v "$p") && exec "$f" -I -c "import os, sys; i = sys.stdin.buffer; '
    "n = int(i.readline()); f = os.memfd_create(str()); os.write(f, i.read(n)); "
    'sys.path.insert(0, \\"/proc/self/fd/%d\\" % f); '
    "import carbonfleet.install.ssh_host.on_host.actions as a; "
    'sys.exit(a.main())"; done; cat >/dev/null; echo "no-python $(python3 --version 2>&1)"; exit 3'
)
"""Runs a zip of modules, which comes on standard input, by the first Python of a list that is there.

It stands in single quotes, so that a login shell of any kind leaves it as it is.
"""
_PYTHONS: Final = "python3.11 $HOME/.local/bin/python3.11 /usr/local/bin/python3.11 /opt/python3.11/bin/python3.11"
_MEANINGS: Final = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "it shows another key than the one that is known. Ask whoever runs it for the key's fingerprint; if it was "
        "set up anew, `ssh-keygen -R HOST` forgets the old one",
    ),
    (
        "Host key verification failed",
        "its key is not known here: connect once by `ssh`, and compare the fingerprint with the one its provider shows",
    ),
    ("Permission denied", "it lets none of your keys in: see that `ssh` reaches it without asking for anything"),
    ("Could not resolve hostname", "no host has this name: see your SSH configuration, Tailscale, or the spelling"),
)


class SshError(InstallError):
    """The host can't be reached, or the connection was lost; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Whom to connect to: a name that `ssh` knows, with user and port where they are given."""

    host: str
    user: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ssh://[USER@]HOST[:PORT]. Raises ValueError for anything that `ssh` could take for an option."""
        wrong = f"{text[:80]!r} is no host: write ssh://USER@HOST, ssh://HOST:PORT, or a name of your SSH configuration"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port or 0
        except ValueError:
            raise ValueError(wrong) from None
        given = parts.netloc.rpartition("@")[2].removeprefix("[")
        host = given[: len(host)] if given.lower().startswith(host) else host  # names of a configuration have a case
        if (
            parts.scheme != "ssh"
            or parts.password is not None
            or parts.path.strip("/")
            or parts.query
            or parts.fragment
        ):
            raise ValueError(wrong)
        if not _HOST.fullmatch(host) or not (parts.username is None or _USER.fullmatch(parts.username)):
            raise ValueError(wrong)
        return cls(host, parts.username or "", port)

    def __str__(self) -> str:
        """As people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.user}{'@' * bool(self.user)}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True, slots=True)
class SshHost:
    """One host, where a program of ours is run by its own Python."""

    address: SshAddress
    config: Path | None = None
    """In place of the user's own configuration."""
    python: str = ""
    """Of the host; Python 3.11 where it usually lies, if empty."""

    def run(
        self,
        program: bytes,
        request: Mapping[str, Any],
        payload: bytes,
        heard: Callable[[dict[str, Any]], None],
        seconds: float,
    ) -> None:
        """Run a zip of modules with a request as JSON and a payload; `heard` gets each JSON object that it prints.

        Nothing of them is an argument that other users of either machine could see. Raises SshError.
        """
        if self.python and not _PYTHON.fullmatch(self.python):
            raise SshError(f"{self.python[:80]!r} is no path of a Python: letters, digits and ./_+- alone")
        told = json.dumps(request).encode()
        with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as errors:
            sent.write(b"%d\n%s%d\n%s%s" % (len(program), program, len(told), told, payload))
            sent.seek(0)
            process = subprocess.Popen(self._command(), stdin=sent, stdout=subprocess.PIPE, stderr=errors)
            watch = threading.Timer(seconds, process.kill)
            watch.start()
            try:
                other = _listen(process.stdout, heard)
                code = process.wait()
            finally:
                is_late = not watch.is_alive()
                watch.cancel()
                process.kill()
                process.wait()
            errors.seek(0)
            if code:
                raise self._error(code, errors.read(_LONGEST_LINE).decode(errors="replace"), other, is_late, seconds)

    def _command(self) -> list[str]:
        where = ["-F", str(self.config)] if self.config else []
        where += ["-p", str(self.address.port)] if self.address.port else []
        where += ["-l", self.address.user] if self.address.user else []
        pythons = shlex.quote(self.python) if self.python else f'"{_PYTHONS}"'
        return ["ssh", *_OPTIONS, *where, "--", self.address.host, f"exec sh -c '{_BOOTSTRAP}' sh {pythons}"]

    def _error(self, code: int, said: str, other: str, is_late: bool, seconds: float) -> SshError:
        if is_late:
            return SshError(f"{self.address} did not end within {seconds:.0f} s: try again, it goes on where it was")
        if code == 3 and "no-python" in other:
            there = other.rpartition("no-python")[2].strip()
            asked = f"no {self.python}" if self.python else f"no Python 3.11 (python3: {there})"
            return SshError(
                f"{self.address} has {asked}: `apt-get install python3.11 python3.11-venv` there, or "
                "`uv python install 3.11`, or name one of 3.11 or newer by --python"
            )
        for sign, meaning in _MEANINGS if code == 255 else ():
            if sign in said:
                return SshError(f"{self.address}: {meaning}")
        last = [line for line in (said or other).strip().splitlines() if line.strip()][-1:] or ["without a word"]
        what = "the connection failed or was lost" if code == 255 else f"the program there ended with {code}"
        return SshError(f"{self.address}: {what}: {last[0][:500]}. Try again: it goes on where it was")


def _listen(out: IO[bytes] | None, heard: Callable[[dict[str, Any]], None]) -> str:
    """Pass on each JSON object, a line each; what else a login's shell prints, the end of it."""
    other = ""
    for _ in range(_MOST_LINES):
        line = out.readline(_LONGEST_LINE) if out else b""
        if not line:
            break
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if isinstance(said, dict) and isinstance(said.get("kind"), str):
            heard(said)
        else:
            other = (other + line.decode(errors="replace"))[-2000:]
    return other
