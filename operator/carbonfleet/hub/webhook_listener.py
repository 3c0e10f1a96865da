"""Listens for the forge's webhooks: a valid one starts a cycle at once, and has no other effect."""

import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler
from typing import Any, Final

from carbonfleet.fleet.review import MOST_BYTES, DeliveryVerdict, ForgeKind, Webhooks

PATH: Final = "/webhook"
MOST_AT_ONCE: Final = 8
"""Deliveries read at the same time; who comes then is turned away, and the forge tries again or polling finds it."""
READ_SECONDS: Final = 10.0
"""For a whole delivery, as GitHub gives us for the answer."""
_CHUNK_BYTES: Final = 1 << 16
_STATUS: Final = {
    DeliveryVerdict.HINT: HTTPStatus.ACCEPTED,
    DeliveryVerdict.REPEATED: HTTPStatus.ACCEPTED,
    DeliveryVerdict.FORGED: HTTPStatus.UNAUTHORIZED,
    DeliveryVerdict.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


def secrets_in(file: Path) -> tuple[str, ...]:
    """The secrets in a file, one on each line: the present one, and for a change the one before or after it."""
    return tuple(line.strip() for line in file.read_text().splitlines() if line.strip())


class Listener(ThreadingHTTPServer):
    """Serves `POST /webhook`, bounded in size, time and number; `close` ends it."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], webhooks: Webhooks, now: Callable[[], datetime], hint: Callable[[], None]
    ) -> None:
        """Begins to listen; `hint` is called for each good delivery. Raises OSError when the address is taken."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, _handler(webhooks, now, hint))
        threading.Thread(target=self.serve_forever, name="webhooks", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as socketserver has it
        """Read it in a thread of its own, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Make room when it is answered."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hangs up in the middle is no error."""

    def close(self) -> None:
        """Listen no more."""
        self.shutdown()
        self.server_close()


def listen(
    address: str, kind: ForgeKind, secret_file: Path, now: Callable[[], datetime], hint: Callable[[], None]
) -> Listener:
    """Listen at `host:port`. Raises ValueError for another address or a file without a secret, and OSError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"webhooks are served at host:port, such as 0.0.0.0:8081, not {address!r}")
    webhooks = Webhooks(kind, lambda: secrets_in(secret_file))
    return Listener((host.strip("[]"), int(port)), webhooks, now, hint)


def _handler(webhooks: Webhooks, now: Callable[[], datetime], hint: Callable[[], None]) -> type[BaseRequestHandler]:
    judging = threading.Lock()

    class Delivery(BaseHTTPRequestHandler):
        """One delivery."""

        timeout = READ_SECONDS

        def do_POST(self) -> None:
            """Verify it and answer at once; its content is never used."""
            if self.path != PATH:
                return self._answer(HTTPStatus.NOT_FOUND)
            size = self.headers.get("Content-Length", "")
            if not size.isdigit():
                return self._answer(HTTPStatus.LENGTH_REQUIRED)
            if int(size) > MOST_BYTES:
                return self._answer(_STATUS[DeliveryVerdict.TOO_LARGE])
            body = self._read(int(size))
            if body is None:
                return self._answer(HTTPStatus.REQUEST_TIMEOUT)
            with judging:
                verdict = webhooks.judge(dict(self.headers.items()), body, now())
            if verdict is DeliveryVerdict.HINT:
                hint()
            return self._answer(_STATUS[verdict])

        def _read(self, size: int) -> bytes | None:
            """The body; None where it does not come in time."""
            deadline = time.monotonic() + READ_SECONDS
            parts: list[bytes] = []
            while size > 0:
                part = self.rfile.read1(min(size, _CHUNK_BYTES))
                if not part or time.monotonic() > deadline:
                    return None
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

        def _answer(self, status: HTTPStatus) -> None:
            self.close_connection = True
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def version_string(self) -> str:
            """The version of what it runs on is not shown."""
            return "carbonfleet"

        def log_message(self, *_: object) -> None:
            """Deliveries are not logged."""

    return Delivery
