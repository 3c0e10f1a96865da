"""Webhooks: only a signed, fresh and new delivery is a hint."""

import base64
import hmac
from datetime import timedelta

import pytest

from carbonfleet.fleet.review import DeliveryVerdict, ForgeKind, Webhooks
from fixtures.fleet_values import NOON

BODY = b'{"action": "closed", "number": 1}'
SECRET = "a-long-secret"


def signature(secret=SECRET, body=BODY):
    return hmac.digest(secret.encode(), body, "sha256").hex()


def standard(secret=SECRET, at=NOON, identity="msg_1", body=BODY):
    sent = str(int(at.timestamp()))
    signed = base64.b64encode(hmac.digest(secret.encode(), f"{identity}.{sent}.".encode() + body, "sha256")).decode()
    return {"webhook-id": identity, "webhook-timestamp": sent, "webhook-signature": f"v1,old v1,{signed}"}


GOOD = [
    (ForgeKind.GITHUB, {"X-Hub-Signature-256": f"sha256={signature()}", "X-GitHub-Delivery": "1"}),
    (ForgeKind.GITEA, {"X-Gitea-Signature": signature(), "X-Gitea-Delivery": "1"}),
    (ForgeKind.GITEA, {"X-Forgejo-Signature": signature()}),
    (ForgeKind.GITLAB, {"X-Gitlab-Token": SECRET, "X-Gitlab-Event-UUID": "1"}),
    (ForgeKind.GITLAB, standard()),
]


@pytest.mark.parametrize(("kind", "headers"), GOOD)
def test_a_signed_delivery_is_a_hint_once(kind, headers):
    hooks = Webhooks(kind, lambda: ["the-next-secret", SECRET])
    assert hooks.judge(headers, BODY, NOON) is DeliveryVerdict.HINT
    assert hooks.judge(headers, BODY, NOON) is DeliveryVerdict.REPEATED


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        (ForgeKind.GITHUB, {}),
        (ForgeKind.GITHUB, {"X-Hub-Signature-256": signature()}),
        (ForgeKind.GITHUB, {"X-Hub-Signature-256": f"sha256={signature('other')}"}),
        (ForgeKind.GITHUB, {"X-Hub-Signature": f"sha1={signature()}"}),
        (ForgeKind.GITHUB, {"X-Hub-Signature-256": "sha256=é"}),
        (ForgeKind.GITEA, {"X-Gitea-Signature": ""}),
        (ForgeKind.GITLAB, {"X-Gitlab-Token": "a-long-secret "}),
        (ForgeKind.GITLAB, standard(secret="other")),
        (ForgeKind.GITLAB, standard(at=NOON - timedelta(minutes=6))),
        (ForgeKind.GITLAB, standard() | {"webhook-timestamp": "soon"}),
        (ForgeKind.GITLAB, standard() | {"webhook-id": "msg_2"}),
    ],
)
def test_a_forged_or_old_delivery_is_refused(kind, headers):
    assert Webhooks(kind, lambda: [SECRET]).judge(headers, BODY, NOON) is DeliveryVerdict.FORGED


def test_a_changed_body_is_forged():
    headers = {"X-Hub-Signature-256": f"sha256={signature()}"}
    assert Webhooks(ForgeKind.GITHUB, lambda: [SECRET]).judge(headers, BODY + b" ", NOON) is DeliveryVerdict.FORGED


def test_a_body_of_any_size_is_not_read():
    assert (
        Webhooks(ForgeKind.GITHUB, lambda: [SECRET]).judge({}, b"x" * ((25 << 20) + 1), NOON)
        is DeliveryVerdict.TOO_LARGE
    )


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_a_secret_there_is_no_door(secrets):
    with pytest.raises(ValueError, match="needs a secret"):
        Webhooks(ForgeKind.GITHUB, lambda: secrets)


def test_a_secret_that_was_emptied_lets_nobody_in():
    secrets = [SECRET]
    hooks = Webhooks(ForgeKind.GITHUB, lambda: secrets)
    secrets[:] = [""]
    headers = {"X-Hub-Signature-256": f"sha256={signature('')}"}
    assert hooks.judge(headers, BODY, NOON) is DeliveryVerdict.FORGED
