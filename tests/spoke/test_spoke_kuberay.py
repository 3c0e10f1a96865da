"""A spoke on KubeRay: the agent against a Kubernetes API with KubeRay's own CRD; the test plays KubeRay."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from played_kuberay import RAY, PlayedKubeRay, PodServer
from spoke_house import SPOKE, House, intent, name_of

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.fleet import Remove, Repository, Suspend
from carbonfleet.kube import Kube, KubeError, path
from carbonfleet.spoke import Agent, KubeRay
from fixtures.fleet_values import quick_settings, uid_of


@pytest.fixture
def kuberay(hub_api, tmp_path) -> Iterator[PlayedKubeRay]:
    """The same API serves as the spoke's cluster."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to a folder with kuberay/ray.io_rayjobs.yaml")
    crd = Path(folder) / "kuberay" / "ray.io_rayjobs.yaml"
    applied = hub_api.kubectl("apply", "--server-side", "-f", str(crd))
    assert applied.returncode == 0, applied.stderr
    hub_api.kubectl("create", "namespace", "ml")
    server = PodServer(hub_api)
    yield PlayedKubeRay(server.connect(tmp_path, hub_api.token), server.pods)
    server.close()


@pytest.fixture
def agent(kube_house: House, kuberay: PlayedKubeRay) -> Agent:
    return kube_house.agent(KubeRay(SPOKE, kuberay.kube, kube_house.clock, log_seconds=0.2))


def step(agent: Agent, house: House, phase: Phase) -> None:
    house.cycle_until(agent, lambda: house.phase(house.attempt) is phase)


def placed(house):
    return house.repository.fetch().placements[uid_of(house.job)]


def test_a_rayjob_is_applied_as_git_has_it_and_its_states_become_phases(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    job = kuberay.job(house.attempt)
    assert job["spec"]["suspend"] is False
    config = kuberay.kube.get(path("api/v1", "configmaps", "ml", house.attempt))
    assert config["immutable"] is True
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.RUNNING)
    assert house.reports()[house.attempt].start_time.isoformat() == "2026-01-31T12:00:00+00:00"
    kuberay.says(house.attempt, "Complete", "SUCCEEDED", endTime="2026-01-31T13:00:00Z")
    step(agent, house, Phase.SUCCEEDED)
    assert house.reports()[house.attempt].end_time.isoformat() == "2026-01-31T13:00:00+00:00"


