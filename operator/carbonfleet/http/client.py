"""GET and POST of JSON from a provider: time-outs, bounded bodies, ETags, retries, clear failures."""

import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import requests
import urllib3
from pydantic import SecretStr
from requests.auth import AuthBase

from carbonfleet.clock import Clock
from carbonfleet.http.endpoint import Endpoint
from carbonfleet.http.errors import HttpMoved, HttpThrottled, HttpUnavailable
from carbonfleet.http.rate_limit import LONGEST_WAIT_SECONDS, RateLimiter

_BODY_LIMIT_BYTES: Final = 16 * 2**20
_LIMITED: Final = re.compile(r"rate.?limit|abuse detection|too many requests|quota|limit exceeded", re.IGNORECASE)
_PAGE: Final = re.compile(r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)", re.IGNORECASE | re.DOTALL)
_REMEMBERED_ANSWERS: Final = 1000
_MOST_DIGITS: Final = 300
_READABLE: Final = frozenset({200, 201, 202, 204, *range(400, 500), 501})
"""Of the others, 3xx is not followed and 5xx may pass; 501 is a lasting "can't"."""
_MOVED: Final = frozenset({301, 302, 307, 308})


Failure = Callable[[str, datetime | None], Exception]
# At DEBUG it writes whole URLs, and some providers take the key there.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer that was read whole. `body` is the JSON value (or what the client's `read` makes), None where it
    was not JSON.
    """

    status: int
    body: Any
    text: str
    """Its first characters, for messages."""

    @property
    def message(self) -> str:
        """What the server says of a failure; forges' `errors` may be a list or a plain string."""
        if not isinstance(self.body, dict):
            return f"status {self.status}"
        parts = [self.body.get("message") or self.body.get("error") or "", self.body.get("errors") or ""]
        return " ".join(str(part) for part in parts if part)[:500] or f"status {self.status}"


class Headers(AuthBase):
    """Sets the given headers on a request, and keeps `requests` from reading ~/.netrc."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add them."""
        request.headers.update(self._headers)
        return request

    def __repr__(self) -> str:
        return "Headers(***)"


def read_json(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a body. Raises ValueError, RecursionError."""
    # NaN and Infinity are no JSON, but some servers write them: they stay text and are refused later.
    return json.loads(raw, parse_constant=str, parse_int=_whole)


class JsonClient:
    """One provider's server. Safe to use from several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        unavailable: Failure = HttpUnavailable,
        throttled: Failure = HttpThrottled,
        read: Callable[[bytes], Any] = read_json,
    ) -> None:
        """`unavailable` and `throttled` make the caller's own errors, from a message and a time to try again.

        `read` makes a body's value, for servers that don't speak JSON, and raises ValueError.
        """
        self._unavailable, self._throttled, self._read_body = unavailable, throttled, read
        self._endpoint = endpoint
        self._clock = clock
        self._limiter = RateLimiter(endpoint, clock)
        self._local = threading.local()
        self._remembered: dict[str, tuple[str, HttpAnswer]] = {}
        self.remaining_requests: int | None = None
        """How many requests the server said were left, in its newest answer that said so."""
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> HttpAnswer:
        """The answer, whatever its status below 500 save 429. Raises what `unavailable` or `throttled` make.

        A SecretStr in `query` is sent as it is, and stands in no message.
        """
        return self._in_their_words("GET", path, query, headers, None)

    def post(self, path: str, body: object, headers: Mapping[str, str]) -> HttpAnswer:
        """The same, for a question that is sent as JSON."""
        return self._in_their_words("POST", path, {}, headers, body)

    def send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> HttpAnswer:
        """The same, for a change: sent once, since it may have been made though the answer was lost."""
        return self._in_their_words(method, path, {}, headers, body, tries=1)

    def _in_their_words(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        body: object,
        tries: int | None = None,
    ) -> HttpAnswer:
        try:
            return self._ask(method, path, query, headers, body, tries or self._endpoint.tries)
        except HttpThrottled as error:
            raise self._throttled(error.message, error.retry_at) from error
        except HttpUnavailable as error:
            raise self._unavailable(error.message, error.retry_at) from error

    def _ask(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: object, tries: int
    ) -> HttpAnswer:
        for attempt in range(tries):
            self._limiter.enter()
            try:
                answer = self._once(method, path, query, headers, body)
            except (HttpThrottled, HttpMoved):
                raise
            except HttpUnavailable:
                self._limiter.failed()
                if attempt + 1 == tries:
                    raise
                self._pause(attempt)
            else:
                self._limiter.succeeded(_kind(method))
                return answer
        raise AssertionError("the loop returns or raises")

    def _pause(self, attempt: int) -> None:
        longest = self._endpoint.retry_seconds * 2**attempt
        time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - jitter is no secret

    def _once(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: object
    ) -> HttpAnswer:
        url = f"{self._endpoint.url.rstrip('/')}/{path.lstrip('/')}"
        key = f"{url}?{sorted(query.items())}"
        secrets = [value.get_secret_value() for value in query.values() if isinstance(value, SecretStr)]
        try:
            with self._session().request(
                method,
                url,
                params={name: _plain(value) for name, value in query.items()},
                json=body,
                auth=Headers({**headers, **self._conditions(method, key)}),
                timeout=(self._endpoint.connect_seconds, self._endpoint.read_seconds),
                # A redirect could carry the key to another host.
                allow_redirects=False,
                stream=True,
            ) as response:
                # A refusal may quote a header's key, `Bearer KEY` or its last word, and its text goes into messages.
                quoted = [] if response.status_code == 200 else [*headers.values()]
                hidden = [*secrets, *quoted, *(word for each in quoted for word in each.split()[-1:])]
                return self._read(response, method, key, hidden)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # Not str(error), nor the error itself: it may quote the URL, and some providers take the key there.
            raise HttpUnavailable(f"{self._endpoint.host}: {_failure(error)}") from (None if secrets else error)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.verify = str(self._endpoint.ca_file) if self._endpoint.ca_file else True
            session.headers.update({"Accept": "application/json", "User-Agent": "carbonfleet"})
        return session

    def _conditions(self, method: str, key: str) -> dict[str, str]:
        with self._lock:
            known = self._remembered.get(key)
        return {"If-None-Match": known[0]} if known and method == "GET" else {}

    def _read(self, response: requests.Response, method: str, key: str, secrets: Sequence[str]) -> HttpAnswer:
        if response.status_code == 304:
            with self._lock:
                known = self._remembered.get(key)
            if known:
                return known[1]
        if response.status_code in _MOVED:
            place = response.headers.get("Location", "another place").partition("?")[0][:200]
            raise HttpMoved(f"{self._endpoint.host} says that it has moved to {place}: set its address to that")
        if response.status_code not in _READABLE:
            raise HttpUnavailable(f"{self._endpoint.host}: HTTP {response.status_code}")
        answer = self._answer(response.status_code, method, _without(_body(response, self._endpoint), secrets))
        left = _remaining(response)
        self.remaining_requests = int(left) if left.isascii() and left.isdigit() and len(left) < 19 else None
        if _is_limit(response, answer):
            until = self._limiter.throttled(_kind(method), _wanted_wait_seconds(response))
            wait = self._clock.real_seconds(until - self._clock.now())
            raise HttpThrottled(f"{self._endpoint.host} asks us to wait {wait:.0f} s (HTTP {answer.status})", until)
        if answer.status in {401, 403} and _PAGE.match(answer.text):
            raise HttpUnavailable(
                f"{self._endpoint.host}: HTTP {answer.status} with a web page: something before the server refuses us"
            )
        return self._remember(response, key, answer)

    def _answer(self, status: int, method: str, raw: bytes) -> HttpAnswer:
        try:
            body = self._read_body(raw)
        except (ValueError, RecursionError):
            body = None
            if status == 200 and (method == "GET" or raw):
                what = "JSON" if self._read_body is read_json else "a document that can be read"
                raise HttpUnavailable(f"{self._endpoint.host}: HTTP 200 without {what} in it") from None
        return HttpAnswer(status, body, raw[:500].decode("utf-8", "replace"))

    def _remember(self, response: requests.Response, key: str, answer: HttpAnswer) -> HttpAnswer:
        etag = response.headers.get("ETag")
        if etag and answer.status == 200:
            with self._lock:
                self._remembered.pop(key, None)
                self._remembered[key] = (etag, answer)
                if len(self._remembered) > _REMEMBERED_ANSWERS:
                    self._remembered.pop(next(iter(self._remembered)))
        return answer


