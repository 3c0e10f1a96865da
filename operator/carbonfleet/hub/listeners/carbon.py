"""Answers `GET /carbon/v1/zones/{zone}` for whoever has the token: KEDA, and others that scale by carbon intensity."""

import hashlib
import hmac
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.faults import said
from carbonfleet.probes import BoundedServer
from carbonfleet.signals import Signals, zone_carbon

PATH: Final = "/carbon/v1/zones/"
FRESH_SECONDS: Final = 60
"""Real seconds that an answer may be kept, here and by who asked."""
SHORTEST_TOKEN: Final = 16
CALLS_PER_SECOND: Final = 10.0
CALLS_AT_ONCE: Final = 100.0
STRANGERS_PER_SECOND: Final = 1.0
STRANGERS_AT_ONCE: Final = 20.0
_ZONE: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{0,31}")
_MAKE_ONE: Final = "`openssl rand -hex 32` makes one"
_KIND: Final = SignalKind.AVERAGE_LIFECYCLE
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CarbonAnswer:
    """A status, and JSON."""

    status: HTTPStatus
    body: bytes

    @property
    def etag(self) -> str:
        """Of the body."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


def _told(status: HTTPStatus, problem: str) -> CarbonAnswer:
    return CarbonAnswer(status, json.dumps({"problem": problem}).encode())


class ZoneFigures:
    """What is answered of each zone of the fleet, kept for a minute. Safe to use from several threads."""

    def __init__(
        self,
        signals: Signals,
        zones: Callable[[], Collection[str]],
        now: Callable[[], datetime],
        horizon: timedelta,
    ) -> None:
        """`zones` may raise; no others are asked for. `horizon` is the planner's: a source's answer serves both."""
        self._signals, self._zones, self._now, self._horizon = signals, zones, now, horizon
        self._kept: dict[str, tuple[float, CarbonAnswer]] = {}
        self._known: tuple[float, frozenset[str]] | None = None
        self._lock = threading.Lock()

    def of(self, zone: str) -> CarbonAnswer:
        """200 with a ZoneCarbon, 404 for a zone where the fleet has no cluster, 503 while nothing is known of it."""
        with self._lock:
            until, answer = self._kept.get(zone, (0.0, None))
            if answer is None or time.monotonic() >= until:
                answer = self._made(zone)
                if answer.status is not HTTPStatus.NOT_FOUND:
                    self._kept[zone] = time.monotonic() + FRESH_SECONDS, answer
            return answer

    def _made(self, zone: str) -> CarbonAnswer:
        try:
            if zone not in self._fleet_zones():
                return _told(HTTPStatus.NOT_FOUND, "no cluster of the fleet is in such a zone")
            now, key = self._now(), (zone, _KIND)
            reading = self._signals.forecasts({key}, now, now + self._horizon)
            if key in reading.forecasts and key in reading.histories:
                figures = zone_carbon(reading.forecasts[key], reading.histories[key], now)
                return CarbonAnswer(HTTPStatus.OK, json.dumps(figures.model_dump(mode="json", by_alias=True)).encode())
            problem = reading.problems.get(zone, "nothing is known of it yet")
        except Exception as error:  # noqa: BLE001 - whoever asks is told, and the hub goes on
            _log.warning("the carbon figures of a zone can't be told: %s", said(error))
            problem = "the hub can't read its fleet repository or its figures: its log says why"
        return _told(HTTPStatus.SERVICE_UNAVAILABLE, problem)

    def _fleet_zones(self) -> frozenset[str]:
        if self._known is None or time.monotonic() >= self._known[0]:
            self._known = time.monotonic() + FRESH_SECONDS, frozenset(self._zones())
            self._kept = {zone: kept for zone, kept in self._kept.items() if zone in self._known[1]}
        return self._known[1]


@dataclass(slots=True)
class TokenBucket:
    """Lets so many calls pass a second, and so many at once after a rest."""

    per_second: float
    at_once: float
    _level: float = field(init=False)
    _filled_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._level = self.at_once

    def take(self) -> bool:
        """Whether one more may pass."""
        with self._lock:
            now = time.monotonic()
            self._level = min(self.at_once, self._level + (now - self._filled_at) * self.per_second)
            self._filled_at = now
            if self._level < 1:
                return False
            self._level -= 1
            return True


def tokens_in(file: Path) -> tuple[str, ...]:
    """The tokens in a file, one on each line: the present one, and for a change the one before or after it.

    Raises OSError, ValueError without any or with one that could be guessed.
    """
    tokens = tuple(line.strip() for line in file.read_text().splitlines() if line.strip())
    if not tokens:
        raise ValueError(f"{file} holds no token: {_MAKE_ONE}")
    if min(map(len, tokens)) < SHORTEST_TOKEN:
        raise ValueError(
            f"a token in {file} is shorter than {SHORTEST_TOKEN} characters: `openssl rand -hex 32` makes one"
        )
    return tokens


@dataclass(frozen=True, slots=True)
class _Gate:
    """Who may ask, and how often."""

    token_file: Path
    callers: TokenBucket = field(default_factory=lambda: TokenBucket(CALLS_PER_SECOND, CALLS_AT_ONCE))
    strangers: TokenBucket = field(default_factory=lambda: TokenBucket(STRANGERS_PER_SECOND, STRANGERS_AT_ONCE))

    def refuses(self, authorization: str) -> CarbonAnswer | None:
        """What is answered in place of figures; None for who may have them. Whoever guesses keeps no caller out."""
        try:
            tokens = tokens_in(self.token_file)
        except (OSError, ValueError) as error:
            _log.warning("nobody can be let in: %s", said(error))
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, "the hub has no token to compare yours with")
        scheme, _, given = authorization.partition(" ")
        matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
        is_known = scheme.lower() == "bearer" and any(matches)
        if not (self.callers if is_known else self.strangers).take():
            return _told(HTTPStatus.TOO_MANY_REQUESTS, "ask less often")
        return None if is_known else _told(HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer TOKEN")


def serve_carbon(
    address: str, token_file: Path, figures: ZoneFigures, count: Callable[[int], None] = lambda _status: None
) -> BoundedServer:
    """Listen at `host:port`; `count` gets the status of each answer.

    Raises ValueError for another address or a file without a fit token, and OSError.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"carbon figures are served at host:port, such as 0.0.0.0:8082, not {address!r}")
    tokens_in(token_file)
    return BoundedServer((host.strip("[]"), int(port)), _handler(_Gate(token_file), figures, count), "carbon")


