"""Many deletions at once, placements without a job, and another hub's work in the same repository."""

import signal

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository
from carbonfleet.kube import ours
from fixtures.fleet_values import place, quick_settings
from fixtures.hub_process import condition
from fixtures.kubeapi_server import eventually


def test_deleting_very_many_at_once_stops_until_it_is_confirmed(shared_house):
    names = [f"mass-{number}" for number in range(8)]
    for name in names:
        shared_house.submit(name, "hold")
    for name in names:
        shared_house.wait(name, Phase.RUNNING)
    shared_house.hubs[0].kill()
    for name in names:
        shared_house.delete(name)
    shared_house.hubs[0].start()  # and sees them all in its first cycle
    for name in names:
        job = shared_house.wait_reason(name, "Committed", "DeletionGuardTripped")
        assert "carbonfleet.dev/confirm-deletion" in job.status.summary
        assert shared_house.placements(name)
    assert shared_house.told(names[0], "Deleting")
    for name in names:
        shared_house.annotate(name, "carbonfleet.dev/confirm-deletion", "yes")
    for name in names:
        shared_house.wait_gone(name)
    assert shared_house.spokes.violations == []


def test_a_placement_whose_job_was_forced_out_of_the_api_is_removed(shared_house):
    shared_house.submit("forced", "hold")
    shared_house.wait("forced", Phase.RUNNING)
    where = ours("carbontrainingjobs", shared_house.namespace, "forced")
    shared_house.hubs[0]._signal(signal.SIGSTOP)  # it would put its finalizer back
    try:
        shared_house.kube.patch(where, {"metadata": {"finalizers": None}})
        shared_house.kube.delete(where)
    finally:
        shared_house.hubs[0]._signal(signal.SIGCONT)
    eventually(lambda: not shared_house.placements("forced"))


def test_what_another_hub_wrote_to_the_same_repository_is_left_alone(shared_house):
    settings = quick_settings(shared_house.git.url, shared_house.root / "other-hub")
    Repository(settings, Clock()).publish([place("theirs")])
    shared_house.submit("ours")
    shared_house.wait("ours", Phase.SUCCEEDED)
    shared_house.assert_run_once("ours")
    assert "clusters/no-osl-1/jobs/ml/theirs.yaml" in shared_house.git.files()
    assert "ml/theirs.yaml is for a job that this cluster does not have" in shared_house.log()


def test_a_job_of_the_same_name_starts_anew_after_its_predecessor_is_gone(shared_house):
    shared_house.submit("again", "fail")
    first = shared_house.wait("again", Phase.FAILED)
    shared_house.delete("again")
    shared_house.wait_gone("again")
    second = shared_house.submit("again")
    job = shared_house.wait("again", Phase.SUCCEEDED)
    assert job.metadata.uid == second.metadata.uid != first.metadata.uid
    assert job.status.attempt == 1
    assert condition(job, "Finished").reason == "Succeeded"
    assert [line.phase for line in shared_house.accounts("again")] == ["Failed", "Succeeded"]
