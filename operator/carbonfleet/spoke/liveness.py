"""Answers the kubelet's probes: well, as long as the agent's passes come to an end."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_MOST_SILENT_SECONDS = 180.0


def answer_probes(url: str, silent_seconds: Callable[[], float]) -> ThreadingHTTPServer:
    """Serve `url` (http://host:port/path) until `shutdown`: 200, or 503 when passes hang.

    `silent_seconds` says how long ago the last pass ended. Raises ValueError for another kind of URL, OSError
    when the port is taken.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"liveness must be like http://0.0.0.0:8080/healthz, not {url!r}")

    class Probe(BaseHTTPRequestHandler):
        """One probe."""

        def do_GET(self) -> None:
            """200 on the path while passes end."""
            silent = silent_seconds()
            well = silent < _MOST_SILENT_SECONDS
            self.send_response(404 if self.path != (parts.path or "/") else 200 if well else 503)
            self.end_headers()
            self.wfile.write(f"last pass {silent:.0f} s ago\n".encode())

        def log_message(self, *_: object) -> None:
            """A probe is no news."""

    server = ThreadingHTTPServer((parts.hostname, parts.port), Probe)
    threading.Thread(target=server.serve_forever, name="liveness", daemon=True).start()
    return server
