"""A hub and a forge: killed around the pull request and the merge, and told by webhooks."""

from collections.abc import Iterator

import pytest

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import condition
from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.reviewed import Reviewed, open_reviewed

OTHERS = [pytest.param(kind, marks=pytest.mark.soak) for kind in ("gitlab", "gitea")]


@pytest.fixture(scope="module", params=["github", *OTHERS])
def reviewed(request, slow_api, tmp_path_factory) -> Iterator[Reviewed]:
    with open_reviewed(tmp_path_factory.mktemp("forge"), slow_api, request.param) as made:
        yield made


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_making_of_the_pull_request(reviewed, when):
    name = f"{when}-request"
    with reviewed.held(when, "POST") as reached:
        reviewed.stack.submit(name, review="required")
        assert reached.wait(PATIENCE)
        assert reviewed.created_for(name) == (1 if when == "after" else 0)
        reviewed.kill()
    reviewed.start()
    pull = reviewed.pull(name)
    reviewed.merge(pull)
    eventually(lambda: reviewed.tell("closed", pull) == 202)
    reviewed.stack.wait(name, Phase.SUCCEEDED)
    reviewed.stack.assert_run_once(name)
    assert reviewed.created_for(name) == 1


def test_killed_after_the_merge_and_before_the_hub_knows(reviewed):
    reviewed.stack.submit("merged", review="required")
    pull = reviewed.pull("merged")
    with reviewed.held("before", "GET") as reached:
        eventually(lambda: reviewed.tell("labeled", pull) == 202 and reached.wait(0.5))
        reviewed.merge(pull)
        reviewed.kill()
    reviewed.start()
    job = reviewed.stack.wait("merged", Phase.SUCCEEDED)
    assert condition(job, "Approved").reason == "Merged"
    reviewed.stack.assert_run_once("merged")
    assert reviewed.created_for("merged") == 1


def test_a_webhook_is_heard_and_a_forged_one_is_not(reviewed):
    reviewed.stack.submit("closed", review="required")
    pull = reviewed.pull("closed")
    reviewed.forge.close(pull)
    assert reviewed.tell("closed", pull, "a-guess") == 401
    assert reviewed.tell("closed", pull) == 202
    reviewed.stack.wait("closed", Phase.REJECTED)


def test_webhooks_old_doubled_out_of_order_and_lost_change_nothing(reviewed):
    """Each that was ever sent comes again, newest first; the merge's own is lost."""
    reviewed.stack.submit("storm", review="required")
    pull = reviewed.pull("storm")
    for action in ("opened", "labeled", "closed"):
        reviewed.tell(action, pull)
    for body, headers in reversed(reviewed.sent[-40:]):
        assert reviewed.deliver(body, headers) in (202, 401)
    eventually(lambda: reviewed.stack.phase("storm") is Phase.PROPOSED)
    reviewed.merge(pull)
    job = reviewed.stack.wait("storm", Phase.SUCCEEDED)
    assert condition(job, "Approved").reason == "Merged"
    reviewed.stack.assert_run_once("storm")
    assert reviewed.created_for("storm") == 1
    assert reviewed.stack.phase("closed") in (Phase.REJECTED, None)  # of the test before, where that was run
