"""What people do to jobs and to the repository while the hub works."""

import itertools
from datetime import timedelta

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import KubeError, ours, path
from fixtures.hub_process import condition, job_body
from fixtures.kubeapi_server import eventually


def reports_on(stack, name):
    """How many reports the API has on the job's attempts."""
    reports, _ = stack.kube.list(ours("trainingreports"))
    return sum(report["spec"]["job"]["name"] == name for report in reports)


def test_a_deleted_job_that_runs_leaves_git_and_waits_for_its_spoke_to_stop(shared_stack):
    shared_stack.spokes.slow_to_stop.add("deleted")
    shared_stack.submit("deleted", "hold")
    shared_stack.wait("deleted", Phase.RUNNING)
    shared_stack.delete("deleted")
    eventually(lambda: not shared_stack.placements("deleted"))
    job = shared_stack.wait("deleted", Phase.CANCELLED)
    assert job.metadata.finalizers
    eventually(lambda: "waits until no-osl-1 reports" in shared_stack.job("deleted").status.summary)
    shared_stack.spokes.slow_to_stop.remove("deleted")
    shared_stack.wait_gone("deleted")
    assert shared_stack.changes("deleted") == ["place 1", "remove 1"]
    assert [line.phase for line in shared_stack.accounts("deleted")] == ["Stopped"]


def test_a_deleted_job_that_waits_goes_at_once(shared_stack):
    later = shared_stack.clock.now() + timedelta(days=30)
    shared_stack.submit("idle", schedule={"maxDelay": "0s", "earliestStart": f"{later:%Y-%m-%dT%H:%M:%SZ}"})
    job = shared_stack.wait("idle", Phase.WAITING, Phase.BLOCKED)
    assert not job.metadata.finalizers
    shared_stack.delete("idle")
    shared_stack.wait_gone("idle")
    assert shared_stack.changes("idle") == []


def test_a_deleted_job_that_no_spoke_has_met_goes_once_its_spoke_has_read_on(shared_stack):
    shared_stack.submit("unmet", "ignore")
    shared_stack.wait("unmet", Phase.COMMITTED)
    shared_stack.delete("unmet")
    shared_stack.wait_gone("unmet")
    assert shared_stack.changes("unmet") == ["place 1", "remove 1"]


def test_reports_on_a_deleted_job_are_cleaned_up(shared_stack):
    shared_stack.submit("forgotten")
    shared_stack.wait("forgotten", Phase.SUCCEEDED)
    assert reports_on(shared_stack, "forgotten") == 1
    shared_stack.delete("forgotten")
    shared_stack.wait_gone("forgotten")
    shared_stack.submit("wakes")  # a report stays for ten minutes, 0.3 s here: any later cycle takes it away
    shared_stack.wait("wakes", Phase.SUCCEEDED)
    eventually(lambda: reports_on(shared_stack, "forgotten") == 0)


def test_an_edited_spec_is_planned_again_while_the_job_waits(shared_stack):
    later = shared_stack.clock.now() + timedelta(days=30)
    schedule = {"maxDelay": "0s", "earliestStart": f"{later:%Y-%m-%dT%H:%M:%SZ}"}
    shared_stack.submit("edited-waiting", schedule=schedule)
    waiting = shared_stack.wait("edited-waiting", Phase.WAITING, Phase.BLOCKED)
    shared_stack.patch_spec("edited-waiting", {"schedule": {"earliestStart": None}})
    job = shared_stack.wait("edited-waiting", Phase.SUCCEEDED)
    assert job.status.observed_generation == waiting.metadata.generation + 1
    shared_stack.assert_run_once("edited-waiting")


def test_an_edited_spec_is_refused_while_the_job_runs_and_the_run_goes_on(shared_stack):
    shared_stack.submit("changed", "hold")
    shared_stack.wait("changed", Phase.RUNNING)
    shared_stack.patch_spec("changed", {"resources": {"gpus": 4}})
    job = shared_stack.wait_reason("changed", "Accepted", "ChangedWhileRunning")
    assert job.status.phase is Phase.RUNNING
    assert job.status.observed_generation == job.metadata.generation - 1
    shared_stack.spokes.finish("changed")
    shared_stack.wait("changed", Phase.SUCCEEDED)
    shared_stack.assert_run_once("changed")


def test_a_placement_that_a_person_takes_out_of_git_stays_out_until_it_is_asked_for(shared_stack):
    shared_stack.submit("reverted", "hold-first")
    shared_stack.wait("reverted", Phase.RUNNING)
    (file,) = shared_stack.placements("reverted")
    shared_stack.remove("Not today", file)
    job = shared_stack.wait("reverted", Phase.REJECTED)
    assert condition(job, "Committed").reason == "RevertedByHuman"
    shared_stack.submit("bystander")
    shared_stack.wait("bystander", Phase.SUCCEEDED)  # cycles went by
    shared_stack.told("bystander", "Succeeded")  # so did what was to be told before
    assert [event["count"] for event in shared_stack.told("reverted", "RevertedByHuman")] == [1]
    assert shared_stack.changes("reverted") == ["place 1"]
    shared_stack.annotate("reverted", "carbonfleet.dev/replace", "go-on")
    job = shared_stack.wait("reverted", Phase.SUCCEEDED)
    assert (job.status.attempt, job.status.replaced) == (2, "go-on")
    assert shared_stack.changes("reverted")[:2] == ["place 1", "place 2"]
    assert shared_stack.spokes.violations == []


