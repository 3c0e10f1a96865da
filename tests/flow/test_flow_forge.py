"""A hub and a forge: killed around the pull request and the merge, and told by webhooks."""

import contextlib
import hmac
import http.client
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.hub.hints import PATH
from carbonfleet.local.ports import free_port
from fixtures.forge_server import ForgeServer, Pull
from fixtures.hub_process import House, begin, clock_of, condition, open_house
from fixtures.kubeapi_server import PATIENCE, eventually

SECRET = "what-only-the-forge-knows"


@dataclass
class Reviewed:
    """A house whose proposals are pull requests, and what a forge does besides."""

    house: House
    forge: ForgeServer
    port: int
    sent: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    def pull(self, name: str) -> Pull:
        """The job's pull request, once it is open and the job says so."""
        self.house.wait(name, Phase.PROPOSED)
        return next(pull for pull in self.forge.pulls if f".{name}/" in pull.branch)

    def deliver(self, body: bytes, headers: dict[str, str]) -> int:
        """Send a webhook; the hub's answer, 0 while it is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", PATH, body, headers)
            return connection.getresponse().status
        return 0

    def tell(self, action: str, pull: Pull, secret: str = SECRET) -> int:
        """What the forge sends when something happened to a pull request."""
        body = json.dumps({"action": action, "number": pull.number}).encode()
        signature = "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
        headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": secrets.token_hex(8)}
        self.sent.append((body, headers))
        return self.deliver(body, headers)

    def merge(self, pull: Pull) -> None:
        """A person presses the button."""
        with self.forge.lock:
            self.forge.do_merge(pull)

    @contextlib.contextmanager
    def held(self, when: str, method: str, end: str) -> Iterator[threading.Event]:
        """The forge stops before or after such a request until the block ends; the event says that one came."""
        reached, go_on = threading.Event(), threading.Event()

        def pass_by(now: str, by: str, path: str) -> None:
            if (now, by) == (when, method) and path.endswith(end):
                reached.set()
                go_on.wait(PATIENCE)

        self.forge.pass_by = pass_by
        try:
            yield reached
        finally:
            self.forge.pass_by = lambda _when, _method, _path: None
            go_on.set()


@pytest.fixture(scope="module")
def reviewed(slow_api, tmp_path_factory) -> Iterator[Reviewed]:
    root = tmp_path_factory.mktemp("forge")
    house = open_house(root, slow_api, clock_of(slow_api))
    forge, port = ForgeServer.over(house.git, "github", house.clock.now), free_port()
    (root / "token").write_text(forge.token)
    (root / "secret").write_text(SECRET)
    house.options = (
        *("--forge", "github", "--forge-api", forge.url, "--forge-repository", "acme/fleet"),
        *("--forge-token-file", str(root / "token")),
        *("--webhook-address", f"127.0.0.1:{port}", "--webhook-secret-file", str(root / "secret")),
    )
    try:
        begin(house)
        yield Reviewed(house, forge, port)
    finally:
        house.close()
        house.git.stop()
        forge.stop()


def created_for(reviewed: Reviewed, name: str) -> int:
    return sum(f".{name}/" in pull.branch for pull in reviewed.forge.pulls)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_making_of_the_pull_request(reviewed, when):
    name = f"{when}-request"
    with reviewed.held(when, "POST", "/pulls") as reached:
        reviewed.house.submit(name, review="required")
        assert reached.wait(PATIENCE)
        assert created_for(reviewed, name) == (1 if when == "after" else 0)
        reviewed.house.hubs[0].kill()
    reviewed.house.hubs[0].start()
    pull = reviewed.pull(name)
    reviewed.merge(pull)
    eventually(lambda: reviewed.tell("closed", pull) == 202)
    reviewed.house.wait(name, Phase.SUCCEEDED)
    reviewed.house.assert_run_once(name)
    assert created_for(reviewed, name) == 1


def test_killed_after_the_merge_and_before_the_hub_knows(reviewed):
    reviewed.house.submit("merged", review="required")
    pull = reviewed.pull("merged")
    with reviewed.held("before", "GET", "/pulls") as reached:
        eventually(lambda: reviewed.tell("labeled", pull) == 202 and reached.wait(0.5))
        reviewed.merge(pull)
        reviewed.house.hubs[0].kill()
    reviewed.house.hubs[0].start()
    job = reviewed.house.wait("merged", Phase.SUCCEEDED)
    assert condition(job, "Approved").reason == "Merged"
    reviewed.house.assert_run_once("merged")
    assert created_for(reviewed, "merged") == 1


def test_a_webhook_is_heard_and_a_forged_one_is_not(reviewed):
    reviewed.house.submit("closed", review="required")
    pull = reviewed.pull("closed")
    reviewed.forge.close(pull)
    assert reviewed.tell("closed", pull, "a-guess") == 401
    assert reviewed.tell("closed", pull) == 202
    reviewed.house.wait("closed", Phase.REJECTED)


def test_webhooks_old_doubled_out_of_order_and_lost_change_nothing(reviewed):
    """Each that was ever sent comes again, newest first; the merge's own is lost."""
    reviewed.house.submit("storm", review="required")
    pull = reviewed.pull("storm")
    for action in ("opened", "labeled", "closed"):
        reviewed.tell(action, pull)
    for body, headers in reversed(reviewed.sent[-40:]):
        assert reviewed.deliver(body, headers) in (202, 401)
    eventually(lambda: reviewed.house.phase("storm") is Phase.PROPOSED)
    reviewed.merge(pull)
    job = reviewed.house.wait("storm", Phase.SUCCEEDED)
    assert condition(job, "Approved").reason == "Merged"
    reviewed.house.assert_run_once("storm")
    assert created_for(reviewed, "storm") == 1
    assert reviewed.house.phase("closed") is Phase.REJECTED
