"""Many deletions at once, placements without a job, and another hub's work in the same repository."""

import signal

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository
from carbonfleet.kube import ours
from fixtures.fleet_values import place, quick_settings
from fixtures.hub_process import condition
from fixtures.kubeapi_server import eventually


def test_deleting_very_many_at_once_stops_until_it_is_confirmed(shared_stack):
    names = [f"mass-{number}" for number in range(8)]
    for name in names:
        shared_stack.submit(name, "hold")
    for name in names:
        shared_stack.wait(name, Phase.RUNNING)
    shared_stack.hubs[0].kill()
    for name in names:
        shared_stack.delete(name)
    shared_stack.hubs[0].start()  # and sees them all in its first cycle
    for name in names:
        job = shared_stack.wait_reason(name, "Committed", "DeletionGuardTripped")
        assert "carbonfleet.dev/confirm-deletion" in job.status.summary
        assert shared_stack.placements(name)
    assert shared_stack.told(names[0], "Deleting")
    for name in names:
        shared_stack.annotate(name, "carbonfleet.dev/confirm-deletion", "yes")
    for name in names:
        shared_stack.wait_gone(name)
    assert shared_stack.spokes.violations == []


def test_a_placement_whose_job_was_forced_out_of_the_api_is_removed(shared_stack):
    shared_stack.submit("forced", "hold")
    shared_stack.wait("forced", Phase.RUNNING)
    where = ours("carbontrainingjobs", shared_stack.namespace, "forced")
    shared_stack.hubs[0]._signal(signal.SIGSTOP)  # it would put its finalizer back
    try:
        shared_stack.kube.patch(where, {"metadata": {"finalizers": None}})
        shared_stack.kube.delete(where)
    finally:
        shared_stack.hubs[0]._signal(signal.SIGCONT)
    eventually(lambda: not shared_stack.placements("forced"))


def test_what_another_hub_wrote_to_the_same_repository_is_left_alone(shared_stack):
    settings = quick_settings(shared_stack.git.url, shared_stack.root / "other-hub")
    Repository(settings, Clock()).publish([place("theirs")])
    shared_stack.submit("ours")
    shared_stack.wait("ours", Phase.SUCCEEDED)
    shared_stack.assert_run_once("ours")
    assert "clusters/no-osl-1/jobs/ml/theirs.yaml" in shared_stack.git.files()
    assert "ml/theirs.yaml is for a job that this cluster does not have" in shared_stack.log()


def test_a_job_of_the_same_name_starts_anew_after_its_predecessor_is_gone(shared_stack):
    shared_stack.submit("again", "fail")
    first = shared_stack.wait("again", Phase.FAILED)
    shared_stack.delete("again")
    shared_stack.wait_gone("again")
    second = shared_stack.submit("again")
    job = shared_stack.wait("again", Phase.SUCCEEDED)
    assert job.metadata.uid == second.metadata.uid != first.metadata.uid
    assert job.status.attempt == 1
    assert condition(job, "Finished").reason == "Succeeded"
    assert [line.phase for line in shared_stack.accounts("again")] == ["Failed", "Succeeded"]
