"""Whoever sends a server of ours a byte now and then keeps nobody out, and is hung up on."""

import base64
import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest
import requests

from carbonfleet.hub.metrics import Metrics
from carbonfleet.ledger.store import Ledger
from carbonfleet.local import fleet_server
from carbonfleet.local.ports import free_port
from carbonfleet.probes import ProbeResult, answer_probes
from fixtures.fleet_values import SEED

CALLERS = 24
DRIPS = {
    "nothing": b"",
    "half a request line": b"GET /hea",
    "headers without an end": b"GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
}
ADAPTERS = """
from http.server import ThreadingHTTPServer
from workloads.lora.serve.server import Handler
server = ThreadingHTTPServer(("127.0.0.1", 0), type("Quick", (Handler,), {"timeout": 1}))
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass
class Served:
    """A server that runs, and a request that it answers at once."""

    port: int
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    certificate: Path | None = None
    """Its own, where it speaks TLS."""

    def answers(self) -> bool:
        scheme = "https" if self.certificate else "http"
        url = f"{scheme}://127.0.0.1:{self.port}{self.path}"
        return requests.get(url, headers=self.headers, verify=str(self.certificate or ""), timeout=60).ok

    def call(self) -> socket.socket:
        caller = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        if not self.certificate:
            return caller
        return ssl.create_default_context(cafile=self.certificate).wrap_socket(caller, server_hostname="127.0.0.1")


@pytest.fixture
def probes() -> Iterator[Served]:
    """What the kubelet asks of hub and agent."""
    port = free_port()
    server = answer_probes(f"http://127.0.0.1:{port}/healthz", lambda: ProbeResult(is_healthy=True, message="well"))
    yield Served(port, "/healthz")
    server.close()


@pytest.fixture
def metrics(tmp_path) -> Iterator[Served]:
    """What Prometheus scrapes."""
    with contextlib.closing(Ledger.at(tmp_path / "ledger.sqlite")) as ledger:
        server = Metrics(ledger).serve("127.0.0.1:0")
        yield Served(server.server_address[1], "/metrics")
        server.close()


@pytest.fixture
def git(tmp_path) -> Iterator[Served]:
    """The one-machine stack's Git server."""
    fleet_server.seed(tmp_path / "git", SEED)
    (tmp_path / "token").write_text("a-long-token\n")
    server = fleet_server.listen(tmp_path / "git", 0, tmp_path / "token", seconds=1)
    basic = base64.b64encode(b"x:a-long-token").decode()
    path = f"/{fleet_server.NAME}/info/refs?service=git-upload-pack"
    yield Served(server.server_address[1], path, {"Authorization": f"Basic {basic}"})
    server.close()


@pytest.fixture
def embedded_api(make_kube_api) -> Served:
    """The embedded Kubernetes API."""
    api = make_kube_api(options=("--request-seconds", "1"))
    return Served(api.port, "/api/v1/namespaces", {"Authorization": f"Bearer {api.token}"}, api.certificate)


@pytest.fixture
def live_page(tmp_path) -> Iterator[Served]:
    """The live page, over a kubeconfig that is not there."""
    command = [Path(sys.executable).with_name("carbonfleet"), "ui", "--kubeconfig", tmp_path / "none"]
    command += ["--state", tmp_path, "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().removeprefix("the page is at ").strip()
        yield Served(int(url.rstrip("/").rpartition(":")[2]), "/jobs")
        process.terminate()


@pytest.fixture
def adapters() -> Iterator[Served]:
    """What serves finished adapters, without a model."""
    command = [sys.executable, "-c", ADAPTERS]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        yield Served(int(process.stdout.readline()), "/health")
        process.kill()


SLOW = [(name, DRIPS["headers without an end"]) for name in ("probes", "metrics", "live_page")]
"""A caller is heard for ten seconds there."""


@pytest.mark.parametrize(("name", "sent"), [*product(["git", "embedded_api", "adapters"], DRIPS.values()), *SLOW])
def test_others_are_answered_and_who_drips_is_hung_up_on(request, name, sent):
    served = request.getfixturevalue(name)
    callers = [served.call() for _ in range(CALLERS)]
    stop = threading.Event()
    dripping = threading.Thread(target=_drip, args=(callers, sent, stop), daemon=True)
    dripping.start()
    try:
        assert all(served.answers() for _ in range(5))
        assert all(_is_over(caller) for caller in callers)
    finally:
        stop.set()
        dripping.join(60)
        for caller in callers:
            caller.close()


def _drip(callers: list[socket.socket], first: bytes, stop: threading.Event) -> None:
    """The beginning of a request, and then a byte now and then."""
    sent: Callable[[], bytes] = iter([first]).__next__
    while True:
        try:
            data = sent()
        except StopIteration:
            data = b"x" if first else b""
        for caller in callers:
            with contextlib.suppress(OSError):  # it was hung up on
                caller.sendall(data)
        if stop.wait(0.1):
            return


def _is_over(caller: socket.socket) -> bool:
    """The server has hung up, perhaps after a word of what was wrong."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while caller.recv(1000):
            pass
    return True