def _handler(gate: _Gate, figures: ZoneFigures, count: Callable[[int], None]) -> type[BaseHTTPRequestHandler]:
    class Asked(BaseHTTPRequestHandler):
        """One request. Nothing that it holds is repeated in an answer or a log."""

        def do_GET(self) -> None:
            """The figures, or why not."""
            answer = gate.refuses(self.headers.get("Authorization", "")) or self._figures()
            if answer.status is HTTPStatus.OK and self.headers.get("If-None-Match") == answer.etag:
                answer_as = HTTPStatus.NOT_MODIFIED
            else:
                answer_as = answer.status
            body = b"" if answer_as is HTTPStatus.NOT_MODIFIED else answer.body
            self.close_connection = True
            self.send_response(answer_as)
            for name, value in _headers_of(answer, len(body)).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            count(answer_as)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def _figures(self) -> CarbonAnswer:
            zone = self.path.removeprefix(PATH)
            if zone == self.path or not _ZONE.fullmatch(zone):
                return _told(HTTPStatus.NOT_FOUND, f"ask for {PATH}ZONE, such as {PATH}DE")
            return figures.of(zone)

        def version_string(self) -> str:
            """The version of what it runs on is not shown."""
            return "carbonfleet"

        def log_message(self, *_: object) -> None:
            """Requests are counted, not logged."""

    return Asked


def _headers_of(answer: CarbonAnswer, length: int) -> Mapping[str, str]:
    headers = {"Content-Type": "application/json", "Content-Length": str(length), "X-Content-Type-Options": "nosniff"}
    if answer.status is HTTPStatus.OK:
        return headers | {"ETag": answer.etag, "Cache-Control": f"private, max-age={FRESH_SECONDS}"}
    headers["Cache-Control"] = "no-store"
    if answer.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="carbonfleet"'
    if answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(FRESH_SECONDS)
    return headers
