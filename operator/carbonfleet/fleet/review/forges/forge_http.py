"""A forge's API over HTTP: what it answers as our errors, merges in the way it allows, and our one comment."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from carbonfleet.clock import Clock
from carbonfleet.fleet.review.pull_requests import COMMENT_MARK, ForgeDenied, ForgeError, ForgeRateLimited
from carbonfleet.http import Endpoint, HttpAnswer, JsonClient

MOST_PAGES: Final = 20
_WAYS: Final = ("merge", "squash", "rebase")
"""A merge commit first: it alone says when a proposal was merged, and keeps its lines."""
_NOT_ALLOWED: Final = re.compile(r"not allowed|invalid merge style", re.IGNORECASE)


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

    @property
    def endpoint(self) -> Endpoint:
        """How gently the forge is treated: reads are tried three times; one that fails is left for a minute."""
        return Endpoint(
            url=self.api,
            ca_file=self.ca_file,
            connect_seconds=10,
            read_seconds=30,
            tries=3,
            retry_seconds=self.pause_seconds,
            requests_per_minute=600,
            longest_cooling_seconds=60,
        )


class ForgeHttp:
    """One forge's API. Reads are repeated and cached by ETag; writes are sent once."""

    def __init__(
        self, settings: ForgeSettings, clock: Clock, token_header: tuple[str, str], headers: Mapping[str, str]
    ) -> None:
        """`token_header` is the header's name and what stands before the token in it."""
        self._settings, self._token_header, self._always = settings, token_header, headers
        self._client = JsonClient(settings.endpoint, clock, self._unreachable, self._limited)

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> HttpAnswer:
        """Read; what has not changed costs the forge nothing. Raises ForgeError, but for 404."""
        answer = self._client.get(path, parameters or {}, self._headers())
        if answer.status in {401, 403}:
            raise self._denied("read", answer)
        if answer.status // 100 != 2 and answer.status != 404:
            raise ForgeError(f"{self._settings.api} answered {answer.status}: {answer.message}")
        return answer

    def known(self, path: str, what: str) -> dict[str, Any]:
        """Read what must be there. Raises ForgeError, also where the answer is no object."""
        answer = self.get(path)
        if answer.status == 404:
            raise ForgeDenied(f"{self._settings.api} knows no {what}, or does not show it to the token's owner")
        if not isinstance(answer.body, dict):
            raise ForgeError(f"{self._settings.api} gave no {what}: {answer.message}")
        return answer.body

    def get_list(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Read one page of a list. Raises ForgeError where the answer is none."""
        answer = self.get(path, parameters)
        if not isinstance(answer.body, list) or not all(isinstance(item, dict) for item in answer.body):
            raise ForgeError(f"{self._settings.api} gave no list of {path}: {answer.message}")
        return answer.body

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> HttpAnswer:
        """Write, once: whether it arrived must be read before it is sent again.

        Raises ForgeError where nobody answered, for rate limits and for 5xx and 401; the rest is the caller's.
        """
        answer = self._client.send(method, path, body, self._headers())
        if answer.status == 401:
            raise self._denied("write", answer)
        return answer

    def merge(self, method: str, path: str, request: Mapping[str, str], way: str) -> HttpAnswer:
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

    def wrote(self, answer: HttpAnswer, what: str, *also: int) -> HttpAnswer:
        """The answer, if it is a 2xx or one of `also`. Raises ForgeError otherwise."""
        if answer.status // 100 == 2 or answer.status in also:
            return answer
        if answer.status == 403:
            raise self._denied(what, answer)
        raise ForgeError(f"{self._settings.api} would not {what}: {answer.message}")

    def paged(self, path: str, query: Mapping[str, str], size: int, wanted: Callable[[Any], Any]) -> list[Any]:
        """What `wanted` makes of a list's items, but for None: of the first page that has any."""
        for page in range(1, MOST_PAGES + 1):
            items = self.get_list(path, {**query, "limit": str(size), "page": str(page)})
            found = [value for value in map(wanted, items) if value is not None]
            if found or len(items) < size:
                return found
        return []

    def _headers(self) -> dict[str, str]:
        name, prefix = self._token_header
        try:
            return {**self._always, name: prefix + self._settings.token_file.read_text().strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise ForgeDenied(f"the token file {self._settings.token_file} can't be read: {error}") from error

    def _denied(self, what: str, answer: HttpAnswer) -> ForgeDenied:
        if answer.status == 401:
            return ForgeDenied(f"{self._settings.api} does not accept the token ({answer.message}): renew it")
        return ForgeDenied(f"{self._settings.api} does not let us {what} ({answer.message}): give its token that right")

    def _unreachable(self, message: str, retry_at: datetime | None) -> ForgeError:
        if retry_at is not None:
            message = f"it failed repeatedly and is left alone until {retry_at:%H:%M:%S} UTC"
        return ForgeError(f"{self._settings.api}, {self._settings.repository}: {message}")

    def _limited(self, _message: str, retry_at: datetime | None) -> ForgeRateLimited:
        until = f" until {retry_at:%H:%M:%S} UTC" if retry_at else ""
        return ForgeRateLimited(f"{self._settings.api} wants us to wait{until}")


def _text(comment: Mapping[str, Any]) -> str:
    return str(comment.get("body") or "").replace("\r\n", "\n")


def _is_ours(comment: Mapping[str, Any]) -> bool:
    return _text(comment).startswith(COMMENT_MARK)
