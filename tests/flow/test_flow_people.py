"""What people do to jobs and to the repository while the hub works."""

import itertools
from datetime import timedelta

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import KubeError, ours, path
from fixtures.hub_process import condition, job_body
from fixtures.kubeapi_server import eventually


def reports_on(house, name):
    """How many reports the API has on the job's attempts."""
    reports, _ = house.kube.list(ours("trainingreports"))
    return sum(report["spec"]["job"]["name"] == name for report in reports)


def test_a_deleted_job_that_runs_leaves_git_and_waits_for_its_spoke_to_stop(shared_house):
    shared_house.spokes.slow_to_stop.add("deleted")
    shared_house.submit("deleted", "hold")
    shared_house.wait("deleted", Phase.RUNNING)
    shared_house.delete("deleted")
    eventually(lambda: not shared_house.placements("deleted"))
    job = shared_house.wait("deleted", Phase.CANCELLED)
    assert job.metadata.finalizers
    eventually(lambda: "waits until no-osl-1 reports" in shared_house.job("deleted").status.summary)
    shared_house.spokes.slow_to_stop.remove("deleted")
    shared_house.wait_gone("deleted")
    assert shared_house.changes("deleted") == ["place 1", "remove 1"]
    assert [line.phase for line in shared_house.accounts("deleted")] == ["Stopped"]


def test_a_deleted_job_that_waits_goes_at_once(shared_house):
    later = shared_house.clock.now() + timedelta(days=30)
    shared_house.submit("idle", schedule={"maxDelay": "0s", "earliestStart": f"{later:%Y-%m-%dT%H:%M:%SZ}"})
    job = shared_house.wait("idle", Phase.WAITING, Phase.BLOCKED)
    assert not job.metadata.finalizers
    shared_house.delete("idle")
    shared_house.wait_gone("idle")
    assert shared_house.changes("idle") == []


def test_a_deleted_job_that_no_spoke_has_met_goes_once_its_spoke_has_read_on(shared_house):
    shared_house.submit("unmet", "ignore")
    shared_house.wait("unmet", Phase.COMMITTED)
    shared_house.delete("unmet")
    shared_house.wait_gone("unmet")
    assert shared_house.changes("unmet") == ["place 1", "remove 1"]


def test_reports_on_a_deleted_job_are_cleaned_up(shared_house):
    shared_house.submit("forgotten")
    shared_house.wait("forgotten", Phase.SUCCEEDED)
    assert reports_on(shared_house, "forgotten") == 1
    shared_house.delete("forgotten")
    shared_house.wait_gone("forgotten")
    shared_house.submit("wakes")  # a report stays for ten minutes, 0.3 s here: any later cycle takes it away
    shared_house.wait("wakes", Phase.SUCCEEDED)
    eventually(lambda: reports_on(shared_house, "forgotten") == 0)


def test_an_edited_spec_is_planned_again_while_the_job_waits(shared_house):
    later = shared_house.clock.now() + timedelta(days=30)
    schedule = {"maxDelay": "0s", "earliestStart": f"{later:%Y-%m-%dT%H:%M:%SZ}"}
    shared_house.submit("edited-waiting", schedule=schedule)
    waiting = shared_house.wait("edited-waiting", Phase.WAITING, Phase.BLOCKED)
    shared_house.patch_spec("edited-waiting", {"schedule": {"earliestStart": None}})
    job = shared_house.wait("edited-waiting", Phase.SUCCEEDED)
    assert job.status.observed_generation == waiting.metadata.generation + 1
    shared_house.assert_run_once("edited-waiting")


def test_an_edited_spec_is_refused_while_the_job_runs_and_the_run_goes_on(shared_house):
    shared_house.submit("changed", "hold")
    shared_house.wait("changed", Phase.RUNNING)
    shared_house.patch_spec("changed", {"resources": {"gpus": 4}})
    job = shared_house.wait_reason("changed", "Accepted", "ChangedWhileRunning")
    assert job.status.phase is Phase.RUNNING
    assert job.status.observed_generation == job.metadata.generation - 1
    shared_house.spokes.finish("changed")
    shared_house.wait("changed", Phase.SUCCEEDED)
    shared_house.assert_run_once("changed")


