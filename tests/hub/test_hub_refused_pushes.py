"""A Git server that refuses what one job brings: that job hears it, and no other waits."""

import pytest

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import condition

LEAK = {"model": "acme/base", "dataset": {"name": "s3://NOT-TO-BE-PUSHED/train.jsonl"}}
CONTENT = r"""
while read old new ref; do
  expr "$new" : '0*$' > /dev/null && continue
  if git log --patch "$new" --not --all | grep -q NOT-TO-BE-PUSHED; then
    echo "GH013: Repository rule violations found for $ref. Push cannot contain secrets" >&2; exit 1
  fi
done
"""
NAMES = r"""
while read old new ref; do
  if git diff --name-only "$old" "$new" | grep -q '/jobs/[^/]*/secret-'; then
    echo "GitLab: File name matched by the prohibited list: secret-" >&2; exit 1
  fi
done
"""


@pytest.mark.parametrize(
    ("hook", "name", "workload"),
    [(CONTENT, "leaky", LEAK), (NAMES, "secret-model", {"model": "acme/base", "dataset": {"name": "acme/data"}})],
    ids=["content", "name"],
)
def test_a_placement_that_the_server_refuses_holds_up_no_other(hub, hook, name, workload):
    hub.stack.git.hook("pre-receive", hook)
    hub.stack.submit(name, workload=workload)
    for number in range(5):
        hub.stack.submit(f"fine-{number}")
    hub.step(times=4, minutes=2)
    assert [hub.phase(f"fine-{number}") for number in range(5)] == [Phase.SUCCEEDED] * 5
    assert (hub.phase(name), hub.reason(name, "Committed")) == (Phase.PENDING, "DirectPushForbidden")
    assert "GitLab" in (said := condition(hub.stack.job(name), "Committed").message) or "GH013" in said
    hub.stack.delete(name)
    hub.step(times=2, minutes=2)
    assert hub.phase(name) is None


def test_two_jobs_of_fifty_that_the_server_refuses_are_both_found(hub):
    hub.stack.git.hook("pre-receive", CONTENT)
    for number in range(50):
        hub.stack.submit(f"of-many-{number}", **({"workload": LEAK} if number in (7, 38) else {}))
    hub.step(times=4, minutes=2)
    for number in range(50):
        name = f"of-many-{number}"
        if number in (7, 38):
            assert hub.reason(name, "Committed") == "DirectPushForbidden"
            assert "GH013" in condition(hub.stack.job(name), "Committed").message
        else:
            assert hub.phase(name) is Phase.SUCCEEDED


def test_a_job_that_ends_leaves_git_though_another_is_refused(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    hub.stack.git.hook("pre-receive", CONTENT)
    hub.stack.submit("leaky", workload=LEAK)
    hub.step(minutes=2)
    hub.stack.delete("runs")
    hub.step(times=4, minutes=2)
    assert (hub.phase("runs"), hub.stack.placements("runs")) == (None, [])
    assert hub.reason("leaky", "Committed") == "DirectPushForbidden"


def test_a_server_that_refuses_everything_is_asked_little(hub):
    asked = hub.stack.root / "asked"
    hub.stack.git.hook("pre-receive", f"echo >> {asked}; echo protected branch >&2; exit 1")
    for number in range(16):
        hub.stack.submit(f"held-{number}")
    hub.step(minutes=2)
    assert {hub.reason(f"held-{number}", "Committed") for number in range(16)} == {"DirectPushForbidden"}
    assert len(asked.read_text().splitlines()) <= 8


def test_a_proposal_that_the_server_refuses_holds_up_no_other(hub):
    hub.stack.git.hook("pre-receive", CONTENT)
    hub.stack.submit("leaky", review="required", workload=LEAK)
    hub.stack.submit("zfine", review="required")
    hub.step(times=2, minutes=2)
    assert (hub.phase("zfine"), hub.reason("zfine")) == (Phase.PROPOSED, "AwaitingReview")
    assert hub.reason("leaky") == "DirectPushForbidden"
