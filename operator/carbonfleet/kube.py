"""A Kubernetes API as carbonfleet speaks to it: plain objects, one error type, a timeout on every call."""

import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import urllib3
from kubernetes import client, config

from carbonfleet.api.wire import GROUP, VERSION

Object = dict[str, Any]
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
TOKEN_SECONDS: Final = 10.0
"""How long a token is used before it is looked up again; clusters let an old one live on for far longer."""
_TIMEOUT: Final = urllib3.Timeout(connect=5, read=30)


class KubeError(Exception):
    """The API refused a request, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def is_gone(self) -> bool:
        """The object is not there."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Somebody else was faster: read again."""
        return self.status == 409

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


class Kube:
    """A connection to one Kubernetes API; safe to share between threads."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.connection_pool_maxsize = 16
        self._configuration = configuration
        self._pool = client.ApiClient(configuration).rest_client.pool_manager.connection_from_url(configuration.host)
        self._token: tuple[float, dict[str, str]] = (-TOKEN_SECONDS, {})
        self._prefix = urlsplit(configuration.host).path.rstrip("/")
        self._timeout = _TIMEOUT

    @classmethod
    def connect(cls, kubeconfig: Path | None = None) -> Self:
        """By kubeconfig (the usual places when None), or as the pod's service account.

        Raises:
            KubeError: there is no usable configuration.
        """
        configuration = client.Configuration()
        try:
            if kubeconfig is None and Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(
                    config_file=str(kubeconfig) if kubeconfig else None, client_configuration=configuration
                )
        except Exception as error:  # a file may hold anything, and its reader raises more than it says
            where = kubeconfig or "the usual places"
            why = " ".join(str(error).split())[:200].rstrip(".;")
            raise KubeError(0, "NoKubeconfig", f"no usable kubeconfig at {where}: {why}; set KUBECONFIG") from error
        return cls(configuration)

    def within(self, seconds: float) -> Self:
        """The same connection, where a request fails after this long without an answer."""
        bounded = copy.copy(self)
        bounded._timeout = urllib3.Timeout(total=seconds)
        return bounded

    @property
    def url(self) -> str:
        """Where the API is."""
        return str(self._configuration.host)

    def credentials(self) -> dict[str, Any]:
        """How to reach the API, in the words of `kopf.ConnectionInfo`."""
        scheme, _, token = self._authorization().get("Authorization", "").partition(" ")
        return {
            "server": self.url,
            "ca_path": self._configuration.ssl_ca_cert,
            "insecure": not self._configuration.verify_ssl,
            "certificate_path": self._configuration.cert_file,
            "private_key_path": self._configuration.key_file,
            "scheme": scheme or None,
            "token": token or None,
        }

    def get(self, where: str) -> Object:
        """One object. Raises KubeError."""
        return self._call("GET", where)

    def text(self, where: str) -> str:
        """What is not JSON: a pod's log. Raises KubeError."""
        status, data = self._request("GET", where)
        if status >= 400:
            _read(status, data, f"GET {where}")
        return data.decode("utf-8", "replace")

    def list(self, where: str, **query: str) -> tuple[list[Object], str]:
        """All objects, and the resource version of the list. Raises KubeError."""
        suffix = "?" + "&".join(f"{key}={value}" for key, value in query.items()) if query else ""
        answer = self._call("GET", where + suffix)
        return answer.get("items") or [], answer["metadata"].get("resourceVersion", "")

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
        status, data = self._request(method, where, body, content_type)
        return _read(status, data, f"{method} {where}")

    def _request(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            response = self._pool.request(
                method, self._prefix + where, body=payload, headers=headers, timeout=self._timeout, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise KubeError(0, "Unreachable", f"the Kubernetes API at {self.url} did not answer: {error}") from error
        return response.status, response.data

    def _authorization(self) -> dict[str, str]:
        """The token, asked for anew now and then: tokens are rotated, and the client library is slow to look."""
        asked_at, known = self._token
        if time.monotonic() - asked_at > TOKEN_SECONDS:
            setting = self._configuration.auth_settings().get("BearerToken")
            known = {"Authorization": setting["value"]} if setting else {}
            self._token = (time.monotonic(), known)
        return known


def _read(status: int, data: bytes, what: str) -> Object:
    try:
        answer: Object = json.loads(data) if data else {}
    except ValueError:
        raise KubeError(status, "NotJson", f"{what}: the answer is not JSON (status {status})") from None
    if status >= 400:
        reason = str(answer.get("reason", ""))
        raise KubeError(status, reason, f"{what}: {answer.get('message', 'refused')} ({status} {reason})")
    return answer