def test_a_placement_that_a_person_takes_out_of_git_stays_out_until_it_is_asked_for(shared_house):
    shared_house.submit("reverted", "hold-first")
    shared_house.wait("reverted", Phase.RUNNING)
    (file,) = shared_house.placements("reverted")
    shared_house.remove("Not today", file)
    job = shared_house.wait("reverted", Phase.REJECTED)
    assert condition(job, "Committed").reason == "RevertedByHuman"
    shared_house.submit("bystander")
    shared_house.wait("bystander", Phase.SUCCEEDED)  # cycles went by
    shared_house.told("bystander", "Succeeded")  # so did what was to be told before
    assert [event["count"] for event in shared_house.told("reverted", "RevertedByHuman")] == [1]
    assert shared_house.changes("reverted") == ["place 1"]
    shared_house.annotate("reverted", "carbonfleet.dev/replace", "go-on")
    job = shared_house.wait("reverted", Phase.SUCCEEDED)
    assert (job.status.attempt, job.status.replaced) == (2, "go-on")
    assert shared_house.changes("reverted")[:2] == ["place 1", "place 2"]
    assert shared_house.spokes.violations == []


def test_a_revert_holds_though_the_spec_was_edited_before_it(shared_house):
    shared_house.submit("edited", "hold-first")
    shared_house.wait("edited", Phase.RUNNING)
    shared_house.patch_spec("edited", {"resources": {"gpus": 2}})
    shared_house.wait_reason("edited", "Accepted", "ChangedWhileRunning")
    (file,) = shared_house.placements("edited")
    shared_house.remove("Not this one", file)
    job = shared_house.wait("edited", Phase.REJECTED)
    assert condition(job, "Committed").reason == "RevertedByHuman"
    shared_house.patch_spec("edited", {"resources": {"gpus": 1}})
    assert shared_house.wait("edited", Phase.SUCCEEDED).status.attempt == 2
    assert shared_house.changes("edited")[:2] == ["place 1", "place 2"]


def test_a_reverted_attempt_that_has_not_stopped_keeps_the_next_from_being_placed(shared_house):
    shared_house.spokes.slow_to_stop.add("tenacious")
    shared_house.submit("tenacious", "hold-first")
    shared_house.wait("tenacious", Phase.RUNNING)
    shared_house.remove("Elsewhere, please", *shared_house.placements("tenacious"))
    shared_house.annotate("tenacious", "example.org/note", "look")  # or else the hub looks after half a minute
    shared_house.wait("tenacious", Phase.REJECTED)
    shared_house.annotate("tenacious", "carbonfleet.dev/replace", "1")
    job = shared_house.wait_reason("tenacious", "Committed", "WaitingForStop")
    assert "attempt 1 has stopped" in job.status.summary
    assert shared_house.placements("tenacious") == []
    shared_house.spokes.slow_to_stop.remove("tenacious")
    shared_house.wait("tenacious", Phase.SUCCEEDED)
    assert shared_house.spokes.violations == []


def test_a_person_s_edit_of_a_placement_is_left_alone(shared_house):
    shared_house.submit("touched", "hold")
    shared_house.wait("touched", Phase.RUNNING)
    (file,) = shared_house.placements("touched")
    commit = shared_house.edit("Pause it", file, "suspend: false", "suspend: true")
    shared_house.submit("another")
    shared_house.wait("another", Phase.SUCCEEDED)
    assert "suspend: true" in shared_house.git.git("show", f"main:{file}")
    assert commit in shared_house.git.git("log", "--format=%H", "main").split()
    shared_house.spokes.finish("touched")
    shared_house.wait("touched", Phase.SUCCEEDED)
    eventually(lambda: not shared_house.placements("touched"))


