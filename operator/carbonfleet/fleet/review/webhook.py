"""Webhooks: a verified one is a hint to look at the forge now, and nothing more."""

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

MOST_BYTES: Final = 25 << 20
MOST_REMEMBERED: Final = 4096
OLDEST: Final = timedelta(minutes=5)


class ForgeKind(StrEnum):
    """Whose shapes a webhook has."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


class DeliveryVerdict(StrEnum):
    """What to do with a delivery."""

    HINT = "hint"
    """Poll now; answer 202."""
    REPEATED = "repeated"
    """Seen before; answer 202 and do nothing."""
    FORGED = "forged"
    """Answer 401 and do nothing."""
    TOO_LARGE = "too-large"
    """Answer 413."""


class Webhooks:
    """Judges deliveries. Several secrets may hold at once, so that one can be changed for another."""

    def __init__(self, kind: ForgeKind, secrets: Callable[[], Sequence[str]]) -> None:
        """`secrets` is asked anew for each delivery. Raises ValueError without a secret: then anyone could
        make us poll.
        """
        if not any(secrets()):
            raise ValueError("a webhook needs a secret")
        self._kind, self._secrets = kind, secrets
        self._seen: OrderedDict[str, None] = OrderedDict()

    def judge(self, headers: Mapping[str, str], body: bytes, now: datetime) -> DeliveryVerdict:
        """What to do with a delivery; its content is never believed."""
        if len(body) > MOST_BYTES:
            return DeliveryVerdict.TOO_LARGE
        given = {name.lower(): value for name, value in headers.items()}
        secrets = [secret.encode() for secret in self._secrets() if secret]
        if not any(_verified(self._kind, given, body, secret, now) for secret in secrets):
            return DeliveryVerdict.FORGED
        # The body is part of what was signed, an id in a header is not: both must be new together.
        delivery = hashlib.sha256(_delivery(given).encode() + b"\0" + body).hexdigest()
        if delivery in self._seen:
            return DeliveryVerdict.REPEATED
        self._seen[delivery] = None
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return DeliveryVerdict.HINT


def _verified(kind: ForgeKind, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime) -> bool:
    match kind:
        case ForgeKind.GITHUB:
            return _same(headers.get("x-hub-signature-256", ""), f"sha256={_hex(secret, body)}")
        case ForgeKind.GITEA:
            given = headers.get("x-gitea-signature") or headers.get("x-forgejo-signature") or ""
            return _same(given, _hex(secret, body))
        case ForgeKind.GITLAB if "webhook-signature" in headers:
            return _standard(headers, body, secret, now)
        case ForgeKind.GITLAB:
            return _same(headers.get("x-gitlab-token", ""), secret.decode())


def _standard(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime) -> bool:
    """The Standard Webhooks scheme: `v1,<base64 HMAC-SHA256 of id.timestamp.body>`, several by spaces."""
    sent = headers.get("webhook-timestamp", "")
    try:
        age = abs(now.timestamp() - float(sent))
    except ValueError:
        return False
    signed = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    fresh = age <= OLDEST.total_seconds()
    return fresh and any(_same(given, wanted) for given in headers["webhook-signature"].split())


def _delivery(headers: Mapping[str, str]) -> str:
    names = ("x-github-delivery", "x-gitea-delivery", "idempotency-key", "x-gitlab-event-uuid", "webhook-id")
    return next((headers[name] for name in names if name in headers), "")


def _hex(secret: bytes, body: bytes) -> str:
    return hmac.digest(secret, body, "sha256").hex()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
