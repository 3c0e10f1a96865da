"""Placements whose jobs were forced out of the API, and jobs that come from elsewhere than a person's first apply."""

import json

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import ours
from fixtures.hub_process import condition, job_body
from fixtures.reviewed_hub import ReviewedHub

MANY = 7


def strip(hub: ReviewedHub, name: str) -> None:
    """Delete a job and force it out of the API, as people do with a namespace that hangs."""
    hub.stack.delete(name)
    where = ours("carbontrainingjobs", hub.stack.namespace, name)
    hub.stack.kube.patch(where, {"metadata": {"finalizers": None}})


def with_orphans(hub: ReviewedHub) -> None:
    """Many jobs run, beside one called `other`, and are forced out of the API."""
    for number in range(MANY):
        hub.stack.submit(f"gone-{number}", behaviour="hold")
    hub.stack.submit("other", behaviour="hold")
    hub.step(times=3, minutes=1)
    for number in range(MANY):
        strip(hub, f"gone-{number}")
    hub.step(minutes=5)


def left(hub: ReviewedHub) -> list[str]:
    """The placements on the branch."""
    return [file for file in hub.stack.git.files() if "/jobs/" in file]


def ownership(hub: ReviewedHub) -> dict[str, str]:
    """What the hub says of the placements on the spoke."""
    body = hub.stack.kube.get(ours("spokeclusters", name="no-osl-1"))
    return next(each for each in body["status"]["conditions"] if each["type"] == "PlacementsOwned")


def test_one_deletion_is_not_held_for_jobs_that_were_forced_out(hub):
    with_orphans(hub)
    assert len(left(hub)) == MANY + 1
    hub.stack.delete("other")
    hub.step(times=3, minutes=5)
    assert (hub.phase("other"), len(left(hub))) == (None, MANY)


def test_many_jobs_that_were_forced_out_are_held_until_a_person_says_so_in_a_way_that_works(hub):
    with_orphans(hub)
    assert ownership(hub)["reason"] == "DeletionGuardTripped"
    assert f"{MANY} placements are of jobs that are no more" in ownership(hub)["message"]
    assert "remove their files from Git" in ownership(hub)["message"]
    hub.stack.remove("They are gone", *[file for file in left(hub) if "/gone-" in file])
    hub.step(times=3, minutes=5)
    assert [file.rpartition("/")[2] for file in left(hub)] == ["other.yaml"]
    assert [len(hub.stack.spokes.live(f"gone-{number}")) for number in range(MANY)] == [0] * MANY
    assert (hub.phase("other"), ownership(hub)["reason"]) == (Phase.RUNNING, "Owned")


def test_a_confirmed_deletion_and_new_work_go_on_beside_what_is_held(hub):
    with_orphans(hub)
    hub.stack.delete("other")
    hub.stack.annotate("other", "carbonfleet.dev/confirm-deletion", "yes")
    hub.stack.submit("again")
    hub.step(times=4, minutes=1)
    assert (hub.phase("other"), hub.phase("again")) == (None, Phase.SUCCEEDED)


def test_a_job_of_the_same_name_waits_for_nothing_of_one_that_was_forced_out(hub):
    hub.stack.submit("mine", behaviour="hold")
    hub.step(times=3)
    hub.stack.spokes.slow_to_stop.add("mine")
    strip(hub, "mine")
    hub.stack.submit("mine", behaviour="hold")
    hub.step(times=3, minutes=1)
    assert hub.stack.changes("mine") == ["place 1", "remove 1", "place 1"]
    assert hub.stack.spokes.violations == []


def test_names_that_can_not_become_a_placement_are_refused_at_apply(hub):
    refused, taken = ["llama-3.1-8b", "a" * 64, "a" * 250], ["a" * 63, "x" + "-" * 60 + "y", "9b-run"]
    answers = {name: apply(hub, name) for name in refused + taken}
    assert [name for name, answer in answers.items() if answer.returncode == 0] == taken
    for name in refused:
        assert "at most 63 lower-case letters, digits and dashes" in answers[name].stderr, name
    hub.step(times=3, minutes=1)
    assert [hub.phase(name) for name in taken] == [Phase.SUCCEEDED] * 3


def apply(hub: ReviewedHub, name: str):
    """What kubectl says to a job of this name."""
    return hub.stack.api.kubectl("apply", "-f", "-", stdin=json.dumps(job_body(name, hub.stack.namespace)))


def test_a_class_that_no_policy_knows_is_told_and_odd_ones_are_refused(hub):
    wanted = {
        "us-region": {"dataClass": "personal", "allowedRegions": ["us-east-2"]},
        "us-law": {"dataClass": "personal", "allowedJurisdictions": ["US"]},
        "unknown": {"dataClass": "nobody-knows"},
    }
    for name, residency in wanted.items():
        hub.stack.submit(name, residency=residency)
    hub.step(minutes=1)
    assert {name: hub.phase(name) for name in wanted} == dict.fromkeys(wanted, Phase.BLOCKED)
    assert {condition(hub.stack.job(name), "PolicyAllowed").status for name in wanted} == {"False"}


def test_what_git_refuses_on_a_tip_is_not_tried_again_at_once_on_the_same(hub):
    with_orphans(hub)
    hub.stack.submit("gone-0")
    hub.step()
    assert hub.reason("gone-0", "Committed") == "PathTaken"
    due = hub.cycle.run().recheck_at
    assert due is None or due > hub.clock.now()
