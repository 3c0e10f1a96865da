"""HTTP to a forge: bounded in time, polite, and with failures in our words."""

import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from carbonfleet.fleet.review.pull_requests import COMMENT_MARK, ForgeDenied, ForgeError, ForgeRateLimited

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 30
GET_TRIES: Final = 3
MOST_BYTES: Final = 16 << 20
MOST_PAGES: Final = 20
MOST_REMEMBERED: Final = 1000
LIMIT_SECONDS: Final = 60.0
"""The least wait where a forge limits us and does not say how long; twice as long each further time in a row, and up to
a half more, so that hubs which were limited together come back apart.
"""
LONGEST_WAIT_SECONDS: Final = 3600.0
_WAYS: Final = ("merge", "squash", "rebase")
"""A merge commit first: it alone says when a proposal was merged, and keeps its lines."""
_NOT_ALLOWED: Final = re.compile(r"not allowed|invalid merge style", re.IGNORECASE)
_LIMITED: Final = re.compile(r"rate limit|abuse detection|too many requests", re.IGNORECASE)
_MOVED: Final = frozenset({301, 302, 307, 308})


@dataclass(frozen=True, slots=True)
class ForgeSettings:
    """Where a repository's pull requests are, and how we may ask."""

    api: str
    """The API's address, such as https://api.github.com or https://git.example.org/api/v1."""
    repository: str
    """`owner/name`; on GitLab a path of any depth."""
    token_file: Path
    """Read anew for each request, so that short-lived tokens can be renewed beside us."""
    base: str = "main"
    ca_file: Path | None = None
    """The certificates to trust, for a forge with its own."""
    pause_seconds: float = 0.2
    """Before a failed read is repeated; twice as long before the next."""

    def __post_init__(self) -> None:
        """Raises ValueError for an address that would show the token, or a repository that is none."""
        parts = urlsplit(self.api)
        local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError(f"the forge's API must be https://, so that nobody reads the token: {self.api}")
        if "/" not in self.repository.strip("/"):
            raise ValueError(f"write the repository as owner/name: {self.repository}")

    @property
    def owner(self) -> str:
        """The part before the first slash."""
        return self.repository.split("/")[0]

    @property
    def quoted(self) -> str:
        """`owner/name`, each part safe in a path."""
        return "/".join(quote(part, safe="") for part in self.repository.split("/"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a forge answered."""

    status: int
    json: Any
    """None where there was no JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What the forge says of a failure; `errors` may be a list or a plain string."""
        if not isinstance(self.json, dict):
            return f"status {self.status}"
        parts = [self.json.get("message") or self.json.get("error") or "", self.json.get("errors") or ""]
        return " ".join(str(part) for part in parts if part)[:500] or f"status {self.status}"


class ForgeHttp:
    """One forge's API. Reads are repeated and cached by ETag; writes are sent once."""

    def __init__(self, settings: ForgeSettings, token_header: tuple[str, str], headers: Mapping[str, str]) -> None:
        """`token_header` is the header's name and what stands before the token in it."""
        self._settings, self._token_header = settings, token_header
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": "carbonfleet", **headers})
        self._session.verify = str(settings.ca_file) if settings.ca_file else True
        self._seen: dict[str, tuple[str, Answer]] = {}
        self._limits_in_a_row = {"read": 0, "write": 0}

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Read; what has not changed costs the forge nothing. Raises ForgeError, but for 404."""
        key = f"{path}?{sorted((parameters or {}).items())}"
        etag, known = self._seen.get(key, ("", None))
        headers = {"If-None-Match": etag} if etag else {}
        answer = self._read(path, parameters, headers)
        if answer.status == 304 and known is not None:
            return known
        if answer.status == 404:
            return answer
        self._refuse(answer)
        if "etag" in answer.headers:
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen.clear()
            self._seen[key] = answer.headers["etag"], answer
        return answer

    def get_list(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Read one page of a list. Raises ForgeError where the answer is none."""
        answer = self.get(path, parameters)
        if not isinstance(answer.json, list) or not all(isinstance(item, dict) for item in answer.json):
            raise ForgeError(f"{self._settings.api} gave no list of {path}: {answer.message}")
        return answer.json

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Write, once: whether it arrived must be read before it is sent again.

        Raises ForgeError where nobody answered, for rate limits and for 5xx and 401; the rest is the caller's.
        """
        answer = self._request(method, path, json=body)
        self._refuse_limits(answer, "write")
        if answer.status == 401:
            raise ForgeDenied(f"{self._settings.api} does not accept the token ({answer.message}): renew it")
        if answer.status >= 500:
            raise ForgeError(f"{self._settings.api} failed: {answer.message}")
        return answer

    def merge(self, method: str, path: str, request: Mapping[str, str], way: str) -> Answer:
        """Merge in the first way that the repository's settings allow; `way` is the field that names it."""
        for wanted in _WAYS:
            answer = self.send(method, path, {**request, way: wanted})
            if answer.status != 405 or not _NOT_ALLOWED.search(answer.message):
                break
        return answer

    def say(self, comments: str, one: str, method: str, text: str) -> None:
        """Write our one comment below `comments`, or change it at `one`/<id>. Raises ForgeError."""
        body = f"{COMMENT_MARK}\n{text}"
        present = [item for item in self.get_list(comments, {"per_page": "100"}) if _is_ours(item)]
        if any(_text(item) == body for item in present):
            return
        for item in present[:1]:
            answer = self.send(method, f"{one}/{item.get('id')}", {"body": body})
            if answer.status not in {403, 404}:  # whoever wrote our mark, it is not ours
                self.wrote(answer, "change our comment")
                return
        self.wrote(self.send("POST", comments, {"body": body}), "comment")

    def wrote(self, answer: Answer, what: str, *also: int) -> Answer:
        """The answer, if it is a 2xx or one of `also`. Raises ForgeError otherwise."""
        if answer.status // 100 == 2 or answer.status in also:
            return answer
        if answer.status == 403:
            raise ForgeDenied(
                f"{self._settings.api} does not let us {what} ({answer.message}): give its token that right"
            )
        raise ForgeError(f"{self._settings.api} would not {what}: {answer.message}")

    def _denied(self, what: str, answer: Answer) -> ForgeDenied:
        return ForgeDenied(f"{self._settings.api} does not let us {what} ({answer.message}): give its token that right")

    def _read(self, path: str, parameters: Mapping[str, str] | None, headers: Mapping[str, str]) -> Answer:
        for attempt in range(GET_TRIES):
            last = attempt == GET_TRIES - 1
            try:
                answer = self._request("GET", path, params=parameters, headers=headers)
            except ForgeError:
                if last:
                    raise
            else:
                if answer.status < 500 or last:
                    return answer
            time.sleep(self._settings.pause_seconds * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _request(self, method: str, path: str, **more: Any) -> Answer:  # noqa: ANN401  passed on to requests
        name, prefix = self._token_header
        headers = {**more.pop("headers", {}), name: prefix + self._token()}
        try:
            with self._session.request(
                method,
                f"{self._settings.api.rstrip('/')}{path}",
                headers=headers,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
                **more,
            ) as response:
                content = response.raw.read(MOST_BYTES, decode_content=True)
                return Answer(response.status_code, _json(content), {k.lower(): v for k, v in response.headers.items()})
        except (requests.RequestException, OSError, ValueError) as error:
            # The exception's own text may hold headers; its kind says enough.
            raise ForgeError(f"{self._settings.api} can't be reached: {type(error).__name__}") from error

    def _token(self) -> str:
        try:
            return self._settings.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ForgeDenied(f"the token file {self._settings.token_file} can't be read: {error}") from error

    def _refuse(self, answer: Answer) -> None:
        self._refuse_limits(answer, "read")
        if answer.status in {401, 403}:
            raise ForgeDenied(
                f"{self._settings.api} does not let us read ({answer.message}): give its token that right"
            )
        if answer.status // 100 != 2:
            raise ForgeError(f"{self._settings.api} answered {answer.status}: {answer.message}")

    def _refuse_limits(self, answer: Answer, kind: str) -> None:
        """Raises ForgeRateLimited, and ForgeError for a redirect: the token goes to no other place."""
        if answer.status in _MOVED:
            raise ForgeError(
                f"{self._settings.api} says that {self._settings.repository} has moved to "
                f"{answer.headers.get('location', 'another place')[:200]}: set the forge's address and repository to it"
            )
        if not _is_limit(answer):
            self._limits_in_a_row[kind] = 0
            return
        seconds = retry_after_seconds(answer.headers, LIMIT_SECONDS * 2 ** self._limits_in_a_row[kind])
        self._limits_in_a_row[kind] = min(6, self._limits_in_a_row[kind] + 1)
        raise ForgeRateLimited(f"{self._settings.api} wants us to wait {seconds:.0f} s: {answer.message}", seconds)


def _is_limit(answer: Answer) -> bool:
    """GitHub's secondary limits are a 403 that only its text tells from a denial."""
    headers = answer.headers
    said = _is_spent(headers) or "retry-after" in headers or _LIMITED.search(answer.message) is not None
    return answer.status == 429 or (answer.status == 403 and said)


def retry_after_seconds(headers: Mapping[str, str], unsaid: float = LIMIT_SECONDS) -> float:
    """How long a forge wants us to wait, between 1 s and 1 h; `unsaid` where it does not say."""
    # A secondary limit comes with the hour's own count, whose reset has nothing to do with it.
    reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset", "")) if _is_spent(headers) else ""
    unsaid *= random.uniform(1.0, 1.5)  # noqa: S311  spreads hubs
    try:
        seconds = float(headers["retry-after"]) if "retry-after" in headers else float(reset) - time.time()
    except ValueError:
        seconds = unsaid
    return min(LONGEST_WAIT_SECONDS, max(1.0, seconds))


def _is_spent(headers: Mapping[str, str]) -> bool:
    return headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining")) == "0"


def _text(comment: Mapping[str, Any]) -> str:
    return str(comment.get("body") or "").replace("\r\n", "\n")


def _is_ours(comment: Mapping[str, Any]) -> bool:
    return _text(comment).startswith(COMMENT_MARK)


def _json(content: bytes) -> Any:  # noqa: ANN401  whatever was sent
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None
