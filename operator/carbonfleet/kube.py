"""A Kubernetes API as carbonfleet speaks to it: plain objects, one error type, a timeout on every call."""

import copy
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.text import without

logger = logging.getLogger(__name__)
Object = dict[str, Any]
Page = tuple[list[Object], str]
"""Objects, and the resource version of the list that they are a part of."""
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
TOKEN_SECONDS: Final = 10.0
"""How long a token is used before its file is read again; clusters let an old one live on for far longer."""
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_REACHED_BY: Final = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy")
NOT_KUBERNETES: Final = "NotKubernetes"
"""What answered is something else, such as a proxy's page."""
_PAGE: Final = 500
"""Objects of one answer to a list."""
_LINE: Final = 8 * 2**20
"""Bytes of one event of a watch, far more than the largest object."""
_TIMEOUT: Final = urllib3.Timeout(connect=5, read=30)
_EXPIRED: Final = 410
_BUSY: Final = frozenset({429, 503})
"""With Retry-After: the API has not begun with the request, and wants it later."""
_MOST_WAITS: Final = 5
LONGEST_WAIT_SECONDS: Final = 10
"""What an API may ask us to wait; whoever is told more than that comes back in a later cycle."""


class KubeError(Exception):
    """The API refused a request, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str, said: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.said = said
        """What the API itself said, where it answered."""

    @property
    def for_people(self) -> str:
        """What went wrong, and what a person can do."""
        match self.status:
            case 0:
                return str(self)
            case 401:
                return "the Kubernetes API does not know you: renew the credentials in your kubeconfig"
            case 403:
                return f"the Kubernetes API refuses you that: {self.said}; ask its administrator for the right"
            case 404 if self.reason != NOT_KUBERNETES:
                return f"{self.said or 'not found'}: is carbonfleet installed there, and is it the hub's kubeconfig?"
            case status if status >= 500 and self.reason != NOT_KUBERNETES:
                return f"the Kubernetes API failed: {self.said or self.reason or status}; try again in a moment"
        return self.said or str(self)

    @property
    def is_gone(self) -> bool:
        """The object is not there."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Somebody else was faster: read again."""
        return self.status == 409

    @property
    def is_away(self) -> bool:
        """The API did not answer, or no more knows us: no other request will do better."""
        return self.status in (0, 401)

    @property
    def is_about_one_object(self) -> bool:
        """This request is refused, and others may still be answered: the API itself is well."""
        return 400 <= self.status < 500 and self.status not in (401, 429)


