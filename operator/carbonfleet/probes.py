"""Answers the kubelet's probes: 200 or 503, with the reason as text."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

_REQUEST_SECONDS: Final = 10.0
"""How long a caller may take to send a request."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether the process works as it should, and a line that says so to people."""

    is_healthy: bool
    message: str


def answer_probes(url: str, probe: Callable[[], ProbeResult]) -> ThreadingHTTPServer:
    """Serve `url` (http://host:port/path) until `shutdown`: 200 or 503, and the message, as `probe` says.

    Raises ValueError for another kind of URL, OSError when the port is taken.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"liveness must be like http://0.0.0.0:8080/healthz, not {url!r}")

    class Probe(BaseHTTPRequestHandler):
        """One probe."""

        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            """The result on the path, 404 elsewhere."""
            if self.path != (parts.path or "/"):
                self.send_error(404)
                return
            result = probe()
            body = f"{result.message}\n".encode()
            self.send_response(200 if result.is_healthy else 503)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A probe is no news."""

    server = ThreadingHTTPServer((parts.hostname, parts.port), Probe)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