def test_a_removed_placement_has_stopped_when_its_pods_are_gone(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    cluster = f"{house.attempt}-x7k2p"
    kuberay.worker(cluster)
    step(agent, house, Phase.RUNNING)
    house.publish(Remove(placed(house), "cancelled"))
    house.cycle_until(agent, lambda: kuberay.job(house.attempt) is None)
    house.cycle_until(agent, lambda: house.reports()[house.attempt].reason == "Stopping")
    assert house.phase(house.attempt) is Phase.RUNNING
    kuberay.pods.labels.clear()
    step(agent, house, Phase.STOPPED)
    with pytest.raises(KubeError, match="not found"):
        kuberay.kube.get(path("api/v1", "configmaps", "ml", house.attempt))


def test_suspend_is_git_s_and_is_confirmed_when_no_pod_writes(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.RUNNING)
    house.publish(Suspend(placed(house), True, "the grid says so"))
    house.cycle_until(agent, lambda: kuberay.job(house.attempt)["spec"]["suspend"])
    cluster = f"{house.attempt}-abcde"
    kuberay.worker(cluster)
    kuberay.says(house.attempt, "Suspended")
    house.cycle_until(agent, lambda: house.reports()[house.attempt].reason == "Suspending")
    kuberay.pods.labels.clear()
    step(agent, house, Phase.SUSPENDED)
    house.publish(Suspend(placed(house), False, "the grid is clean"))
    house.cycle_until(agent, lambda: not kuberay.job(house.attempt)["spec"]["suspend"])


def test_progress_and_checkpoint_come_from_the_submitters_log(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    saved = {"step": 25, "attempt": 1, "sha256": "a" * 64, "size_bytes": 9}
    numbers = {"attempt": 1, "step": 30, "total_steps": 100, "checkpoint": saved, "energy_kwh": None}
    kuberay.submitter(house.attempt, f"starting\nLORA_PROGRESS {json.dumps(numbers)}\n")
    house.cycle_until(agent, lambda: house.reports()[house.attempt].progress)
    report = house.reports()[house.attempt]
    assert (report.progress.step, report.progress.total_steps) == (30, 100)
    assert report.checkpoint.step == 25
    assert report.checkpoint.uri == f"/checkpoints/{uid_of(house.job)}"


def test_the_last_word_of_a_finished_attempt_is_heard_however_lately_its_log_was_read(kube_house, kuberay):
    house = kube_house
    agent = house.agent(KubeRay(SPOKE, kuberay.kube, house.clock, log_seconds=1e6))
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    numbers = {"attempt": 1, "step": 30, "total_steps": 100, "validation_loss": 2.5}
    kuberay.submitter(house.attempt, f"LORA_PROGRESS {json.dumps(numbers)}\n")
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.RUNNING)
    kuberay.submitter(house.attempt, f"LORA_PROGRESS {json.dumps({**numbers, 'step': 100, 'validation_loss': 1.5})}\n")
    kuberay.says(house.attempt, "Complete", "SUCCEEDED", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.SUCCEEDED)
    progress = house.reports()[house.attempt].progress
    assert (progress.step, progress.validation_loss) == (100, 1.5)


@pytest.mark.parametrize("code", [-9, 137])
def test_a_training_that_was_killed_says_what_that_most_often_means(kube_house, agent, kuberay, code):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    message = f"Job entrypoint command failed with exit code {code}, last available logs:\nLORA_PROGRESS ..."
    kuberay.says(house.attempt, "Failed", "FAILED", reason="AppFailed", message=message)
    step(agent, house, Phase.FAILED)
    report = house.reports()[house.attempt]
    assert report.reason == "Killed"
    assert "ran out of memory" in report.message


def test_validation_failed_is_the_end_and_says_why(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    why = {"reason": "ValidationFailed", "message": "name is too long"}
    kuberay.says(house.attempt, "ValidationFailed", "", **why)
    step(agent, house, Phase.FAILED)
    report = house.reports()[house.attempt]
    assert (report.reason, report.message) == ("ValidationFailed", "name is too long")


def test_a_failure_in_the_trainings_words_is_preferred(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    message = 'log tail\nLORA_FAILURE {"reason": "OutOfMemory", "message": "the GPU is too small"}'
    kuberay.says(house.attempt, "Failed", "FAILED", reason="AppFailed", message=message)
    step(agent, house, Phase.FAILED)
    report = house.reports()[house.attempt]
    assert (report.reason, report.message) == ("OutOfMemory", "the GPU is too small")


def test_a_deletion_that_hangs_is_reported_as_running(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    where = path(RAY, "rayjobs", "ml", house.attempt)
    kuberay.kube.patch(where, {"metadata": {"finalizers": ["ray.io/rayjob-finalizer"]}})
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.RUNNING)
    house.publish(Remove(placed(house), "cancelled"))
    house.cycle_until(agent, lambda: "deletionTimestamp" in kuberay.job(house.attempt)["metadata"])
    house.cycle_until(agent, lambda: house.reports()[house.attempt].reason == "Stopping")
    assert house.phase(house.attempt) is Phase.RUNNING
    kuberay.kube.patch(where, {"metadata": {"finalizers": None}})
    step(agent, house, Phase.STOPPED)


def test_a_namespace_that_the_agent_may_not_see_is_a_problem_and_nothing_fails(kube_house, kuberay, hub_api):
    """With the rights of a spoke on the hub it may see no RayJob at all."""
    house = kube_house
    house.publish(intent(house.job))
    agent = house.agent(KubeRay(SPOKE, Kube.connect(house.hub_kubeconfig), house.clock))
    step(agent, house, Phase.PENDING)
    assert house.reports()[house.attempt].reason == "NamespaceUnreadable"
    house.cycle_until(agent, lambda: house.spoke().status.problems)
    assert "namespace ml" in house.spoke().status.problems[0]


def test_where_flux_applies_the_agent_only_watches(kube_house, kuberay):
    house = kube_house
    house.settings["apply"] = "watch"
    house.publish(intent(house.job))
    agent = house.agent(KubeRay(SPOKE, kuberay.kube, house.clock))
    step(agent, house, Phase.PENDING)
    assert kuberay.job(house.attempt) is None
    tip = Repository(quick_settings(house.git.url, house.root / "flux"), house.clock).fetch()
    applied = house.api.kubectl("apply", "--server-side", "-f", "-", stdin=tip.file(house.file).decode())
    assert applied.returncode == 0, applied.stderr
    kuberay.says(house.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, house, Phase.RUNNING)
    house.publish(Remove(placed(house), "cancelled"))
    house.cycle_until(agent, lambda: house.reports()[house.attempt].reason == "Stopping")
    assert kuberay.job(house.attempt) is not None
    house.api.kubectl("-n", "ml", "delete", "rayjob", house.attempt)
    step(agent, house, Phase.STOPPED)


def test_a_second_agent_without_memory_applies_nothing_again(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    kuberay.says(house.attempt, "Complete", "SUCCEEDED")
    step(agent, house, Phase.SUCCEEDED)
    kuberay.kube.delete(path(RAY, "rayjobs", "ml", house.attempt))
    house.settings["state"] = house.root / "other-state"
    other = house.agent(KubeRay(SPOKE, kuberay.kube, house.clock))
    for _ in range(5):
        other.cycle()
    assert kuberay.job(house.attempt) is None
    assert house.phase(house.attempt) is Phase.SUCCEEDED


def test_names_of_attempts_do_not_catch_each_others_pods(kube_house, agent, kuberay):
    house = kube_house
    house.publish(intent(house.job))
    step(agent, house, Phase.PENDING)
    kuberay.worker(f"{house.attempt}-wxyz-1-abcde")
    house.publish(Remove(placed(house), "cancelled"))
    step(agent, house, Phase.STOPPED)


def test_an_attempts_name_is_a_rayjobs():
    assert name_of("a" * 63).endswith("-1")
    assert len(name_of("a" * 63)) <= 47
