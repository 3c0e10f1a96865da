"""The embedded stack's Git server: a bare repository behind `git http-backend` and a token, on loopback."""

import base64
import hmac
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from carbonfleet.local.child import Child, ChildError
from carbonfleet.private_files import UMASK, make_folder
from carbonfleet.probes import BoundedServer

NAME: Final = "fleet.git"
REQUEST_SECONDS: Final = 60
CONNECTION_SECONDS: Final = 300
MOST_AT_ONCE: Final = 64
MOST_BYTES: Final = 1 << 26
"""Of a push."""
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
    make_folder(root)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        work = Path(scratch) / "work"
        shutil.copytree(source, work)
        _git(work, "init", "--quiet", "--initial-branch=main")
        _git(work, "add", "--all")
        _git(work, *_SEEDER, "commit", "--quiet", "-m", "Seed the fleet repository")
        _git(root, "clone", "--quiet", "--bare", str(work), str(Path(scratch) / NAME))
        (Path(scratch) / NAME).replace(bare)
    return bare


def server(root: Path, port: int, token: Path, log: Path) -> Child:
    """Serves the repositories under `root` to who has the token in a file; others on this machine may not even read."""
    command = [sys.executable, "-m", "carbonfleet.local.fleet_server", str(root), str(port), str(token)]
    return Child("git", command, log, _ENVIRONMENT)


def listen(root: Path, port: int, token: Path, seconds: float = CONNECTION_SECONDS) -> BoundedServer:
    """That server in this process, with a connection's longest time. Raises OSError when the port is taken."""
    handler = type("Handler", (FleetHandler,), {"root": root, "token": token.read_text().strip()})
    return BoundedServer(("127.0.0.1", port), handler, "git", at_once=MOST_AT_ONCE, seconds=seconds)


class FleetHandler(BaseHTTPRequestHandler):
    """One request of Git's smart HTTP protocol, from whoever has the token."""

    root: Path
    """The folder of the repositories."""
    token: str

    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """What refs there are."""
        self.respond()

    def do_POST(self) -> None:
        """Fetch or push."""
        self.respond()

    def respond(self) -> None:
        """Answer with what Git says, to whoever may ask."""
        if not self.is_allowed():
            self.close_connection = self.command != "GET"  # a body is left unread
            return self.answer(401, [("WWW-Authenticate", 'Basic realm="fleet"')], b"")
        body = self._body()
        if body is None:
            self.close_connection = True
            return self.answer(413, [], b"")
        return self.answer(*_backend(self.root, self, body))

    def is_allowed(self) -> bool:
        """Whether the token came with it."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(value, validate=True).partition(b":")[2] if kind == "Basic" else b""
        except ValueError:
            return False
        return hmac.compare_digest(given, self.token.encode())

    def _body(self) -> bytes | None:
        """The body, in chunks or not; None where it is larger than any of ours, or no body at all."""
        try:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                size = int(self.headers.get("Content-Length", 0))
                return self.rfile.read(size) if 0 <= size <= MOST_BYTES else None
            found = bytearray()
            while size := int(self.rfile.readline(100).partition(b";")[0], 16):
                if not 0 < size <= MOST_BYTES - len(found):
                    return None
                found += self.rfile.read(size)
                self.rfile.readline(100)
            self.rfile.readline(100)
        except ValueError:
            return None
        return bytes(found)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer as a whole."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _backend(root: Path, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """What `git http-backend` answers: status, headers and body."""
    path, _, query = request.path.partition("?")
    environment = {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": request.command,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_USER": "fleet",  # who is named may push
        "REMOTE_ADDR": "127.0.0.1",
    }
    command = ["git", "http-backend"]
    try:
        done = subprocess.run(
            command,
            env=os.environ | _ENVIRONMENT | environment,
            input=body,
            capture_output=True,
            timeout=REQUEST_SECONDS,
            check=False,
            umask=UMASK,
        )
    except subprocess.TimeoutExpired:
        return 504, [], b""
    sys.stderr.write(done.stderr.decode("utf-8", "replace"))
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))]
    status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
    return status, [(name, value) for name, value in headers if name and name != "Status"], content


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
        umask=UMASK,
    )
    if done.returncode:
        raise ChildError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    listen(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    threading.Event().wait()  # until stopped
