"""A spoke on KubeRay: the agent against a Kubernetes API with KubeRay's own CRD; the test plays KubeRay."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from spoke_stack import SPOKE, SpokeStack, intent, name_of

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.api.report import RunLog
from carbonfleet.fleet import Remove, Repository, Suspend
from carbonfleet.kube import Kube, KubeError, path
from carbonfleet.spoke import Agent, KubeRay
from fixtures.fleet_values import quick_settings, uid_of
from fixtures.simulated_kuberay import RAY, PodServer, SimulatedKubeRay


@pytest.fixture
def kuberay(hub_api, tmp_path) -> Iterator[SimulatedKubeRay]:
    """The same API serves as the spoke's cluster."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to a folder with kuberay/ray.io_rayjobs.yaml")
    crd = Path(folder) / "kuberay" / "ray.io_rayjobs.yaml"
    applied = hub_api.kubectl("apply", "--server-side", "-f", str(crd))
    assert applied.returncode == 0, applied.stderr
    hub_api.kubectl("create", "namespace", "ml")
    server = PodServer(hub_api)
    yield SimulatedKubeRay(server.connect(tmp_path, hub_api.token), server.pods)
    server.close()


@pytest.fixture
def agent(bare_stack: SpokeStack, kuberay: SimulatedKubeRay) -> Agent:
    return bare_stack.agent(KubeRay(SPOKE, kuberay.kube, bare_stack.clock, log_seconds=0.2))


RIGHTS_IN_ML = f"""\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: agent, namespace: ml}}
rules: [{{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: agent, namespace: ml}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: agent}}
subjects: [{{kind: ServiceAccount, name: agent, namespace: spoke-{SPOKE}}}]
"""


def step(agent: Agent, stack: SpokeStack, phase: Phase) -> None:
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is phase)


def placed(stack):
    return stack.repository.fetch().placements[uid_of(stack.job)]


def test_a_rayjob_is_applied_as_git_has_it_and_its_states_become_phases(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    job = kuberay.job(stack.attempt)
    assert job["spec"]["suspend"] is False
    config = kuberay.kube.get(path("api/v1", "configmaps", "ml", stack.attempt))
    assert config["immutable"] is True
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.RUNNING)
    assert stack.reports()[stack.attempt].start_time.isoformat() == "2026-01-31T12:00:00+00:00"
    kuberay.says(stack.attempt, "Complete", "SUCCEEDED", endTime="2026-01-31T13:00:00Z")
    step(agent, stack, Phase.SUCCEEDED)
    assert stack.reports()[stack.attempt].end_time.isoformat() == "2026-01-31T13:00:00+00:00"


def test_a_removed_placement_has_stopped_when_its_pods_are_gone(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    cluster = f"{stack.attempt}-x7k2p"
    kuberay.worker(cluster)
    step(agent, stack, Phase.RUNNING)
    stack.publish(Remove(placed(stack), "cancelled"))
    stack.cycle_until(agent, lambda: kuberay.job(stack.attempt) is None)
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].reason == "Stopping")
    assert stack.phase(stack.attempt) is Phase.RUNNING
    kuberay.pods.labels.clear()
    step(agent, stack, Phase.STOPPED)
    with pytest.raises(KubeError, match="not found"):
        kuberay.kube.get(path("api/v1", "configmaps", "ml", stack.attempt))


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED"])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_has_ended_goes_from_the_spoke_when_it_leaves_git(bare_stack, kuberay, end, restarted):
    """It was the last of its namespace, which nothing else makes the agent look into."""
    stack = bare_stack
    agent = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock))
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Complete" if end == "SUCCEEDED" else "Failed", end)
    step(agent, stack, Phase[end])
    if restarted:
        agent.close()
        (stack.agent_settings().state / "fleet.git.in-use").unlink()  # as the end of its process lets go of the clone
        agent = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock))
    stack.publish(Remove(placed(stack), "ended"))
    stack.cycle_until(agent, lambda: kuberay.job(stack.attempt) is None)
    with pytest.raises(KubeError, match="not found"):
        kuberay.kube.get(path("api/v1", "configmaps", "ml", stack.attempt))
    assert stack.phase(stack.attempt) is Phase[end]


def test_a_namespace_is_left_alone_once_nothing_of_ours_is_left_in_it(bare_stack, kuberay):
    class Noting(KubeRay):
        def observe(self, scope):
            self.namespaces = scope.namespaces
            return super().observe(scope)

    stack, runtime = bare_stack, Noting(SPOKE, kuberay.kube, bare_stack.clock)
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Complete", "SUCCEEDED")
    step(agent, stack, Phase.SUCCEEDED)
    assert runtime.namespaces == {"ml"}
    stack.publish(Remove(placed(stack), "ended"))
    stack.cycle_until(agent, lambda: runtime.namespaces == frozenset())
    assert kuberay.job(stack.attempt) is None


