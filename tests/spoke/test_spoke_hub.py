"""What a spoke may do on the hub, how often it writes, and what it does while others are away."""

import shutil
import threading
import time
from datetime import timedelta

import pytest
from played_runtime import PlayedRuntime
from spoke_house import FACTS, SPOKE, intent, name_of, register
from spoke_values import report

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.api.report import Progress
from carbonfleet.fleet import Remove
from carbonfleet.fleet.serving import Adapter, Serving, render_serving
from carbonfleet.kube import Kube, KubeError, ours
from carbonfleet.spoke import HubLink
from carbonfleet.spoke.join import hub_rights
from fixtures.fleet_values import uid_of
from fixtures.kubeapi_server import PATIENCE, eventually


@pytest.fixture
def runtime():
    return PlayedRuntime(SPOKE)


@pytest.fixture
def agent(kube_house, runtime):
    return kube_house.agent(runtime)


def version_of(house, name):
    """Changes with each write."""
    where = ours("trainingreports", f"spoke-{SPOKE}", name)
    return house.kube.get(where)["metadata"]["resourceVersion"]


def step(agent, house, phase):
    house.cycle_until(agent, lambda: house.phase(house.attempt) is phase)


def test_a_spoke_writes_its_own_reports_and_its_own_status_and_nothing_else(kube_house):
    other = "us-oh-1"
    house = kube_house
    assert house.api.kubectl("apply", "-f", "-", stdin=hub_rights(other)).returncode == 0
    facts = FACTS.replace(SPOKE, other)
    register(house.kube, other, facts)
    spoke = Kube.connect(house.hub_kubeconfig)
    HubLink(spoke, SPOKE).write("an-attempt", report(Phase.RUNNING))
    forbidden = [
        lambda: HubLink(spoke, other).write("an-attempt", report(Phase.RUNNING)),
        lambda: spoke.list(ours("trainingreports", f"spoke-{other}")),
        lambda: spoke.patch(ours("spokeclusters", "", other, "status"), {"status": {}}),
        lambda: spoke.patch(ours("spokeclusters", "", SPOKE), {"spec": {"pue": 1.0}}),
        lambda: spoke.delete(ours("spokeclusters", "", SPOKE)),
        lambda: spoke.list(ours("carbontrainingjobs")),
        lambda: spoke.create(ours("carbontrainingjobs", "ml"), {}),
        lambda: spoke.list("/api/v1/secrets"),
        lambda: spoke.list("/api/v1/namespaces"),
    ]
    for call in forbidden:
        with pytest.raises(KubeError) as caught:
            call()
        assert caught.value.status == 403


def test_a_report_loses_what_is_no_longer_so(kube_house):
    link = HubLink(Kube.connect(kube_house.hub_kubeconfig), SPOKE)
    name = name_of(kube_house.job)
    link.write(name, report(Phase.RUNNING, "Busy", progress=Progress(step=3, train_loss=1.5)))
    link.write(name, report(Phase.PENDING))
    assert kube_house.reports()[name] == report(Phase.PENDING)
    assert link.reports()[name] == report(Phase.PENDING)


