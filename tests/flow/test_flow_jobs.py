"""A job's way through the hub, from `kubectl apply` to the ledger, with spokes that report."""

from datetime import timedelta

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.hub.observe import FINALIZER
from fixtures.hub_process import condition
from fixtures.kubeapi_server import eventually


def test_a_job_goes_to_the_cleanest_spoke_and_is_committed_reported_accounted_and_told(shared_stack):
    shared_stack.submit("plain")
    job = shared_stack.wait("plain", Phase.SUCCEEDED)
    assert job.status.cluster == "no-osl-1"
    shared_stack.assert_run_once("plain")
    (line,) = shared_stack.accounts("plain")
    assert (line.cluster, line.phase, line.baseline_region) == ("no-osl-1", "Succeeded", "us-east-2")
    assert line.baseline_grams > line.grams > 0
    assert job.status.actual.grams_co2e == pytest.approx(line.grams, rel=1e-3)
    commit = shared_stack.git.git("log", "-1", "--format=%H", "--grep=CTJ-Change: place", "main")
    assert job.status.placement.commit in shared_stack.git.git("log", "--format=%H", "main").split()
    assert commit
    assert shared_stack.told("plain", "Succeeded")
    reasons = [event["reason"] for event in shared_stack.events("plain")]
    assert len(reasons) == len(set(reasons))


def test_every_condition_speaks_of_the_generation_and_of_success(shared_stack):
    shared_stack.submit("ladder")
    job = shared_stack.wait("ladder", Phase.SUCCEEDED)
    assert {c.type: c.status.value for c in job.status.conditions} == {
        "Accepted": "True",
        "PolicyAllowed": "True",
        "Scheduled": "True",
        "Approved": "True",
        "Committed": "True",
        "Synced": "True",
        "Running": "False",
        "Finished": "True",
        "Ready": "True",
    }
    assert {c.observed_generation for c in job.status.conditions} == {job.metadata.generation}


def test_a_finished_job_lets_go_of_its_finalizer_and_can_be_deleted_at_once(shared_stack):
    shared_stack.submit("letgo")
    shared_stack.wait("letgo", Phase.SUCCEEDED)
    eventually(lambda: FINALIZER not in (shared_stack.body("letgo")["metadata"].get("finalizers") or ()))
    shared_stack.delete("letgo")
    shared_stack.wait_gone("letgo")


def test_what_a_hub_keeps_is_for_its_own_user_alone(shared_stack):
    kept = [shared_stack.state, *shared_stack.state.rglob("*")]
    assert {file.name for file in kept} > {"fleet.git", "ledger.sqlite"}
    assert [str(file) for file in kept if file.exists() and file.lstat().st_mode & 0o077] == []


def test_a_waiting_job_starts_at_its_slot_and_not_before(shared_stack):
    earliest = shared_stack.clock.now().replace(microsecond=0) + timedelta(hours=4)
    schedule = {"maxDelay": "0s", "earliestStart": f"{earliest:%Y-%m-%dT%H:%M:%SZ}"}
    shared_stack.submit("later", schedule=schedule)
    job = shared_stack.wait("later", Phase.SUCCEEDED)
    assert job.status.start >= earliest
    assert shared_stack.committed_at("later", "place") >= earliest
    shared_stack.assert_run_once("later")


def test_a_failed_job_says_why_and_is_not_tried_again(shared_stack):
    shared_stack.submit("broke", "fail")
    job = shared_stack.wait("broke", Phase.FAILED)
    assert condition(job, "Finished").reason == "OutOfMemory"
    assert "lower the batch size" in job.status.summary
    shared_stack.assert_run_once("broke")


def test_a_refused_attempt_goes_elsewhere_as_attempt_2(shared_stack):
    shared_stack.submit("unwelcome", "refuse-first")
    job = shared_stack.wait("unwelcome", Phase.SUCCEEDED)
    assert (job.status.cluster, job.status.attempt) == ("ca-qc-1", 2)
    eventually(lambda: shared_stack.changes("unwelcome") == ["place 1", "remove 1", "place 2", "remove 2"])
    assert shared_stack.spokes.violations == []


def test_a_stopped_attempt_resumes_as_attempt_2_from_its_checkpoint(shared_stack):
    shared_stack.submit("reclaimed", "stop-first")
    job = shared_stack.wait("reclaimed", Phase.SUCCEEDED)
    assert job.status.attempt == 2
    eventually(lambda: shared_stack.changes("reclaimed") == ["place 1", "remove 1", "place 2", "remove 2"])
    assert [line.attempt for line in shared_stack.accounts("reclaimed")] == [1, 2]
    assert shared_stack.spokes.violations == []
