"""A spoke on a real Ray head: what Git wants runs once, and the hub hears of it."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from spoke_stack import SPOKE, TRAIN, forget_holder, intent, name_of

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.api.report import EnergyMethod
from carbonfleet.fleet import Remove, Suspend
from carbonfleet.spoke.errors import MemoryInUseError
from fixtures.fleet_values import uid_of
from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.s3_server import KEYS

pytestmark = pytest.mark.ray


def is_running(stack):
    """Whether the hub has heard of a step."""
    report = stack.reports().get(stack.attempt)
    return report is not None and report.phase is Phase.RUNNING and report.progress is not None


def placed(stack):
    return stack.repository.fetch().placements[uid_of(stack.job)]


def removal(stack):
    return Remove(placed(stack), "its owner deleted it")


def suspension(stack, suspended):
    return Suspend(placed(stack), suspended, "the grid says so")


def forget(stack):
    """What a lost disk does to an agent, once its lease is over."""
    stack.agents.pop().close()
    shutil.rmtree(stack.agent_settings().state)
    forget_holder(stack.kube)


def drop_from_ray(stack, name):
    """Make the Ray head as ignorant of an attempt as a new one would be."""
    eventually(lambda: stack.ray_job(name)["status"] not in {"PENDING", "RUNNING"})
    stack.ask_ray("DELETE", f"/api/jobs/{name}")
    eventually(lambda: stack.ray_job(name) is None)


def start_process(stack):
    """The agent as a process of its own, through the command line."""
    shutil.copytree(TRAIN.parents[1], stack.root / "workloads", dirs_exist_ok=True)
    token = stack.root / "ray-token"
    token.write_text(stack.ray.token)
    settings = stack.agent_settings()
    options = {
        "--spoke": SPOKE,
        "--fleet-url": stack.git.url,
        "--hub-kubeconfig": str(stack.hub_kubeconfig),
        "--runtime": "ray",
        "--ray-address": stack.ray.address,
        "--ray-token-file": str(token),
        "--workload": str(stack.root),
        "--state": str(settings.state),
        "--store": str(stack.store),
        "--poll-seconds": "0.1",
        "--sync-seconds": "0.3",
        "--progress-seconds": "0.3",
    }
    command = [sys.executable, "-m", "carbonfleet", "spoke", "run"]
    command += [part for option in options.items() for part in option]
    stack.processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}))
    return stack.processes[-1]


def test_a_placement_is_trained_and_reported(stack):
    stack.publish(intent(stack.job, steps=8))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    report = stack.reports()[stack.attempt]
    assert report.progress.step == 8
    assert report.progress.validation_loss < report.progress.initial_validation_loss
    assert report.checkpoint.step == 5
    assert report.energy.method is EnergyMethod.ESTIMATE
    assert report.start_time <= report.end_time
    assert report.observed_commit == stack.repository.fetch().commit
    assert len(stack.starts()) == 1
    given = stack.ray_job(stack.attempt)["runtime_env"]["env_vars"]
    limits = [given[name] for name in ("LORA_DATASETS", "LORA_MODELS", "LORA_PRIVATE_NETWORKS")]
    assert limits == [str(stack.root / "datasets"), str(stack.root / "models"), "10.1.0.0/16"]
    spoke = stack.spoke().status
    assert spoke.synced_commit == report.observed_commit
    assert spoke.runtime_version.startswith("ray 2.")
    assert spoke.problems == ()
    stack.cycle_until(agent, lambda: stack.spoke().status.pools[0].free_gpus == 8)


def test_an_attempt_whose_store_the_agent_cant_see_is_followed_in_its_log(stack, monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    stack.publish(intent(stack.job, steps=8, checkpoints={"uri": "s3://elsewhere/jobs"}))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    progress = stack.reports()[stack.attempt].progress
    assert (progress.step, progress.total_steps) == (8, 8)


def test_a_place_to_save_in_that_the_host_does_not_allow_is_refused_and_not_touched(stack):
    outside = stack.root / "outside"
    stack.publish(intent(stack.job, steps=8, checkpoints={"uri": f"file://{outside}"}))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.REFUSED)
    report = stack.reports()[stack.attempt]
    assert (report.reason, outside.exists(), stack.starts()) == ("StoreNotAllowed", False, [])
    assert "(the agent's --output-folders), or leave checkpoints.uri out" in report.message


def test_an_attempt_saves_in_a_folder_that_the_host_allows(stack):
    stack.publish(intent(stack.job, steps=8, checkpoints={"uri": f"file://{stack.root}/shared/team"}))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    place = stack.root / "shared" / "team" / uid_of(stack.job)
    assert stack.reports()[stack.attempt].checkpoint.uri == str(place)
    assert (place / "DONE").exists()


def test_a_removed_placement_saves_itself_and_stops(stack):
    stack.publish(intent(stack.job, steps=600))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: is_running(stack) and stack.spoke().status.pools[0].free_gpus == 6)
    stack.publish(removal(stack))
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.STOPPED)
    report = stack.reports()[stack.attempt]
    assert report.reason == "Removed"
    assert report.checkpoint.step == report.progress.step
    stack.cycle_until(agent, lambda: stack.spoke().status.pools[0].free_gpus == 8)


def test_a_suspended_attempt_gives_up_its_gpus_and_goes_on_where_it_was(stack):
    stack.hold()
    stack.publish(intent(stack.job, steps=10))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: is_running(stack))
    stack.publish(suspension(stack, True))
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUSPENDED)
    assert 0 < stack.reports()[stack.attempt].checkpoint.step < 10
    stack.cycle_until(agent, lambda: stack.spoke().status.pools[0].free_gpus == 8)
    stack.let_go()
    stack.publish(suspension(stack, False))
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    assert [line.split()[0] for line in stack.starts()] == ["1", "1"]
    report = stack.reports()[stack.attempt]
    assert report.progress.step == 10
    first, second = report.stints
    assert report.start_time == first.start <= first.end < second.start <= second.end == report.end_time


def test_a_killed_agent_finds_its_attempt_and_does_not_run_it_again(stack):
    stack.hold()
    stack.publish(intent(stack.job, steps=10))
    first = start_process(stack)
    eventually(lambda: is_running(stack))
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    before, killed_at = stack.reports()[stack.attempt], stack.clock.now()
    second = start_process(stack)
    eventually(lambda: stack.spoke().status.heartbeat_time > killed_at)
    stack.let_go()
    eventually(lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0
    after = stack.reports()[stack.attempt]
    assert len(stack.starts()) == 1
    assert after.start_time == before.start_time
    assert after.boot_id != before.boot_id


def test_an_agent_that_lost_its_memory_adopts_what_runs(stack):
    stack.hold()
    stack.publish(intent(stack.job, steps=10))
    stack.cycle_until(stack.agent(), lambda: is_running(stack))
    forget(stack)
    stack.cycle_until(stack.agent(), lambda: is_running(stack))
    stack.let_go()
    stack.cycle_until(stack.agents[-1], lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    assert len(stack.starts()) == 1


def test_an_attempt_with_a_terminal_report_is_never_run_again(stack):
    stack.publish(intent(stack.job, steps=3))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    forget(stack)
    shutil.rmtree(stack.store)
    drop_from_ray(stack, stack.attempt)
    second = stack.agent()
    for _ in range(5):
        second.cycle()
    assert stack.starts() == []
    assert stack.ray_job(f"{stack.attempt}-r2") is None
    assert stack.phase(stack.attempt) is Phase.SUCCEEDED


def test_an_agent_without_memory_hears_the_hub_before_it_starts_anything(stack):
    stack.publish(intent(stack.job, steps=3))
    stack.api.stop()
    agent = stack.agent()
    for _ in range(5):
        agent.cycle()
    assert stack.ray_job(stack.attempt) is None
    stack.api.start()
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)


def test_a_finished_output_is_not_trained_again(stack):
    stack.publish(intent(stack.job, steps=3))
    output = stack.store / uid_of(stack.job)
    output.mkdir(parents=True)
    (output / "DONE").write_text(json.dumps({"attempt": 1}))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    assert stack.ray_job(stack.attempt) is None


def test_an_attempt_lost_with_its_runtime_goes_on_from_its_checkpoint(stack):
    stack.hold(step=5)
    stack.publish(intent(stack.job, steps=10))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: is_running(stack) and stack.reports()[stack.attempt].checkpoint)
    os.kill(int(stack.starts()[0].split()[1]), signal.SIGKILL)
    drop_from_ray(stack, stack.attempt)
    stack.let_go()
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    assert len(stack.starts()) == 2


def test_a_failure_is_reported_in_the_trainings_own_words(stack):
    stack.publish(intent(stack.job, model="unknown/model"))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.FAILED)
    report = stack.reports()[stack.attempt]
    assert (report.reason, report.message) == ("UnknownModel", "no model called unknown/model")


def test_a_fenced_attempt_has_stopped_and_not_failed(stack):
    output = stack.store / uid_of(stack.job)
    output.mkdir(parents=True)
    (output / "LEASE").write_text(json.dumps({"attempt": 2, "checkpoints": []}))
    stack.publish(intent(stack.job))
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.STOPPED)
    assert stack.reports()[stack.attempt].reason == "Fenced"


def test_nothing_in_a_placement_reaches_a_shell_or_the_hosts_environment(stack):
    hostile = "$HOME ${PATH} `id` $(id) ; id"
    stack.publish(intent(stack.job, steps=1, model="acme/plain"))
    person = stack.git.checkout()
    person.edit(stack.file, "acme/plain", hostile)
    person.push("Edit a placement by hand")
    stack.cycle_until(stack.agent(), lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)
    config = json.loads((stack.store / uid_of(stack.job) / "config.json").read_text())
    assert config["model"] == hostile


def test_what_does_not_fit_waits_and_then_runs(stack):
    stack.hold()
    stack.publish(intent(stack.job, steps=3, gpus=6), intent("mistral-" + stack.job, steps=3, gpus=6))
    agent, second = stack.agent(), name_of("mistral-" + stack.job)
    stack.cycle_until(agent, lambda: second in stack.reports())
    waiting = stack.reports()[second]
    assert (waiting.phase, waiting.reason) == (Phase.PENDING, "WaitingForGpus")
    assert waiting.message == "sim has 2 of 8 GPUs free, 6 wanted"
    stack.let_go()
    stack.cycle_until(agent, lambda: stack.phase(second) is Phase.SUCCEEDED)
    assert stack.phase(stack.attempt) is Phase.SUCCEEDED


def test_the_next_attempt_waits_until_the_one_before_it_has_stopped(stack):
    stack.publish(intent(stack.job, steps=600))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: is_running(stack))
    stack.publish(removal(stack))
    stack.publish(intent(stack.job, steps=600, attempt=2))
    stack.cycle_until(agent, lambda: len(stack.starts()) == 2)
    assert stack.ray_job(stack.attempt)["status"] == "STOPPED"
    stack.publish(removal(stack))
    stack.cycle_until(agent, lambda: stack.phase(name_of(stack.job, 2)) is Phase.STOPPED)


def test_a_data_class_that_the_admin_did_not_allow_is_refused_for_good(stack):
    allowed = stack.root / "allowed.yaml"
    allowed.write_text("residency.other: allow\n")
    stack.settings["allow_list"] = allowed
    stack.publish(intent(stack.job))
    agent = stack.agent()
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.REFUSED)
    assert stack.reports()[stack.attempt].reason == "DataClassNotAllowed"
    allowed.write_text("residency.public: allow\n")
    agent.cycle()
    assert stack.ray_job(stack.attempt) is None


def test_two_agents_of_one_spoke_do_not_run_side_by_side(stack):
    stack.agent()
    with pytest.raises(MemoryInUseError, match="another agent"):
        stack.agent()


def test_a_second_agent_on_another_disk_runs_nothing_twice(stack):
    stack.publish(intent(stack.job, steps=10))
    first = stack.agent()
    stack.settings["state"] = stack.root / "other-state"
    second = stack.agent()

    def both():
        second.cycle()
        return stack.phase(stack.attempt) is Phase.SUCCEEDED

    stack.cycle_until(first, both)
    assert len(stack.starts()) == 1