def ours(plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of carbonfleet's own resources."""
    return path(f"apis/{GROUP}/{VERSION}", plural, namespace, name, subresource)


def path(api: str, plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of a resource: `api` is `api/v1` or `apis/<group>/<version>`."""
    parts = [api, *(("namespaces", namespace) if namespace else ()), plural, name, subresource]
    return "/" + "/".join(part for part in parts if part)


def name_of(body: Object) -> str:
    """`namespace/name`, or the name of what has no namespace: for people, whatever stands there."""
    metadata = body.get("metadata") or {}
    return "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig (the usual places when None) or the pod's service account; people and timers replace its files."""

    file: Path | None = None

    @property
    def _is_in_pod(self) -> bool:
        return self.file is None and _SERVICE_ACCOUNT.exists()

    def contents(self) -> tuple[bytes, ...]:
        """What its files hold, tokens' files too; raises whatever a reader of files raises."""
        return (_SERVICE_ACCOUNT.read_bytes(),) if self._is_in_pod else tuple(self._contents())

    def _contents(self) -> Iterator[bytes]:
        for name in str(self.file or KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep):
            file = Path(name).expanduser()
            if name and file.is_file():
                yield (content := file.read_bytes())
                users = (entry["user"] for entry in yaml.safe_load(content).get("users") or ())
                tokens = (file.parent / user["tokenFile"] for user in users if user and "tokenFile" in user)
                yield from (token.read_bytes() for token in tokens if token.is_file())

    def load(self) -> client.Configuration:
        """How to reach the API; runs the program that an `exec` in it names. Raises KubeError."""
        configuration = client.Configuration()
        try:
            if self._is_in_pod:
                config.load_incluster_config(client_configuration=configuration)
            else:
                file = str(self.file) if self.file else None
                config.load_kube_config(config_file=file, client_configuration=configuration)
        except Exception as error:  # a file may hold anything, and its reader raises more than it says
            where = self.file or "the usual places"
            why = " ".join(str(error).split())[:200].rstrip(".;")
            raise KubeError(0, "NoKubeconfig", f"no usable kubeconfig at {where}: {why}; set KUBECONFIG") from error
        return configuration


@dataclass(frozen=True, slots=True)
class _Access:
    """How the API is reached, by what the kubeconfig's files held when they were read last."""

    configuration: client.Configuration
    pool: urllib3.HTTPConnectionPool
    contents: tuple[bytes, ...]
    read_at: float

    def with_settings(self, configuration: client.Configuration, contents: tuple[bytes, ...]) -> "_Access":
        """By other settings; open connections are kept where they lead to the same place."""
        is_same = all(getattr(configuration, name) == getattr(self.configuration, name) for name in _REACHED_BY)
        pool = self.pool if is_same else _pool(configuration)
        return replace(self, configuration=configuration, pool=pool, contents=contents)


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
        self._access = _Access(configuration, _pool(configuration), contents, seconds())
        self._timeout = _TIMEOUT

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, seconds: Callable[[], float] = time.monotonic) -> Self:
        """By kubeconfig (the usual places when None), or as the pod's service account.

        Raises:
            KubeError: there is no usable configuration.
        """
        source = Kubeconfig(kubeconfig)
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
        return _authorization(self._access.configuration).get("Authorization", "").partition(" ")[2]

    def credentials(self) -> dict[str, Any]:
        """How to reach the API by the files as they are now, in the words of `kopf.ConnectionInfo`."""
        configuration = self._now(oldest_seconds=0).configuration
        scheme, _, token = _authorization(configuration).get("Authorization", "").partition(" ")
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
            raise _no_api(200, f"GET {where}")
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
                raise _no_api(200, f"GET {where}")
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
                    told = without(got.read(_LINE).decode(errors="replace"), self.token)
                    _parsed(got.status, told.encode(), what)
                yield from _events(got, what)
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

    def delete(self, where: str) -> None:
        """Delete an object; one that is not there is no error. Raises KubeError."""
        try:
            self._call("DELETE", where)
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
        sent = {"Accept": "application/json", **_authorization(access.configuration), **headers}
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
        return _parsed(status, data, what)

    def _now(self, oldest_seconds: float = TOKEN_SECONDS) -> _Access:
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


def _pool(configuration: client.Configuration) -> urllib3.HTTPConnectionPool:
    configuration.connection_pool_maxsize = 16
    manager: urllib3.PoolManager = client.ApiClient(configuration).rest_client.pool_manager
    return manager.connection_from_url(configuration.host)


def _authorization(configuration: client.Configuration) -> dict[str, str]:
    """The header with the token; a file's last line break is none of it."""
    setting = configuration.auth_settings().get("BearerToken")
    return {"Authorization": setting["value"].strip()} if setting else {}


def _no_api(status: int, what: str) -> KubeError:
    said = f"what answers is no Kubernetes API (status {status}): check the address in your kubeconfig"
    return KubeError(status, NOT_KUBERNETES, f"{what}: {said}", said)


def _events(response: urllib3.BaseHTTPResponse, what: str) -> Iterator[tuple[str, Object]]:
    """The lines of a watch. Raises KubeError for one that is none, and for what the API says went wrong."""
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            event = _parsed(200, line, what)
            kind, body = str(event.get("type", "")), event.get("object")
            if not isinstance(body, dict):
                raise _no_api(200, what)
            if kind == "ERROR":
                raise _refused(int(body.get("code") or 500), body, what)
            yield kind, body
        if len(rest) > _LINE:
            raise KubeError(0, "TooLong", f"{what}: one event is longer than {_LINE} bytes")


def _parsed(status: int, data: bytes, what: str) -> Object:
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        raise _no_api(status, what) from None
    if not isinstance(answer, dict):
        raise _no_api(status, what)
    if status >= 400:
        raise _refused(status, answer, what)
    return answer


def _refused(status: int, answer: Object, what: str) -> KubeError:
    reason, said = str(answer.get("reason", "")), str(answer.get("message", "refused"))
    return KubeError(status, reason, f"{what}: {said} ({status} {reason})", said)