def test_a_report_is_written_when_it_is_news_and_not_again(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    before = version_of(house, house.attempt)
    for _ in range(20):
        agent.cycle()
    assert version_of(house, house.attempt) == before


def test_progress_is_written_every_few_seconds_and_a_phase_at_once(kube_house, runtime):
    house = kube_house
    house.settings["progress_seconds"] = 3600
    agent = house.agent(runtime)
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    before = version_of(house, house.attempt)
    runtime.progress[house.attempt] = Progress(step=7)
    agent.cycle()
    assert version_of(house, house.attempt) == before
    runtime.phase[house.attempt] = Phase.SUCCEEDED
    agent.cycle()
    last = house.reports()[house.attempt]
    assert (last.phase, last.progress) == (Phase.SUCCEEDED, Progress(step=7))


def test_sequences_rise_within_a_boot(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    seen = []
    for phase in (Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED):
        runtime.phase[house.attempt] = phase
        step(agent, house, phase)
        seen.append(house.reports()[house.attempt])
    assert len({one.boot_id for one in seen}) == 1
    assert [one.sequence for one in seen] == sorted({one.sequence for one in seen})


@pytest.mark.parametrize(("least_seconds", "goes_on"), [(0.01, True), (60, False)])
def test_the_heartbeat_goes_on_by_the_houses_clock_but_never_in_a_rush(kube_house, runtime, least_seconds, goes_on):
    """An hour in a second: the house's minute passes at once, and then real time decides."""
    house = kube_house
    house.clock = type(house.clock).starting_at(house.clock.now(), 3600)
    house.settings["heartbeat_least_seconds"] = least_seconds
    agent = house.agent(runtime)
    house.cycle_until(agent, lambda: house.spoke().status.synced_commit == house.repository.fetch().commit)
    for _ in range(3):
        before, at = house.spoke().status.heartbeat_time, house.clock.now()
        eventually(lambda at=at: house.clock.now() > at + timedelta(minutes=2))
        agent.cycle()
        assert (house.spoke().status.heartbeat_time > before) == goes_on


def test_a_hub_that_is_away_hears_the_latest_when_it_is_back(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    house.api.stop()
    try:
        for number in range(30):
            runtime.progress[house.attempt] = Progress(step=number)
            agent.cycle()
        runtime.phase[house.attempt] = Phase.SUCCEEDED
        agent.cycle()
    finally:
        house.api.start()
    step(agent, house, Phase.SUCCEEDED)
    assert house.reports()[house.attempt].progress.step == 29


def test_what_the_hub_forgot_is_told_again(kube_house, agent, runtime):
    house = kube_house
    house.settings["resync_seconds"] = 1
    agent.close()
    house.agents.clear()
    agent = house.agent(runtime)
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.SUCCEEDED
    step(agent, house, Phase.SUCCEEDED)
    house.kube.delete(ours("trainingreports", f"spoke-{SPOKE}", house.attempt))
    step(agent, house, Phase.SUCCEEDED)
    house.publish(Remove(house.repository.fetch().placements[uid_of(house.job)], "over", finished=True))
    house.cycle_until(agent, lambda: house.spoke().status.synced_commit == house.repository.fetch().commit)
    house.kube.delete(ours("trainingreports", f"spoke-{SPOKE}", house.attempt))
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        agent.cycle()
    assert house.attempt not in house.reports()


def test_a_runtime_that_is_away_makes_attempts_unknown_and_never_failed(kube_house, runtime):
    house = kube_house
    house.settings["unknown_after_seconds"] = 0.3
    agent = house.agent(runtime)
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    runtime.is_away = True
    step(agent, house, Phase.UNKNOWN)
    assert house.reports()[house.attempt].reason == "RuntimeUnreachable"
    house.cycle_until(agent, lambda: "the runtime is away" in house.spoke().status.problems)
    assert house.spoke().status.pools[0].free_gpus == 0
    tries, began = runtime.asked, time.monotonic()
    while (waited := time.monotonic() - began) < 1:
        agent.cycle()
    assert runtime.asked - tries <= 3 * max(1, waited)
    runtime.is_away = False
    step(agent, house, Phase.RUNNING)


def test_while_git_is_away_what_runs_goes_on_and_is_reported(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    house.git.stop()
    house.cycle_until(agent, lambda: house.spoke().status.problems)
    runtime.phase[house.attempt] = Phase.SUCCEEDED
    step(agent, house, Phase.SUCCEEDED)
    house.git.start()
    house.cycle_until(agent, lambda: not house.spoke().status.problems)


def test_one_report_that_the_hub_will_not_take_holds_up_no_other(kube_house, agent, runtime):
    house = kube_house
    first, second = name_of(house.job), name_of("zz-" + house.job)
    foreign = report(Phase.RUNNING)  # an older placement's, under the same name
    HubLink(Kube.connect(house.hub_kubeconfig), SPOKE).write(first, foreign)
    house.publish(intent(house.job), intent("zz-" + house.job))
    runtime.phase |= {first: Phase.RUNNING, second: Phase.RUNNING}
    house.cycle_until(agent, lambda: house.phase(second) is Phase.RUNNING)
    house.cycle_until(agent, lambda: any(first in p for p in house.spoke().status.problems))


def test_memory_that_can_not_be_read_is_set_aside(kube_house, runtime):
    house = kube_house
    state = house.agent_settings().state
    state.mkdir()
    (state / "attempts.json").write_text("{ not json")
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(house.agent(runtime), house, Phase.RUNNING)
    assert (state / "attempts.broken").exists()


def test_an_agent_that_cannot_write_tells_the_hub_and_starts_nothing_new_until_it_can(kube_house, runtime):
    house = kube_house
    agent, second = house.agent(runtime), name_of("zz-" + house.job)
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    in_the_way = house.agent_settings().state / "attempts.new"
    in_the_way.mkdir()
    runtime.phase[house.attempt] = Phase.SUCCEEDED
    step(agent, house, Phase.SUCCEEDED)
    house.publish(intent("zz-" + house.job))
    house.cycle_until(agent, lambda: second in house.reports(), 20)
    assert house.reports()[second].reason == "StateNotWritable"
    assert second not in runtime.started
    house.cycle_until(agent, lambda: any("attempts.json: Is a directory" in p for p in house.spoke().status.problems))
    in_the_way.rmdir()
    house.cycle_until(agent, lambda: second in runtime.started, 20)
    house.cycle_until(agent, lambda: house.spoke().status.problems == (), 20)


def test_gpus_that_serve_adapters_are_not_free(kube_house, agent, runtime):
    house = kube_house
    person = house.git.checkout()
    adapters = (Adapter("best", "/checkpoints/best", 16),)
    residency = ResidencyRequest(data_class="public")
    serving = Serving("best", "ml", SPOKE, "sim", "acme/base", adapters, residency, "acme/lora:1", gpus=7)
    file = person.pull() / serving.path
    file.parent.mkdir(parents=True)
    file.write_bytes(render_serving(serving))
    person.push("Serve the best")
    house.publish(intent(house.job))
    house.cycle_until(agent, lambda: house.attempt in house.reports(), 20)
    waiting = house.reports()[house.attempt]
    assert (waiting.reason, waiting.message) == ("WaitingForGpus", "sim has 1 of 8 GPUs free, 2 wanted")
    house.cycle_until(agent, lambda: house.spoke().status.free == "1/8 sim", 20)
    (person.pull() / serving.path).unlink()
    person.push("Serve no more")
    house.cycle_until(agent, lambda: house.attempt in runtime.started, 20)


def test_a_file_of_what_is_served_that_can_not_be_read_is_a_problem(kube_house, agent):
    house = kube_house
    person = house.git.checkout()
    file = person.pull() / f"serving/{SPOKE}/ml/best.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("{ not: [a, deployment")
    person.push("Serve something")
    house.cycle_until(agent, lambda: house.spoke().status.problems, 20)
    assert "best.yaml:2: not YAML" in house.spoke().status.problems[0]


def test_a_pass_that_fails_does_not_end_the_agent(kube_house, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    runtime.surprises = 3
    agent, stop = house.agent(runtime), threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    eventually(lambda: house.phase(house.attempt) is Phase.RUNNING)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    house.agents.clear()


def test_a_broken_file_stops_nothing_and_is_a_problem(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    person = house.git.checkout()
    (person.pull() / house.file).write_text("{ not: [a, placement")
    person.push("Break a placement")
    house.cycle_until(agent, lambda: house.spoke().status.problems)
    assert house.file in house.spoke().status.problems[0]
    assert runtime.phase[house.attempt] is Phase.RUNNING
    runtime.phase[house.attempt] = Phase.SUCCEEDED
    step(agent, house, Phase.SUCCEEDED)


def test_a_folder_that_is_gone_as_a_whole_prunes_nothing(kube_house, agent, runtime):
    house = kube_house
    house.publish(intent(house.job))
    runtime.phase[house.attempt] = Phase.RUNNING
    step(agent, house, Phase.RUNNING)
    person = house.git.checkout()
    shutil.rmtree(person.pull() / f"clusters/{SPOKE}")
    person.push("Remove everything")
    house.cycle_until(agent, lambda: any("is missing" in p for p in house.spoke().status.problems))
    assert runtime.phase[house.attempt] is Phase.RUNNING
