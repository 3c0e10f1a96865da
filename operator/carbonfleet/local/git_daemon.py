"""The embedded stack's Git server: a bare repository behind `git daemon`, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from carbonfleet.local.child import Child, ChildError

NAME: Final = "fleet.git"
_ENVIRONMENT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}
_SEEDER: Final = ("-c", "user.name=Fleet seed", "-c", "user.email=seed@carbonfleet.dev")


def seed(root: Path, source: Path) -> Path:
    """The bare repository under `root`, made from the files of `source` when it is not there yet."""
    bare = root / NAME
    if (bare / "HEAD").exists():
        return bare
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        work = Path(scratch) / "work"
        shutil.copytree(source, work)
        _git(work, "init", "--quiet", "--initial-branch=main")
        _git(work, "add", "--all")
        _git(work, *_SEEDER, "commit", "--quiet", "-m", "Seed the fleet repository")
        _git(root, "clone", "--quiet", "--bare", str(work), str(Path(scratch) / NAME))
        (Path(scratch) / NAME).replace(bare)
    return bare


def daemon(root: Path, port: int, log: Path) -> Child:
    """`git daemon` for the repositories under `root`; anyone on this machine may push."""
    command = ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={root}"]
    command += ["--export-all", "--enable=receive-pack", "--informative-errors", "--timeout=60", str(root)]
    return Child("git", command, log, _ENVIRONMENT)


def await_port(child: Child, port: int, seconds: float = 30.0) -> None:
    """Wait until connections are taken. Raises ChildError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if not child.is_alive:
            break
        time.sleep(0.02)
    raise ChildError(f"{child.name} took no connections on port {port}: {child.last_words()}")


def log_lines(bare: Path, since: str = "") -> list[tuple[str, str]]:
    """Commits of main after `since` as (id, subject), oldest first."""
    span = f"{since}..main" if since else "main"
    text = _git(bare, "log", "--reverse", "--format=%H %s", span)
    return [(line[:40], line[41:]) for line in text.splitlines()]


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=os.environ | _ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise ChildError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