def _kind(method: str) -> str:
    return "read" if method == "GET" else "write"


def _is_limit(response: requests.Response, answer: HttpAnswer) -> bool:
    """Limits come as 429; some as a 401 or 403 that only its text or its headers tell from a denial."""
    said = _is_spent(response) or "Retry-After" in response.headers or _LIMITED.search(answer.text) is not None
    return answer.status == 429 or (answer.status in {401, 403} and said)


def _is_spent(response: requests.Response) -> bool:
    return _remaining(response) == "0"


def _remaining(response: requests.Response) -> str:
    """How many requests are left, as the server writes it; empty where it does not."""
    headers = response.headers
    found: str = headers.get("X-RateLimit-Remaining", headers.get("RateLimit-Remaining", ""))
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever requests takes
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _without(raw: bytes, secrets: Sequence[str]) -> bytes:
    """The body with no secret in it, as it is or as a URL writes it."""
    for secret in {part for each in secrets for part in (each, quote(each, safe="")) if part}:
        raw = raw.replace(secret.encode(), b"***")
    return raw


def _whole(digits: str) -> float:
    """A whole number; one beyond all floats is infinite, as 1e999 is: thousands of digits would have the whole answer
    refused.
    """
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _body(response: requests.Response, endpoint: Endpoint) -> bytes:
    """All of it: at most 16 MiB, and in three times the read time-out, however slowly it drips."""
    end = time.monotonic() + 3 * endpoint.read_seconds
    body = bytearray()
    # Not iter_content: it returns only when its whole piece is there, so a drip would hold it for hours.
    while part := response.raw.read1(65_536, decode_content=True):
        body += part
        if len(body) > _BODY_LIMIT_BYTES or time.monotonic() > end:
            raise HttpUnavailable(f"{endpoint.host}: the answer is too long, or takes too long")
    return bytes(body)


def _wanted_wait_seconds(response: requests.Response) -> float | None:
    """How long the server wants us to wait, between a second and an hour; None where it does not say."""
    headers = response.headers
    text, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", headers.get("RateLimit-Reset", ""))
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text)
        elif text:
            sent = parsedate_to_datetime(headers.get("Date", ""))
            seconds = (parsedate_to_datetime(text) - sent).total_seconds()
        elif _is_spent(response):  # A secondary limit comes with a count that is not spent: its reset says nothing.
            seconds = float(reset) - time.time()
        else:
            return None
    except (TypeError, ValueError):
        return None
    return min(max(1.0, seconds), LONGEST_WAIT_SECONDS)


def _failure(error: Exception) -> str:
    kinds = {
        requests.exceptions.SSLError: "its certificate is not trusted: set caFile",
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.Timeout: "no answer in time",
        urllib3.exceptions.TimeoutError: "no answer in time",
        requests.exceptions.ConnectionError: "no connection, or it broke off",
    }
    return next(
        (text for kind, text in kinds.items() if isinstance(error, kind)),
        f"request failed ({type(error).__name__})",
    )
