"""Listens for the forge's webhooks: a valid one starts a cycle at once, and has no other effect."""

import threading
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from carbonfleet.fleet.review import MOST_BYTES, DeliveryVerdict, ForgeKind, Webhooks
from carbonfleet.probes import BoundedServer

PATH: Final = "/webhook"
_STATUS: Final = {
    DeliveryVerdict.HINT: HTTPStatus.ACCEPTED,
    DeliveryVerdict.REPEATED: HTTPStatus.ACCEPTED,
    DeliveryVerdict.FORGED: HTTPStatus.UNAUTHORIZED,
    DeliveryVerdict.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


def secrets_in(file: Path) -> tuple[str, ...]:
    """The secrets in a file, one on each line: the present one, and for a change the one before or after it."""
    return tuple(line.strip() for line in file.read_text().splitlines() if line.strip())


def listen(
    address: str, kind: ForgeKind, secret_file: Path, now: Callable[[], datetime], hint: Callable[[], None]
) -> BoundedServer:
    """Listen at `host:port`. Raises ValueError for another address or a file without a secret, and OSError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"webhooks are served at host:port, such as 0.0.0.0:8081, not {address!r}")
    webhooks = Webhooks(kind, lambda: secrets_in(secret_file))
    return BoundedServer((host.strip("[]"), int(port)), _handler(webhooks, now, hint), "webhooks")


def _handler(webhooks: Webhooks, now: Callable[[], datetime], hint: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    judging = threading.Lock()

    class Delivery(BaseHTTPRequestHandler):
        """One delivery."""

        def do_POST(self) -> None:
            """Verify it and answer at once; its content is never used."""
            if self.path != PATH:
                return self._answer(HTTPStatus.NOT_FOUND)
            size = self.headers.get("Content-Length", "")
            if not size.isdigit():
                return self._answer(HTTPStatus.LENGTH_REQUIRED)
            if int(size) > MOST_BYTES:
                return self._answer(_STATUS[DeliveryVerdict.TOO_LARGE])
            body = self.rfile.read(int(size))
            if len(body) < int(size):
                return self._answer(HTTPStatus.REQUEST_TIMEOUT)
            with judging:
                verdict = webhooks.judge(dict(self.headers.items()), body, now())
            if verdict is DeliveryVerdict.HINT:
                hint()
            return self._answer(_STATUS[verdict])

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