def test_a_job_that_no_policy_allows_says_why_not_for_each_spoke(shared_house):
    shared_house.submit("secret", data_class="secret")
    job = shared_house.wait("secret", Phase.BLOCKED)
    assert condition(job, "PolicyAllowed").status.value == "False"
    assert {c.cluster for c in job.status.candidates} == {"ca-qc-1", "no-osl-1", "us-oh-1"}
    assert all(c.message for c in job.status.candidates)


@pytest.mark.parametrize("name", ["../escape", "a/../b", "UPPER", "-dash", "x" * 64, "dotted.name", "a;rm", "$(id)"])
def test_names_that_could_be_a_path_or_a_command_are_refused_at_the_door(shared_house, name):
    body = job_body(name, shared_house.namespace)
    done = shared_house.api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
    assert done.returncode != 0
    assert not any(name in file for file in shared_house.git.files())


def test_a_job_that_begins_in_years_holds_up_nobody(shared_house):
    start = f"{shared_house.clock.now().year + 9}-01-01T00:00:00Z"
    shared_house.submit("far", schedule={"maxDelay": "0s", "earliestStart": start})
    shared_house.submit("near")
    shared_house.wait("near", Phase.SUCCEEDED)
    assert shared_house.changes("far") == []
    shared_house.delete("far")
    shared_house.wait_gone("far")


HOSTILE = "$(touch /tmp/owned); `id` \u202e\u0000'\"\n---\nkind: Secret\n{{x}} {}"


@pytest.mark.parametrize(
    "path",
    [
        ("workload", "model"),
        ("workload", "image"),
        ("workload", "dataset", "name"),
        ("workload", "checkpoints", "uri"),
        ("residency", "dataClass"),
        ("residency", "allowedRegions", 0),
        ("schedule", "tier"),
        ("resources", "gpuTypes", 0),
        ("resources", "duration"),
        ("baselineRegion",),
        ("workload", "lora", "targetModules", 0),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_hostile_text_in_a_field_is_refused_at_the_door(shared_house, path):
    body = job_body("hostile", shared_house.namespace)
    at = body["spec"]
    for key, following in itertools.pairwise(path):
        at = at.setdefault(key, [None] if isinstance(following, int) else {})
    at[path[-1]] = HOSTILE.replace("\u0000", "")
    with pytest.raises(KubeError) as refused:
        shared_house.kube.create(ours("carbontrainingjobs", shared_house.namespace), body)
    assert refused.value.status == 422


def test_hostile_labels_and_annotations_change_nothing_that_is_committed(shared_house):
    body = job_body("decorated", shared_house.namespace)
    body["metadata"]["annotations"] = {
        "carbonfleet.dev/replace": HOSTILE.replace("\u0000", "") * 20,
        "note": "CTJ-Change: place\n",
    }
    shared_house.kube.create(ours("carbontrainingjobs", shared_house.namespace), body)
    job = shared_house.wait("decorated", Phase.SUCCEEDED)
    assert len(job.status.replaced) == 256
    shared_house.assert_run_once("decorated")
    text = shared_house.git.git("log", "-p", "--format=%B", "main")
    assert "/tmp/owned" not in text


def test_a_job_without_a_namespace_left_holds_up_nobody(shared_house):
    namespace = f"{shared_house.namespace}-gone"
    kube = shared_house.kube
    kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": namespace}})
    kube.create(ours("carbontrainingjobs", namespace), job_body("doomed", namespace))
    kube.delete(path("api/v1", "namespaces", name=namespace))
    shared_house.submit("unharmed")
    shared_house.wait("unharmed", Phase.SUCCEEDED)

    def gone() -> bool:
        try:
            kube.get(ours("carbontrainingjobs", namespace, "doomed"))
        except KubeError as error:
            return error.is_gone
        return False

    eventually(gone)
