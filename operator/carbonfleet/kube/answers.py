"""What a Kubernetes API answers: objects, events of a watch, and one error type for all else."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import urllib3

Object = dict[str, Any]
NOT_KUBERNETES: Final = "NotKubernetes"
"""What answered is something else, such as a proxy's page."""
LONGEST_LINE: Final = 8 * 2**20
"""Bytes of one event of a watch, far more than the largest object."""
_NO_NAMESPACE: Final = re.compile(r'namespaces "([a-z0-9-]+)" not found')


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
            case 404 if found := _NO_NAMESPACE.match(self.said):
                return f"{self.said}: kubectl create namespace {found[1]}, or name another"
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


def events(response: urllib3.BaseHTTPResponse, what: str) -> Iterator[tuple[str, Object]]:
    """The lines of a watch. Raises KubeError for one that is none, and for what the API says went wrong."""
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            event = parsed(200, line, what)
            kind, body = str(event.get("type", "")), event.get("object")
            if not isinstance(body, dict):
                raise no_api(200, what)
            if kind == "ERROR":
                raise _refused(int(body.get("code") or 500), body, what)
            yield kind, body
        if len(rest) > LONGEST_LINE:
            raise KubeError(0, "TooLong", f"{what}: one event is longer than {LONGEST_LINE} bytes")


def parsed(status: int, data: bytes, what: str) -> Object:
    """The object of an answer. Raises KubeError for a refusal, and for what no API says."""
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        raise no_api(status, what) from None
    if not isinstance(answer, dict):
        raise no_api(status, what)
    if status >= 400:
        raise _refused(status, answer, what)
    return answer


def no_api(status: int, what: str) -> KubeError:
    """What answers is something else."""
    said = f"what answers is no Kubernetes API (status {status}): check the address in your kubeconfig"
    return KubeError(status, NOT_KUBERNETES, f"{what}: {said}", said)


def _refused(status: int, answer: Object, what: str) -> KubeError:
    reason, said = str(answer.get("reason", "")), str(answer.get("message", "refused"))
    return KubeError(status, reason, f"{what}: {said} ({status} {reason})", said)