def test_a_revert_holds_though_the_spec_was_edited_before_it(shared_stack):
    shared_stack.submit("edited", "hold-first")
    shared_stack.wait("edited", Phase.RUNNING)
    shared_stack.patch_spec("edited", {"resources": {"gpus": 2}})
    shared_stack.wait_reason("edited", "Accepted", "ChangedWhileRunning")
    (file,) = shared_stack.placements("edited")
    shared_stack.remove("Not this one", file)
    job = shared_stack.wait("edited", Phase.REJECTED)
    assert condition(job, "Committed").reason == "RevertedByHuman"
    shared_stack.patch_spec("edited", {"resources": {"gpus": 1}})
    assert shared_stack.wait("edited", Phase.SUCCEEDED).status.attempt == 2
    assert shared_stack.changes("edited")[:2] == ["place 1", "place 2"]


def test_a_reverted_attempt_that_has_not_stopped_keeps_the_next_from_being_placed(shared_stack):
    shared_stack.spokes.slow_to_stop.add("tenacious")
    shared_stack.submit("tenacious", "hold-first")
    shared_stack.wait("tenacious", Phase.RUNNING)
    shared_stack.remove("Elsewhere, please", *shared_stack.placements("tenacious"))
    shared_stack.annotate("tenacious", "example.org/note", "look")  # or else the hub looks after half a minute
    shared_stack.wait("tenacious", Phase.REJECTED)
    shared_stack.annotate("tenacious", "carbonfleet.dev/replace", "1")
    job = shared_stack.wait_reason("tenacious", "Committed", "WaitingForStop")
    assert "attempt 1 has stopped" in job.status.summary
    assert shared_stack.placements("tenacious") == []
    shared_stack.spokes.slow_to_stop.remove("tenacious")
    shared_stack.wait("tenacious", Phase.SUCCEEDED)
    assert shared_stack.spokes.violations == []


def test_a_person_s_edit_of_a_placement_is_left_alone(shared_stack):
    shared_stack.submit("touched", "hold")
    shared_stack.wait("touched", Phase.RUNNING)
    (file,) = shared_stack.placements("touched")
    commit = shared_stack.edit("Pause it", file, "suspend: false", "suspend: true")
    shared_stack.submit("another")
    shared_stack.wait("another", Phase.SUCCEEDED)
    assert "suspend: true" in shared_stack.git.git("show", f"main:{file}")
    assert commit in shared_stack.git.git("log", "--format=%H", "main").split()
    shared_stack.spokes.finish("touched")
    shared_stack.wait("touched", Phase.SUCCEEDED)
    eventually(lambda: not shared_stack.placements("touched"))


def test_a_job_that_no_policy_allows_says_why_not_for_each_spoke(shared_stack):
    shared_stack.submit("secret", data_class="secret")
    job = shared_stack.wait("secret", Phase.BLOCKED)
    assert condition(job, "PolicyAllowed").status.value == "False"
    assert {c.cluster for c in job.status.candidates} == {"ca-qc-1", "no-osl-1", "us-oh-1"}
    assert all(c.message for c in job.status.candidates)


@pytest.mark.parametrize("name", ["../escape", "a/../b", "UPPER", "-dash", "x" * 64, "dotted.name", "a;rm", "$(id)"])
def test_names_that_could_be_a_path_or_a_command_are_refused_at_the_door(shared_stack, name):
    body = job_body(name, shared_stack.namespace)
    done = shared_stack.api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
    assert done.returncode != 0
    assert not any(name in file for file in shared_stack.git.files())


def test_a_job_that_begins_in_years_holds_up_nobody(shared_stack):
    start = f"{shared_stack.clock.now().year + 9}-01-01T00:00:00Z"
    shared_stack.submit("far", schedule={"maxDelay": "0s", "earliestStart": start})
    shared_stack.submit("near")
    shared_stack.wait("near", Phase.SUCCEEDED)
    assert shared_stack.changes("far") == []
    shared_stack.delete("far")
    shared_stack.wait_gone("far")


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
def test_hostile_text_in_a_field_is_refused_at_the_door(shared_stack, path):
    body = job_body("hostile", shared_stack.namespace)
    at = body["spec"]
    for key, following in itertools.pairwise(path):
        at = at.setdefault(key, [None] if isinstance(following, int) else {})
    at[path[-1]] = HOSTILE.replace("\u0000", "")
    with pytest.raises(KubeError) as refused:
        shared_stack.kube.create(ours("carbontrainingjobs", shared_stack.namespace), body)
    assert refused.value.status == 422


def test_hostile_labels_and_annotations_change_nothing_that_is_committed(shared_stack):
    body = job_body("decorated", shared_stack.namespace)
    body["metadata"]["annotations"] = {
        "carbonfleet.dev/replace": HOSTILE.replace("\u0000", "") * 20,
        "note": "CTJ-Change: place\n",
    }
    shared_stack.kube.create(ours("carbontrainingjobs", shared_stack.namespace), body)
    job = shared_stack.wait("decorated", Phase.SUCCEEDED)
    assert len(job.status.replaced) == 256
    shared_stack.assert_run_once("decorated")
    text = shared_stack.git.git("log", "-p", "--format=%B", "main")
    assert "/tmp/owned" not in text


def test_a_job_without_a_namespace_left_holds_up_nobody(shared_stack):
    namespace = f"{shared_stack.namespace}-gone"
    kube = shared_stack.kube
    kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": namespace}})
    kube.create(ours("carbontrainingjobs", namespace), job_body("doomed", namespace))
    kube.delete(path("api/v1", "namespaces", name=namespace))
    shared_stack.submit("unharmed")
    shared_stack.wait("unharmed", Phase.SUCCEEDED)

    def gone() -> bool:
        try:
            kube.get(ours("carbontrainingjobs", namespace, "doomed"))
        except KubeError as error:
            return error.is_gone
        return False

    eventually(gone)