def test_suspend_is_git_s_and_is_confirmed_when_no_pod_writes(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.RUNNING)
    stack.publish(Suspend(placed(stack), True, "the grid says so"))
    stack.cycle_until(agent, lambda: kuberay.job(stack.attempt)["spec"]["suspend"])
    cluster = f"{stack.attempt}-abcde"
    kuberay.worker(cluster)
    kuberay.says(stack.attempt, "Suspended")
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].reason == "Suspending")
    kuberay.pods.labels.clear()
    step(agent, stack, Phase.SUSPENDED)
    stack.publish(Suspend(placed(stack), False, "the grid is clean"))
    stack.cycle_until(agent, lambda: not kuberay.job(stack.attempt)["spec"]["suspend"])


def test_progress_and_checkpoint_come_from_the_submitters_log(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    saved = {"step": 25, "attempt": 1, "sha256": "a" * 64, "size_bytes": 9}
    numbers = {"attempt": 1, "step": 30, "total_steps": 100, "checkpoint": saved, "energy_kwh": None}
    kuberay.submitter(stack.attempt, f"starting\nLORA_PROGRESS {json.dumps(numbers)}\n")
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].progress)
    report = stack.reports()[stack.attempt]
    assert (report.progress.step, report.progress.total_steps) == (30, 100)
    assert report.checkpoint.step == 25
    output = f"/checkpoints/{uid_of(stack.job)}"
    assert report.checkpoint.uri == output
    assert report.log == RunLog(uri=f"{output}/logs/attempt-1.txt", tail="starting\n")


def test_no_line_of_a_log_leaves_a_spoke_that_hides_them(bare_stack, kuberay):
    stack = bare_stack
    stack.settings["hide_logs"] = True
    agent = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock, log_seconds=0.2))
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    kuberay.submitter(stack.attempt, "a row of somebody's\n")
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].log)
    assert stack.reports()[stack.attempt].log == RunLog(uri=f"/checkpoints/{uid_of(stack.job)}/logs/attempt-1.txt")


def test_what_a_training_prints_is_heard_before_its_first_step(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    for printed in ("loading\n", "loading\nloaded\n"):
        kuberay.submitter(stack.attempt, printed)
        stack.cycle_until(agent, lambda: (log := stack.reports()[stack.attempt].log) and log.tail == printed)  # noqa: B023


def test_the_last_word_of_a_finished_attempt_is_heard_however_lately_its_log_was_read(bare_stack, kuberay):
    stack = bare_stack
    agent = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock, log_seconds=1e6))
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    numbers = {"attempt": 1, "step": 30, "total_steps": 100, "validation_loss": 2.5}
    kuberay.submitter(stack.attempt, f"LORA_PROGRESS {json.dumps(numbers)}\n")
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.RUNNING)
    kuberay.submitter(stack.attempt, f"LORA_PROGRESS {json.dumps({**numbers, 'step': 100, 'validation_loss': 1.5})}\n")
    kuberay.says(stack.attempt, "Complete", "SUCCEEDED", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.SUCCEEDED)
    progress = stack.reports()[stack.attempt].progress
    assert (progress.step, progress.validation_loss) == (100, 1.5)


@pytest.mark.parametrize("code", [-9, 137])
def test_a_training_that_was_killed_says_what_that_most_often_means(bare_stack, agent, kuberay, code):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    message = f"Job entrypoint command failed with exit code {code}, last available logs:\nLORA_PROGRESS ..."
    kuberay.says(stack.attempt, "Failed", "FAILED", reason="AppFailed", message=message)
    step(agent, stack, Phase.FAILED)
    report = stack.reports()[stack.attempt]
    assert report.reason == "Killed"
    assert "ran out of memory" in report.message


def test_validation_failed_is_the_end_and_says_why(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    why = {"reason": "ValidationFailed", "message": "name is too long"}
    kuberay.says(stack.attempt, "ValidationFailed", "", **why)
    step(agent, stack, Phase.FAILED)
    report = stack.reports()[stack.attempt]
    assert (report.reason, report.message) == ("ValidationFailed", "name is too long")


def test_a_failure_in_the_trainings_words_is_preferred(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    message = 'log tail\nLORA_FAILURE {"reason": "OutOfMemory", "message": "the GPU is too small"}'
    kuberay.says(stack.attempt, "Failed", "FAILED", reason="AppFailed", message=message)
    step(agent, stack, Phase.FAILED)
    report = stack.reports()[stack.attempt]
    assert (report.reason, report.message) == ("OutOfMemory", "the GPU is too small")


def test_a_deletion_that_hangs_is_reported_as_running(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    where = path(RAY, "rayjobs", "ml", stack.attempt)
    kuberay.kube.patch(where, {"metadata": {"finalizers": ["ray.io/rayjob-finalizer"]}})
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.RUNNING)
    stack.publish(Remove(placed(stack), "cancelled"))
    stack.cycle_until(agent, lambda: "deletionTimestamp" in kuberay.job(stack.attempt)["metadata"])
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].reason == "Stopping")
    assert stack.phase(stack.attempt) is Phase.RUNNING
    kuberay.kube.patch(where, {"metadata": {"finalizers": None}})
    step(agent, stack, Phase.STOPPED)


