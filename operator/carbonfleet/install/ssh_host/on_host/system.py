"""Files, commands and ports of the host, and how it answers."""

import errno
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

_INHERITED: Final = (
    *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LC_", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_", "NVIDIA_"),
    *("HF_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


class FailedError(Exception):
    """It can't go on: a reason for machines, and a sentence for people that says what to do."""


def say(kind: str, **words: object) -> None:
    """A line of the answer."""
    sys.stdout.write(json.dumps({"kind": kind, **words}) + "\n")
    sys.stdout.flush()


def fail(reason: str, message: str) -> NoReturn:
    """End with this."""
    raise FailedError(reason, message)


def failed_by(error: OSError) -> FailedError:
    """What the system refused, as an end."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(str(error.filename or ""))
    return FailedError("SystemFailed", str(error))


def disk_full(what: str) -> FailedError:
    """The end where there is no more room."""
    where = f" ({what})" if what else ""
    return FailedError("DiskFull", f"the disk there is full{where}: make room below {Path.home()}, and try again")


def output(*command: str, seconds: float = 30) -> tuple[int, str]:
    """A command's exit code and what it said; 127 where there is no such command."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except OSError as error:
        return 127, str(error)
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end within {seconds:.0f} s"
    return done.returncode, (done.stdout + done.stderr).strip()


def write(file: Path, data: str | bytes) -> None:
    """Write a private file whole, where it does not hold this already."""
    content = data.encode() if isinstance(data, str) else data
    if file.exists() and file.read_bytes() == content:
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(file)


def json_file(file: Path) -> dict[str, Any]:
    """What was kept; nothing where there is no such file."""
    try:
        kept: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return kept


def digest(*parts: object) -> str:
    """Of what makes a thing another one."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def free_port(taken: tuple[int, ...] = ()) -> int:
    """A port of loopback that nobody listens on, below those that the kernel gives to clients."""
    for _ in range(200):
        port = random.randint(10_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port
    fail("NoPort", "no port of loopback is free there")


def ask(url: str, token: str = "") -> bytes:
    """What a server on loopback answers, past every proxy. Raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - of loopback
        content: bytes = answer.read(100_000_000)
    return content


def wait_until(is_so: Callable[[], bool], seconds: float, message: str) -> None:
    """Wait for it; fail with the message where it takes longer."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            fail("TooLate", message)
        time.sleep(0.2)


def environment(**more: str) -> dict[str, str]:
    """What services inherit of this session: what programs need, and no settings of carbonfleet."""
    return {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)} | more
