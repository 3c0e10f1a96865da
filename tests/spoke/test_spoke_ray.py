"""A spoke on a real Ray head: what Git wants runs once, and the hub hears of it."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from spoke_house import SPOKE, TRAIN, forget_holder, intent, name_of

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.api.report import EnergyMethod
from carbonfleet.fleet import Remove, Suspend
from carbonfleet.spoke.errors import MemoryInUseError
from fixtures.fleet_values import uid_of
from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.s3_server import KEYS

pytestmark = pytest.mark.ray


def is_running(house):
    """Whether the hub has heard of a step."""
    report = house.reports().get(house.attempt)
    return report is not None and report.phase is Phase.RUNNING and report.progress is not None


def placed(house):
    return house.repository.fetch().placements[uid_of(house.job)]


def removal(house):
    return Remove(placed(house), "its owner deleted it")


def suspension(house, suspended):
    return Suspend(placed(house), suspended, "the grid says so")


def forget(house):
    """What a lost disk does to an agent, once its lease is over."""
    house.agents.pop().close()
    shutil.rmtree(house.agent_settings().state)
    forget_holder(house.kube)


def drop_from_ray(house, name):
    """Make the Ray head as ignorant of an attempt as a new one would be."""
    eventually(lambda: house.ray_job(name)["status"] not in {"PENDING", "RUNNING"})
    house.ask_ray("DELETE", f"/api/jobs/{name}")
    eventually(lambda: house.ray_job(name) is None)


def start_process(house):
    """The agent as a process of its own, through the command line."""
    shutil.copytree(TRAIN.parents[1], house.root / "workloads", dirs_exist_ok=True)
    token = house.root / "ray-token"
    token.write_text(house.ray.token)
    settings = house.agent_settings()
    options = {
        "--spoke": SPOKE,
        "--fleet-url": house.git.url,
        "--hub-kubeconfig": str(house.hub_kubeconfig),
        "--runtime": "ray",
        "--ray-address": house.ray.address,
        "--ray-token-file": str(token),
        "--workload": str(house.root),
        "--state": str(settings.state),
        "--store": str(house.store),
        "--poll-seconds": "0.1",
        "--sync-seconds": "0.3",
        "--progress-seconds": "0.3",
    }
    command = [sys.executable, "-m", "carbonfleet", "spoke", "run"]
    command += [part for option in options.items() for part in option]
    house.processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}))
    return house.processes[-1]


def test_a_placement_is_trained_and_reported(house):
    house.publish(intent(house.job, steps=8))
    agent = house.agent()
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    report = house.reports()[house.attempt]
    assert report.progress.step == 8
    assert report.progress.validation_loss < report.progress.initial_validation_loss
    assert report.checkpoint.step == 5
    assert report.energy.method is EnergyMethod.ESTIMATE
    assert report.start_time <= report.end_time
    assert report.observed_commit == house.repository.fetch().commit
    assert len(house.starts()) == 1
    spoke = house.spoke().status
    assert spoke.synced_commit == report.observed_commit
    assert spoke.runtime_version.startswith("ray 2.")
    assert spoke.problems == ()
    house.cycle_until(agent, lambda: house.spoke().status.pools[0].free_gpus == 8)


def test_an_attempt_whose_store_the_agent_cant_see_is_followed_in_its_log(house, monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    house.publish(intent(house.job, steps=8, checkpoints={"uri": "s3://elsewhere/jobs"}))
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    progress = house.reports()[house.attempt].progress
    assert (progress.step, progress.total_steps) == (8, 8)


def test_a_removed_placement_saves_itself_and_stops(house):
    house.publish(intent(house.job, steps=600))
    agent = house.agent()
    house.cycle_until(agent, lambda: is_running(house) and house.spoke().status.pools[0].free_gpus == 6)
    house.publish(removal(house))
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.STOPPED)
    report = house.reports()[house.attempt]
    assert report.reason == "Removed"
    assert report.checkpoint.step == report.progress.step
    house.cycle_until(agent, lambda: house.spoke().status.pools[0].free_gpus == 8)


def test_a_suspended_attempt_gives_up_its_gpus_and_goes_on_where_it_was(house):
    house.hold()
    house.publish(intent(house.job, steps=10))
    agent = house.agent()
    house.cycle_until(agent, lambda: is_running(house))
    house.publish(suspension(house, True))
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.SUSPENDED)
    assert 0 < house.reports()[house.attempt].checkpoint.step < 10
    house.cycle_until(agent, lambda: house.spoke().status.pools[0].free_gpus == 8)
    house.let_go()
    house.publish(suspension(house, False))
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    assert [line.split()[0] for line in house.starts()] == ["1", "1"]
    report = house.reports()[house.attempt]
    assert report.progress.step == 10
    first, second = report.stints
    assert report.start_time == first.start <= first.end < second.start <= second.end == report.end_time


def test_a_killed_agent_finds_its_attempt_and_does_not_run_it_again(house):
    house.hold()
    house.publish(intent(house.job, steps=10))
    first = start_process(house)
    eventually(lambda: is_running(house))
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    before, killed_at = house.reports()[house.attempt], house.clock.now()
    second = start_process(house)
    eventually(lambda: house.spoke().status.heartbeat_time > killed_at)
    house.let_go()
    eventually(lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0
    after = house.reports()[house.attempt]
    assert len(house.starts()) == 1
    assert after.start_time == before.start_time
    assert after.boot_id != before.boot_id


def test_an_agent_that_lost_its_memory_adopts_what_runs(house):
    house.hold()
    house.publish(intent(house.job, steps=10))
    house.cycle_until(house.agent(), lambda: is_running(house))
    forget(house)
    house.cycle_until(house.agent(), lambda: is_running(house))
    house.let_go()
    house.cycle_until(house.agents[-1], lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    assert len(house.starts()) == 1


def test_an_attempt_with_a_terminal_report_is_never_run_again(house):
    house.publish(intent(house.job, steps=3))
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    forget(house)
    shutil.rmtree(house.store)
    drop_from_ray(house, house.attempt)
    second = house.agent()
    for _ in range(5):
        second.cycle()
    assert house.starts() == []
    assert house.ray_job(f"{house.attempt}-r2") is None
    assert house.phase(house.attempt) is Phase.SUCCEEDED


def test_an_agent_without_memory_hears_the_hub_before_it_starts_anything(house):
    house.publish(intent(house.job, steps=3))
    house.api.stop()
    agent = house.agent()
    for _ in range(5):
        agent.cycle()
    assert house.ray_job(house.attempt) is None
    house.api.start()
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.SUCCEEDED)


def test_a_finished_output_is_not_trained_again(house):
    house.publish(intent(house.job, steps=3))
    output = house.store / uid_of(house.job)
    output.mkdir(parents=True)
    (output / "DONE").write_text(json.dumps({"attempt": 1}))
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    assert house.ray_job(house.attempt) is None


def test_an_attempt_lost_with_its_runtime_goes_on_from_its_checkpoint(house):
    house.hold(step=5)
    house.publish(intent(house.job, steps=10))
    agent = house.agent()
    house.cycle_until(agent, lambda: is_running(house) and house.reports()[house.attempt].checkpoint)
    os.kill(int(house.starts()[0].split()[1]), signal.SIGKILL)
    drop_from_ray(house, house.attempt)
    house.let_go()
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    assert len(house.starts()) == 2


def test_a_failure_is_reported_in_the_trainings_own_words(house):
    house.publish(intent(house.job, model="unknown/model"))
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.FAILED)
    report = house.reports()[house.attempt]
    assert (report.reason, report.message) == ("UnknownModel", "no model called unknown/model")


def test_a_fenced_attempt_has_stopped_and_not_failed(house):
    output = house.store / uid_of(house.job)
    output.mkdir(parents=True)
    (output / "LEASE").write_text(json.dumps({"attempt": 2, "checkpoints": []}))
    house.publish(intent(house.job))
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.STOPPED)
    assert house.reports()[house.attempt].reason == "Fenced"


def test_nothing_in_a_placement_reaches_a_shell_or_the_hosts_environment(house):
    hostile = "$HOME ${PATH} `id` $(id) ; id"
    house.publish(intent(house.job, steps=1, model="acme/plain"))
    person = house.git.checkout()
    person.edit(house.file, "acme/plain", hostile)
    person.push("Edit a placement by hand")
    house.cycle_until(house.agent(), lambda: house.phase(house.attempt) is Phase.SUCCEEDED)
    config = json.loads((house.store / uid_of(house.job) / "config.json").read_text())
    assert config["model"] == hostile


def test_what_does_not_fit_waits_and_then_runs(house):
    house.hold()
    house.publish(intent(house.job, steps=3, gpus=6), intent("mistral-" + house.job, steps=3, gpus=6))
    agent, second = house.agent(), name_of("mistral-" + house.job)
    house.cycle_until(agent, lambda: second in house.reports())
    waiting = house.reports()[second]
    assert (waiting.phase, waiting.reason) == (Phase.PENDING, "WaitingForGpus")
    assert waiting.message == "sim has 2 of 8 GPUs free, 6 wanted"
    house.let_go()
    house.cycle_until(agent, lambda: house.phase(second) is Phase.SUCCEEDED)
    assert house.phase(house.attempt) is Phase.SUCCEEDED


def test_the_next_attempt_waits_until_the_one_before_it_has_stopped(house):
    house.publish(intent(house.job, steps=600))
    agent = house.agent()
    house.cycle_until(agent, lambda: is_running(house))
    house.publish(removal(house))
    house.publish(intent(house.job, steps=600, attempt=2))
    house.cycle_until(agent, lambda: len(house.starts()) == 2)
    assert house.ray_job(house.attempt)["status"] == "STOPPED"
    house.publish(removal(house))
    house.cycle_until(agent, lambda: house.phase(name_of(house.job, 2)) is Phase.STOPPED)


def test_a_data_class_that_the_admin_did_not_allow_is_refused_for_good(house):
    allowed = house.root / "allowed.yaml"
    allowed.write_text("residency.other: allow\n")
    house.settings["allow_list"] = allowed
    house.publish(intent(house.job))
    agent = house.agent()
    house.cycle_until(agent, lambda: house.phase(house.attempt) is Phase.REFUSED)
    assert house.reports()[house.attempt].reason == "DataClassNotAllowed"
    allowed.write_text("residency.public: allow\n")
    agent.cycle()
    assert house.ray_job(house.attempt) is None


def test_two_agents_of_one_spoke_do_not_run_side_by_side(house):
    house.agent()
    with pytest.raises(MemoryInUseError, match="another agent"):
        house.agent()


def test_a_second_agent_on_another_disk_runs_nothing_twice(house):
    house.publish(intent(house.job, steps=10))
    first = house.agent()
    house.settings["state"] = house.root / "other-state"
    second = house.agent()

    def both():
        second.cycle()
        return house.phase(house.attempt) is Phase.SUCCEEDED

    house.cycle_until(first, both)
    assert len(house.starts()) == 1