def test_a_namespace_that_the_agent_may_not_see_is_a_problem_and_nothing_fails(bare_stack, kuberay, hub_api):
    """With the rights of a spoke on the hub it may see no RayJob at all."""
    stack = bare_stack
    stack.publish(intent(stack.job))
    agent = stack.agent(KubeRay(SPOKE, Kube.connect(stack.hub_kubeconfig), stack.clock))
    step(agent, stack, Phase.PENDING)
    assert stack.reports()[stack.attempt].reason == "NamespaceUnreadable"
    stack.cycle_until(agent, lambda: stack.spoke().status.problems)
    assert "namespace ml" in stack.spoke().status.problems[0]
    granted = hub_api.kubectl("apply", "-f", "-", stdin=RIGHTS_IN_ML)
    assert granted.returncode == 0, granted.stderr
    stack.cycle_until(agent, lambda: kuberay.job(stack.attempt) is not None)
    assert hub_api.kubectl("delete", "-f", "-", stdin=RIGHTS_IN_ML).returncode == 0


def test_a_run_that_the_api_refuses_begins_once_it_lets_the_agent(bare_stack, kuberay, hub_api):
    stack, looks_alone = bare_stack, RIGHTS_IN_ML.replace('verbs: ["*"]', "verbs: [get, list, watch]")
    assert hub_api.kubectl("apply", "-f", "-", stdin=looks_alone).returncode == 0
    stack.publish(intent(stack.job))
    agent = stack.agent(KubeRay(SPOKE, Kube.connect(stack.hub_kubeconfig), stack.clock))
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.PENDING)
    assert stack.reports()[stack.attempt].reason == "ApplyRefused"
    assert hub_api.kubectl("apply", "-f", "-", stdin=RIGHTS_IN_ML).returncode == 0
    stack.cycle_until(agent, lambda: kuberay.job(stack.attempt) is not None)
    assert hub_api.kubectl("delete", "-f", "-", stdin=RIGHTS_IN_ML).returncode == 0


def test_where_flux_applies_the_agent_only_watches(bare_stack, kuberay):
    stack = bare_stack
    stack.settings["apply"] = "watch"
    stack.publish(intent(stack.job))
    agent = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock))
    step(agent, stack, Phase.PENDING)
    assert kuberay.job(stack.attempt) is None
    tip = Repository(quick_settings(stack.git.url, stack.root / "flux"), stack.clock).fetch()
    applied = stack.api.kubectl("apply", "--server-side", "-f", "-", stdin=tip.file(stack.file).decode())
    assert applied.returncode == 0, applied.stderr
    kuberay.says(stack.attempt, "Running", "RUNNING", startTime="2026-01-31T12:00:00Z")
    step(agent, stack, Phase.RUNNING)
    stack.publish(Remove(placed(stack), "cancelled"))
    stack.cycle_until(agent, lambda: stack.reports()[stack.attempt].reason == "Stopping")
    assert kuberay.job(stack.attempt) is not None
    stack.api.kubectl("-n", "ml", "delete", "rayjob", stack.attempt)
    step(agent, stack, Phase.STOPPED)


def test_a_second_agent_without_memory_applies_nothing_again(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.says(stack.attempt, "Complete", "SUCCEEDED")
    step(agent, stack, Phase.SUCCEEDED)
    kuberay.kube.delete(path(RAY, "rayjobs", "ml", stack.attempt))
    stack.settings["state"] = stack.root / "other-state"
    other = stack.agent(KubeRay(SPOKE, kuberay.kube, stack.clock))
    for _ in range(5):
        other.cycle()
    assert kuberay.job(stack.attempt) is None
    assert stack.phase(stack.attempt) is Phase.SUCCEEDED


def test_names_of_attempts_do_not_catch_each_others_pods(bare_stack, agent, kuberay):
    stack = bare_stack
    stack.publish(intent(stack.job))
    step(agent, stack, Phase.PENDING)
    kuberay.worker(f"{stack.attempt}-wxyz-1-abcde")
    stack.publish(Remove(placed(stack), "cancelled"))
    step(agent, stack, Phase.STOPPED)


def test_an_attempts_name_is_a_rayjobs():
    assert name_of("a" * 63).endswith("-1")
    assert len(name_of("a" * 63)) <= 47
