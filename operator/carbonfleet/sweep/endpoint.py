"""An OpenAI-compatible endpoint, as vLLM and others serve it: which models it has, and chats with them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from carbonfleet.sweep.error import SweepError

_TIMEOUT: Final = (5.0, 120.0)
"""Seconds to connect, and between two pieces of an answer."""
_MOST_BYTES: Final = 16_000_000

Message = Mapping[str, str]
"""`role` and `content`."""


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """Where it is, and the key that it wants, which goes there alone and never in plain text over a network."""

    url: str
    """The base URL, which ends in /v1."""
    key: SecretStr | None = None
    timeout: tuple[float, float] = _TIMEOUT
    _session: requests.Session = field(default_factory=requests.Session, repr=False)

    def __post_init__(self) -> None:
        """Raises SweepError for an address that can't be used."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise SweepError(f"{_shown(self.url)} is no endpoint; write https://HOST/v1 or http://127.0.0.1:PORT/v1")
        if self.key is not None and parts.scheme == "http" and not _is_here(parts.hostname):
            raise SweepError(
                f"the key would cross the network in plain text to {parts.hostname}: use https, or forward the port "
                "(kubectl port-forward) and chat with 127.0.0.1"
            )

    def models(self) -> tuple[str, ...]:
        """What it serves, in its order. Raises SweepError."""
        with self._call("GET", "/models") as answer:
            found = _json(answer)
        try:
            return tuple(str(model["id"]) for model in found["data"])
        except (KeyError, TypeError) as error:
            raise SweepError(f"{self.url} lists no models; is it OpenAI-compatible?") from error

    def chat(self, model: str, messages: Sequence[Message], **options: float) -> Iterator[str]:
        """The answer, piece by piece as it comes; `options` such as `max_tokens`. Raises SweepError."""
        body = {"model": model, "messages": list(messages), "stream": True, **options}
        with self._call("POST", "/chat/completions", body) as answer:
            kind = answer.headers.get("Content-Type", "")
            if "text/event-stream" not in kind:
                raise SweepError(f"{self.url} answered {kind or 'nothing'} instead of a stream")
            try:
                yield from _pieces(answer)
            except requests.RequestException as error:
                raise SweepError(f"{self.url} broke off its answer: {error}") from error

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        url = self.url.rstrip("/") + path
        try:
            answer = self._session.request(
                method, url, json=body, auth=self._sign, timeout=self.timeout, stream=True, allow_redirects=False
            )
        except requests.RequestException as error:
            raise SweepError(f"{self.url} did not answer: {type(error).__name__}; does it run?") from error
        if answer.status_code != 200:
            with answer:
                raise SweepError(f"{self.url} answered {answer.status_code}: {_why(answer)}")
        return answer

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Also without a key: or else requests would send what a .netrc says."""
        if self.key is not None:
            request.headers["Authorization"] = f"Bearer {self.key.get_secret_value()}"
        return request


def printable(text: str) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def _pieces(answer: requests.Response) -> Iterator[str]:
    """The content of each server-sent event, up to `[DONE]`."""
    size = 0
    for line in answer.iter_lines(chunk_size=1):  # more would wait for more
        size += len(line)
        if size > _MOST_BYTES:
            raise SweepError(f"the answer is longer than {_MOST_BYTES} bytes")
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        yield _content(data)
    raise SweepError("the answer broke off before its end")


def _content(data: bytes) -> str:
    try:
        event = json.loads(data)
        error = event.get("error")
        text = "" if error else "".join(choice["delta"].get("content") or "" for choice in event["choices"][:1])
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise SweepError(f"the answer holds what can't be read: {_shown(data.decode(errors='replace'))}") from problem
    if error:
        raise SweepError(f"the endpoint gave up: {_shown(str(error))}")
    return text


def _why(answer: requests.Response) -> str:
    text = answer.raw.read(10_000, decode_content=True).decode(errors="replace")
    try:
        found = json.loads(text)
        text = str(found.get("error", found).get("message", text))
    except (ValueError, AttributeError):
        pass
    return _shown(text) or str(answer.reason)


def _json(answer: requests.Response) -> Any:  # noqa: ANN401
    try:
        return answer.json()
    except (ValueError, requests.RequestException) as error:
        raise SweepError(f"{answer.url} answered something that is not JSON") from error


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(text: str) -> str:
    return " ".join(printable(text).split())[:300]
