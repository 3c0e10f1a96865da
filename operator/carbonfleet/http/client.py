"""GET and POST of JSON from a provider: time-outs, bounded bodies, ETags, retries, clear failures."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
import urllib3
from requests.auth import AuthBase

from carbonfleet.clock import Clock
from carbonfleet.http.endpoint import Endpoint
from carbonfleet.http.errors import HttpThrottled, HttpUnavailable
from carbonfleet.http.rate_limit import RateLimiter

_BODY_LIMIT_BYTES: Final = 16 * 2**20
_RETRY_AFTER_LIMIT_SECONDS: Final = 3600.0
_REMEMBERED_ANSWERS: Final = 1000
_READABLE: Final = frozenset({200, 204, *range(400, 500), 501})
"""Of the others, 3xx is not followed and 5xx may pass; 501 is a lasting "can't"."""


Failure = Callable[[str, datetime | None], Exception]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer that was read whole. `body` is the JSON value, None where it was not JSON."""

    status: int
    body: Any
    text: str
    """Its first characters, for messages."""


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


class JsonClient:
    """One provider's server. Safe to use from several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        unavailable: Failure = HttpUnavailable,
        throttled: Failure = HttpThrottled,
    ) -> None:
        """`unavailable` and `throttled` make the caller's own errors, from a message and a time to try again."""
        self._unavailable, self._throttled = unavailable, throttled
        self._endpoint = endpoint
        self._clock = clock
        self._limiter = RateLimiter(endpoint, clock)
        self._local = threading.local()
        self._remembered: dict[str, tuple[str, HttpAnswer]] = {}
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> HttpAnswer:
        """The answer, whatever its status below 500 save 429. Raises what `unavailable` or `throttled` make."""
        return self._in_their_words("GET", path, query, headers, None)

    def post(self, path: str, body: object, headers: Mapping[str, str]) -> HttpAnswer:
        """The same, for a question that is sent as JSON."""
        return self._in_their_words("POST", path, {}, headers, body)

    def _in_their_words(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: object
    ) -> HttpAnswer:
        try:
            return self._ask(method, path, query, headers, body)
        except HttpThrottled as error:
            raise self._throttled(error.message, error.retry_at) from error
        except HttpUnavailable as error:
            raise self._unavailable(error.message, error.retry_at) from error

    def _ask(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: object
    ) -> HttpAnswer:
        for attempt in range(self._endpoint.tries):
            self._limiter.enter()
            try:
                answer = self._once(method, path, query, headers, body)
            except HttpThrottled as error:
                self._limiter.hold(error.retry_at)
                raise
            except HttpUnavailable:
                self._limiter.failed()
                if attempt + 1 == self._endpoint.tries:
                    raise
                self._pause(attempt)
            else:
                self._limiter.succeeded()
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
        try:
            with self._session().request(
                method,
                url,
                params=dict(query),
                json=body,
                auth=Headers({**headers, **self._conditions(method, key)}),
                timeout=(self._endpoint.connect_seconds, self._endpoint.read_seconds),
                # A redirect could carry the key to another host.
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._read(response, key, list(headers.values()))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # Not str(error): it may quote the URL, and some providers take the key there.
            raise HttpUnavailable(f"{self._endpoint.host}: {_failure(error)}") from error

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

    def _read(self, response: requests.Response, key: str, secrets: Sequence[str]) -> HttpAnswer:
        if response.status_code == 304:
            with self._lock:
                known = self._remembered.get(key)
            if known:
                return known[1]
        if response.status_code == 429:
            wait = _retry_after_seconds(response) or self._endpoint.throttle_seconds
            raise HttpThrottled(f"{self._endpoint.host} asks us to wait {wait:.0f} s (HTTP 429)", self._in_real(wait))
        if response.status_code not in _READABLE:
            raise HttpUnavailable(f"{self._endpoint.host}: HTTP {response.status_code}")
        return self._remember(response, key, _answer(response, self._endpoint, secrets))

    def _in_real(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds * self._clock.speed)

    def _remember(self, response: requests.Response, key: str, answer: HttpAnswer) -> HttpAnswer:
        etag = response.headers.get("ETag")
        if etag and answer.status == 200:
            with self._lock:
                self._remembered.pop(key, None)
                self._remembered[key] = (etag, answer)
                if len(self._remembered) > _REMEMBERED_ANSWERS:
                    self._remembered.pop(next(iter(self._remembered)))
        return answer


def _answer(response: requests.Response, endpoint: Endpoint, secrets: Sequence[str]) -> HttpAnswer:
    raw = _body(response, endpoint)
    if response.status_code != 200:
        for secret in filter(None, secrets):  # A refusal may quote the key, and its text goes into messages.
            raw = raw.replace(secret.encode(), b"***")
    try:
        # NaN and Infinity are no JSON, but some servers write them: they stay text and are refused later.
        body = json.loads(raw, parse_constant=str)
    except (ValueError, RecursionError):
        body = None
        if response.status_code == 200:
            raise HttpUnavailable(f"{endpoint.host}: HTTP 200 without JSON in it") from None
    return HttpAnswer(response.status_code, body, raw[:200].decode("utf-8", "replace"))


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


def _retry_after_seconds(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text), _RETRY_AFTER_LIMIT_SECONDS)
    try:
        then, sent = parsedate_to_datetime(text), parsedate_to_datetime(response.headers.get("Date", ""))
        return min(max(1.0, (then - sent).total_seconds()), _RETRY_AFTER_LIMIT_SECONDS)
    except (TypeError, ValueError):
        return None


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
