"""What a server refuses, quoting the secret that it was sent, is told without it: in conditions, events and Git."""

import base64
import json

import pytest
import yaml

from carbonfleet.kube import ours, path
from fixtures.echo_server import echo
from fixtures.forge_server import Injected

__all__ = ["echo"]
MARKER = "s3cr3tMARKER"
WRITTEN = (MARKER, base64.b64encode(MARKER.encode()).decode()[:12])


def everything(hub, caplog) -> str:
    """All that people can read of a hub: objects, their conditions and events, Git with all branches, and its log."""
    kube = hub.stack.kube
    listed = [kube.list(ours(kind)) for kind in ("carbontrainingjobs", "spokeclusters", "trainingreports")]
    listed += [kube.list(path("api/v1", "events")), kube.list(path("apis/coordination.k8s.io/v1", "leases"))]
    return json.dumps(listed, default=str) + hub.stack.git.git("log", "--all", "--patch") + caplog.text


def told_nothing(hub, caplog) -> None:
    """No text holds a secret."""
    text = everything(hub, caplog)
    assert [secret for secret in WRITTEN if secret in text] == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("hub", ["github", "gitlab", "gitea"], indirect=True)
def test_a_forge_that_quotes_our_token_in_a_refusal_is_quoted_without_it(hub, caplog, status):
    hub.forge.token = MARKER
    (hub.stack.root / "token").write_text(f"{MARKER}\n")
    said = f"Bearer {MARKER}: token {MARKER} may not do that"
    refusals = []

    def choose(method: str, _path: str) -> Injected | None:
        refusals.append(method)
        answer = {"message": said, "error": said, "errors": [{"message": said}]}
        return Injected(status, answer, {"Retry-After": "1", "X-Quoted": said})

    hub.forge.choose = choose
    hub.stack.submit("asked", review="required")
    hub.step(times=3, minutes=1)
    assert refusals
    assert hub.reason("asked") not in ("", "AwaitingReview")
    told_nothing(hub, caplog)


def test_a_git_server_that_quotes_our_token_in_a_refusal_is_quoted_without_it(hub, caplog, echo):
    hub.git_token = hub.stack.root / "git-token"
    hub.git_token.write_text(f"{MARKER}\n")
    hub.stack.git.url = f"{echo.url}/fleet.git"
    hub.restart()
    hub.stack.submit("held")
    hub.step(times=5, minutes=1)
    assert MARKER in echo.sent
    assert hub.reason("held", "Committed") in ("AccessDenied", "RepositoryUnreachable")
    told_nothing(hub, caplog)


def test_a_carbon_source_that_quotes_our_key_in_a_refusal_is_quoted_without_it(hub, caplog, echo):
    (hub.stack.root / "key").write_text(f"{MARKER}\n")
    endpoint = {"url": echo.url, "tries": 2, "retry_seconds": 0.01}
    source = {"type": "electricitymaps", "endpoint": endpoint, "token": {"file": str(hub.stack.root / "key")}}
    hub.stack.signals.write_text(yaml.safe_dump({"sources": [source]}))
    hub.restart()
    hub.stack.submit("blind", schedule={"onSignalLoss": {"action": "wait"}})
    hub.step(times=3, minutes=5)
    assert MARKER in echo.sent
    told_nothing(hub, caplog)
