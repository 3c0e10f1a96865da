"""What was asked for and allowed or refused, a line of JSON each, in the shape of a real server's audit log."""

import json
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path

from kubeapi.call import User
from kubeapi.objects import timestamp


class AuditLog:
    """`audit.k8s.io` events of level Metadata, one for each request for a resource; nothing where no file is given."""

    def __init__(self, file: Path | None) -> None:
        # Private, as tokens' owners and what they touch stand in it; a line is whole on the disk at once.
        self._out: TextIOWrapper | None = None
        if file is not None:
            file.touch(mode=0o600)
            self._out = file.open("a", buffering=1, encoding="utf-8")

    def note(self, user: User, verb: str, wanted: dict[str, str], now: datetime, *, allowed: bool) -> None:
        """Write one down; `wanted` names the object: resource, apiGroup, subresource, namespace, name."""
        if self._out is None:
            return
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "stage": "RequestReceived",
            "requestReceivedTimestamp": timestamp(now),
            "verb": verb,
            "user": {"username": user.name},
            "objectRef": {key: value for key, value in wanted.items() if value},
            "annotations": {"authorization.k8s.io/decision": "allow" if allowed else "forbid"},
        }
        self._out.write(json.dumps(event) + "\n")
