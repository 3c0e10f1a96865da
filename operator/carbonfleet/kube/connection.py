"""A connection to a Kubernetes API: a timeout on every call, a page at a time, and a busy API is asked again."""

import copy
import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import urllib3
from kubernetes import client

from carbonfleet.kube.access import Access, Kubeconfig, authorization, pool_of
from carbonfleet.kube.answers import LONGEST_LINE, KubeError, Object, events, no_api, parsed
from carbonfleet.text import without

logger = logging.getLogger(__name__)
Page = tuple[list[Object], str]
"""Objects, and the resource version of the list that they are a part of."""
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
TOKEN_SECONDS: Final = 10.0
"""How long a token is used before its file is read again; clusters let an old one live on for far longer."""
_PAGE: Final = 500
"""Objects of one answer to a list."""
_TIMEOUT: Final = urllib3.Timeout(connect=5, read=30)
_EXPIRED: Final = 410
_BUSY: Final = frozenset({429, 503})
"""With Retry-After: the API has not begun with the request, and wants it later."""
_MOST_WAITS: Final = 5
LONGEST_WAIT_SECONDS: Final = 10
"""What an API may ask us to wait; whoever is told more than that comes back in a later cycle."""


class Kube:
    """A connection to one Kubernetes API; safe to share between threads.

    Its kubeconfig and token file are read again every TOKEN_SECONDS of `seconds`, so that rotated ones take over.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        source: Kubeconfig | None = None,
        contents: tuple[bytes, ...] = (),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._seconds = source, seconds
        self._access = Access(configuration, pool_of(configuration), contents, seconds())
        self._timeout = _TIMEOUT

    @classmethod
    def connect(
        cls, kubeconfig: Path | None = None, seconds: Callable[[], float] = time.monotonic, context: str = ""
    ) -> Self:
        """By kubeconfig (the usual places when None) and context (its current one), or as the pod's service account.

        Raises:
            KubeError: there is no usable configuration.
        """
        source = Kubeconfig(kubeconfig, context)
        try:
            contents = source.contents()  # first, so that a change while it is loaded is seen
        except Exception:  # noqa: BLE001 - load() says what is wrong with it
            contents = ()
        return cls(source.load(), source, contents, seconds)

    def within(self, seconds: float) -> Self:
        """The same connection, where a request fails after this long without an answer."""
        bounded = copy.copy(self)
        bounded._timeout = urllib3.Timeout(total=seconds)
        return bounded

    @property
    def url(self) -> str:
        """Where the API is."""
        return str(self._now().configuration.host)

    @property
    def token(self) -> str:
        """What is sent now; empty where it is no token."""
        return authorization(self._access.configuration).get("Authorization", "").partition(" ")[2]

    def credentials(self) -> dict[str, Any]:
        """How to reach the API by the files as they are now, in the words of `kopf.ConnectionInfo`."""
        configuration = self._now(oldest_seconds=0).configuration
        scheme, _, token = authorization(configuration).get("Authorization", "").partition(" ")
        return {
            "server": str(configuration.host),
            "ca_path": configuration.ssl_ca_cert,
            "insecure": not configuration.verify_ssl,
            "certificate_path": configuration.cert_file,
            "private_key_path": configuration.key_file,
            "scheme": scheme or None,
            "token": token or None,
        }

    def get(self, where: str) -> Object:
        """One object. Raises KubeError."""
        if not (found := self._call("GET", where)):
            raise no_api(200, f"GET {where}")
        return found

    def text(self, where: str) -> str:
        """What is not JSON: a pod's log. Raises KubeError."""
        response = self._request("GET", where)
        if response.status >= 400:
            self._read(response, f"GET {where}")
        return str(response.data.decode("utf-8", "replace"))

    def date(self) -> datetime | None:
        """What the API's own clock shows, to the second; None where it does not say. Raises KubeError."""
        said = self._request("GET", "/version").headers.get("Date", "")
        try:
            return parsedate_to_datetime(said)
        except ValueError:
            return None

    def pages(self, where: str, limit: int = _PAGE, /, **query: str) -> Iterator[Page]:
        """All objects, page by page, each with the resource version of the list; 0 puts no limit on a page.

        Raises KubeError, with the status 410 where etcd was compacted between two pages.
        """
        asked = {**query, "limit": str(limit)}
        while True:
            answer = self._call("GET", f"{where}?{urlencode(asked)}")
            if not isinstance(metadata := answer.get("metadata"), dict):
                raise no_api(200, f"GET {where}")
            yield answer.get("items") or [], metadata.get("resourceVersion", "")
            if not metadata.get("continue"):
                return
            asked["continue"] = metadata["continue"]

    def list(self, where: str, **query: str) -> tuple[list[Object], str]:
        """All objects, and the resource version of the list. Raises KubeError."""
        items: list[Object] = []
        version = ""
        try:
            for page, listed_at in self.pages(where, **query):
                items += page
                version = listed_at
        except KubeError as error:
            if error.status != _EXPIRED or not version:
                raise
            [(items, version)] = self.pages(where, 0, **query)  # at once, as client-go then does it
        return items, version

    def watch(self, where: str, version: str, seconds: int = 60) -> Iterator[tuple[str, Object]]:
        """What changes after a list's resource version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        Ends when the server ends it, after some `seconds`. Raises KubeError, with the status 410 where the version is
        too old to go on from.
        """
        asked = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        asked["timeoutSeconds"] = str(seconds)
        what, timeout = f"WATCH {where}", urllib3.Timeout(connect=5, read=seconds + 30)
        try:
            with closing(
                self._open("GET", f"{where}?{urlencode(asked)}", timeout=timeout, preload_content=False)
            ) as got:
                if got.status >= 400:
                    told = without(got.read(LONGEST_LINE).decode(errors="replace"), self.token)
                    parsed(got.status, told.encode(), what)
                yield from events(got, what)
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def create(self, where: str, body: Mapping[str, Any]) -> Object:
        """Create in a collection. Raises KubeError, a conflict when it exists."""
        return self._call("POST", where, body)

    def patch(self, where: str, body: Mapping[str, Any], content_type: str = MERGE_PATCH) -> Object:
        """Merge into an object; `null` removes a key. Raises KubeError."""
        return self._call("PATCH", where, body, content_type)

    def apply(self, where: str, body: Mapping[str, Any], manager: str, *, force: bool = True) -> Object:
        """Server-side apply as field manager `manager`. Raises KubeError."""
        query = f"?fieldManager={manager}&force={str(force).lower()}"
        return self._call("PATCH", where + query, body, APPLY_PATCH)

    def replace(self, where: str, body: Mapping[str, Any]) -> Object:
        """Replace an object at its resource version. Raises KubeError, a conflict when it moved on."""
        return self._call("PUT", where, body)

    def delete(self, where: str, version: str = "", uid: str = "") -> None:
        """Delete an object, where given only at that version or of that UID; one that is not there is no error.

        Raises KubeError, a conflict when it moved on or another object has its name.
        """
        wanted = {key: value for key, value in (("resourceVersion", version), ("uid", uid)) if value}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": wanted}
        try:
            self._call("DELETE", where, body if wanted else None)
        except KubeError as error:
            if not error.is_gone:
                raise

    def _call(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        return self._read(self._request(method, where, body, content_type), f"{method} {where}")

    def _request(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        """Its answer, asked for again as long as the API is busy and says when it will not be."""
        for _ in range(_MOST_WAITS):
            response = self._send(method, where, body, content_type)
            if (seconds := self._seconds_asked(response)) is None:
                return response
            time.sleep(seconds * random.uniform(1, 1.5))  # noqa: S311 - jitter
        return self._send(method, where, body, content_type)

    def _send(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        kind = {} if body is None else {"Content-Type": content_type}
        try:
            return self._open(method, where, kind, body=payload, timeout=self._timeout)
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _open(
        self,
        method: str,
        where: str,
        headers: Mapping[str, str] = MappingProxyType({}),
        **options: Any,  # noqa: ANN401 - urllib3's own
    ) -> urllib3.BaseHTTPResponse:
        access = self._now()
        url = urlsplit(access.configuration.host).path.rstrip("/") + where
        sent = {"Accept": "application/json", **authorization(access.configuration), **headers}
        return access.pool.request(method, url, headers=sent, retries=False, **options)

    def _unreachable(self, error: Exception) -> KubeError:
        why = str(error).rpartition("): ")[2]  # behind the connection, whose address is told already
        return KubeError(0, "Unreachable", f"the Kubernetes API at {self.url} did not answer: {why}")

    def _seconds_asked(self, response: urllib3.BaseHTTPResponse) -> int | None:
        """How long a busy API asks us to wait; None where it does not, or an answer is wanted `within` a time."""
        asked = response.headers.get("Retry-After", "") if response.status in _BUSY else ""
        if self._timeout.total or not re.fullmatch("[0-9]{1,9}", asked) or int(asked) > LONGEST_WAIT_SECONDS:
            return None
        return int(asked)

    def _read(self, response: urllib3.BaseHTTPResponse, what: str) -> Object:
        status, data = response.status, response.data
        if status >= 400:
            data = without(data.decode(errors="replace"), self.token).encode()
        return parsed(status, data, what)

    def _now(self, oldest_seconds: float = TOKEN_SECONDS) -> Access:
        """By the files as they are; by what they last held while they can't be used."""
        known = self._access
        if self._source is None or self._seconds() - known.read_at < oldest_seconds:
            return known
        self._access = known = replace(known, read_at=self._seconds())  # other threads go on with it meanwhile
        try:
            if (contents := self._source.contents()) != known.contents:
                self._access = known = known.with_settings(self._source.load(), contents)
        except Exception as error:  # noqa: BLE001 - a file may be half written, and hold anything
            logger.warning("the kubeconfig can't be read again, so that its last settings count: %s", error)
        return known
