"""A small HTTP server that callers can't hold up, and the kubelet's probes: 200 or 503, with the reason as text."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

MOST_AT_ONCE: Final = 8
REQUEST_SECONDS: Final = 10.0


class BoundedServer(ThreadingHTTPServer):
    """Hears a bounded number of callers at once, each for a bounded time.

    One too many ends the one that has been there longest: a request takes milliseconds, so that is somebody who sends a
    byte now and then, and those keep nobody out.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        name: str,
        *,
        at_once: int = MOST_AT_ONCE,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        """Begins to listen, in a thread called `name`. Raises OSError when the address is taken.

        Hears `at_once` callers, each for `seconds` from its connection to the end of its last answer.
        """
        self._at_once, self._seconds = at_once, seconds
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._callers: dict[socket.socket, threading.Timer] = {}
        self._changing = threading.Lock()
        super().__init__(address, handler)
        threading.Thread(target=self.serve_forever, name=name, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as socketserver has it
        """Hear a caller in a thread of its own."""
        timer = threading.Timer(self._seconds, _hang_up, (request,))
        timer.daemon = True
        with self._changing:
            if len(self._callers) >= self._at_once:
                longest = next(iter(self._callers))
                self._callers.pop(longest).cancel()
                _hang_up(longest)
            self._callers[request] = timer
        timer.start()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """The caller is answered, or gone."""
        with self._changing:
            timer = self._callers.pop(request, None)
        if timer is not None:
            timer.cancel()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A caller that hangs up in the middle is no error."""

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()


def _hang_up(caller: socket.socket) -> None:
    """Whoever reads from it finds its end."""
    with contextlib.suppress(OSError):
        caller.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether the process works as it should, and a line that says so to people."""

    is_healthy: bool
    message: str


def answer_probes(url: str, probe: Callable[[], ProbeResult]) -> BoundedServer:
    """Serve `url` (http://host:port/path) until `close`: 200 or 503, and the message, as `probe` says.

    Raises ValueError for another kind of URL, OSError when the port is taken.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"liveness must be like http://0.0.0.0:8080/healthz, not {url!r}")

    class Probe(BaseHTTPRequestHandler):
        """One probe."""

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

    return BoundedServer((parts.hostname, parts.port), Probe, "probes")
