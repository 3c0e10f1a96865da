"""What a spoke may do on the hub, how often it writes, and what it does while others are away."""

import shutil
import threading
import time
from datetime import timedelta

import pytest
from simulated_runtime import SimulatedRuntime
from spoke_stack import FACTS, SPOKE, intent, name_of, register
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
    return SimulatedRuntime(SPOKE)


@pytest.fixture
def agent(bare_stack, runtime):
    return bare_stack.agent(runtime)


def version_of(stack, name):
    """Changes with each write."""
    where = ours("trainingreports", f"spoke-{SPOKE}", name)
    return stack.kube.get(where)["metadata"]["resourceVersion"]


def step(agent, stack, phase):
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is phase)


def test_a_spoke_writes_its_own_reports_and_its_own_status_and_nothing_else(bare_stack):
    other = "us-oh-1"
    stack = bare_stack
    assert stack.api.kubectl("apply", "-f", "-", stdin=hub_rights(other)).returncode == 0
    facts = FACTS.replace(SPOKE, other)
    register(stack.kube, other, facts)
    spoke = Kube.connect(stack.hub_kubeconfig)
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


def test_a_report_loses_what_is_no_longer_so(bare_stack):
    link = HubLink(Kube.connect(bare_stack.hub_kubeconfig), SPOKE)
    name = name_of(bare_stack.job)
    link.write(name, report(Phase.RUNNING, "Busy", progress=Progress(step=3, train_loss=1.5)))
    link.write(name, report(Phase.PENDING))
    assert bare_stack.reports()[name] == report(Phase.PENDING)
    assert link.reports()[name] == report(Phase.PENDING)


def test_a_report_is_written_when_it_is_news_and_not_again(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    before = version_of(stack, stack.attempt)
    for _ in range(20):
        agent.cycle()
    assert version_of(stack, stack.attempt) == before


def test_progress_is_written_every_few_seconds_and_a_phase_at_once(bare_stack, runtime):
    stack = bare_stack
    stack.settings["progress_seconds"] = 3600
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    before = version_of(stack, stack.attempt)
    runtime.progress[stack.attempt] = Progress(step=7)
    agent.cycle()
    assert version_of(stack, stack.attempt) == before
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    agent.cycle()
    last = stack.reports()[stack.attempt]
    assert (last.phase, last.progress) == (Phase.SUCCEEDED, Progress(step=7))


def test_sequences_rise_within_a_boot(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    seen = []
    for phase in (Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED):
        runtime.phase[stack.attempt] = phase
        step(agent, stack, phase)
        seen.append(stack.reports()[stack.attempt])
    assert len({one.boot_id for one in seen}) == 1
    assert [one.sequence for one in seen] == sorted({one.sequence for one in seen})


@pytest.mark.parametrize(("least_seconds", "goes_on"), [(0.01, True), (60, False)])
def test_the_heartbeat_goes_on_by_the_stacks_clock_but_never_in_a_rush(bare_stack, runtime, least_seconds, goes_on):
    """An hour in a second: the stack's minute passes at once, and then real time decides."""
    stack = bare_stack
    stack.clock = type(stack.clock).starting_at(stack.clock.now(), 3600)
    stack.settings["heartbeat_least_seconds"] = least_seconds
    agent = stack.agent(runtime)
    stack.cycle_until(agent, lambda: stack.spoke().status.synced_commit == stack.repository.fetch().commit)
    for _ in range(3):
        before, at = stack.spoke().status.heartbeat_time, stack.clock.now()
        eventually(lambda at=at: stack.clock.now() > at + timedelta(minutes=2))
        agent.cycle()
        assert (stack.spoke().status.heartbeat_time > before) == goes_on


def test_a_hub_that_is_away_hears_the_latest_when_it_is_back(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    stack.api.stop()
    try:
        for number in range(30):
            runtime.progress[stack.attempt] = Progress(step=number)
            agent.cycle()
        runtime.phase[stack.attempt] = Phase.SUCCEEDED
        agent.cycle()
    finally:
        stack.api.start()
    step(agent, stack, Phase.SUCCEEDED)
    assert stack.reports()[stack.attempt].progress.step == 29


def test_what_the_hub_forgot_is_told_again(bare_stack, agent, runtime):
    stack = bare_stack
    stack.settings["resync_seconds"] = 1
    agent.close()
    stack.agents.clear()
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    step(agent, stack, Phase.SUCCEEDED)
    stack.kube.delete(ours("trainingreports", f"spoke-{SPOKE}", stack.attempt))
    step(agent, stack, Phase.SUCCEEDED)
    stack.publish(Remove(stack.repository.fetch().placements[uid_of(stack.job)], "over", finished=True))
    stack.cycle_until(agent, lambda: stack.spoke().status.synced_commit == stack.repository.fetch().commit)
    stack.kube.delete(ours("trainingreports", f"spoke-{SPOKE}", stack.attempt))
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        agent.cycle()
    assert stack.attempt not in stack.reports()


def test_a_runtime_that_is_away_makes_attempts_unknown_and_never_failed(bare_stack, runtime):
    stack = bare_stack
    stack.settings["unknown_after_seconds"] = 0.3
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    runtime.is_away = True
    step(agent, stack, Phase.UNKNOWN)
    assert stack.reports()[stack.attempt].reason == "RuntimeUnreachable"
    stack.cycle_until(agent, lambda: "the runtime is away" in stack.spoke().status.problems)
    assert stack.spoke().status.pools[0].free_gpus == 0
    assert stack.spoke().status.runtime_problem == "the runtime is away"
    tries, began = runtime.asked, time.monotonic()
    while (waited := time.monotonic() - began) < 1:
        agent.cycle()
    assert runtime.asked - tries <= 3 * max(1, waited)
    runtime.is_away = False
    step(agent, stack, Phase.RUNNING)
    stack.cycle_until(agent, lambda: not stack.spoke().status.runtime_problem)


def test_while_git_is_away_what_runs_goes_on_and_is_reported(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    stack.git.stop()
    stack.cycle_until(agent, lambda: stack.spoke().status.problems)
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    step(agent, stack, Phase.SUCCEEDED)
    stack.git.start()
    stack.cycle_until(agent, lambda: not stack.spoke().status.problems)


def test_one_report_that_the_hub_will_not_take_holds_up_no_other(bare_stack, agent, runtime):
    stack = bare_stack
    first, second = name_of(stack.job), name_of("zz-" + stack.job)
    foreign = report(Phase.RUNNING)  # an older placement's, under the same name
    HubLink(Kube.connect(stack.hub_kubeconfig), SPOKE).write(first, foreign)
    stack.publish(intent(stack.job), intent("zz-" + stack.job))
    runtime.phase |= {first: Phase.RUNNING, second: Phase.RUNNING}
    stack.cycle_until(agent, lambda: stack.phase(second) is Phase.RUNNING)
    stack.cycle_until(agent, lambda: any(first in p for p in stack.spoke().status.problems))


def test_memory_that_can_not_be_read_is_set_aside(bare_stack, runtime):
    stack = bare_stack
    state = stack.agent_settings().state
    state.mkdir()
    (state / "attempts.json").write_text("{ not json")
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(stack.agent(runtime), stack, Phase.RUNNING)
    assert (state / "attempts.broken").exists()


def test_an_agent_that_cannot_write_tells_the_hub_and_starts_nothing_new_until_it_can(bare_stack, runtime):
    stack = bare_stack
    agent, second = stack.agent(runtime), name_of("zz-" + stack.job)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    in_the_way = stack.agent_settings().state / "attempts.new"
    in_the_way.mkdir()
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    step(agent, stack, Phase.SUCCEEDED)
    stack.publish(intent("zz-" + stack.job))
    stack.cycle_until(agent, lambda: second in stack.reports(), 20)
    assert stack.reports()[second].reason == "StateNotWritable"
    assert second not in runtime.started
    stack.cycle_until(agent, lambda: any("attempts.json: Is a directory" in p for p in stack.spoke().status.problems))
    in_the_way.rmdir()
    stack.cycle_until(agent, lambda: second in runtime.started, 20)
    stack.cycle_until(agent, lambda: stack.spoke().status.problems == (), 20)


def test_gpus_that_serve_adapters_are_not_free(bare_stack, agent, runtime):
    stack = bare_stack
    person = stack.git.checkout()
    adapters = (Adapter("best", "/checkpoints/best", 16),)
    residency = ResidencyRequest(data_class="public")
    serving = Serving("best", "ml", SPOKE, "sim", "acme/base", adapters, residency, "acme/lora:1", gpus=7)
    file = person.pull() / serving.path
    file.parent.mkdir(parents=True)
    file.write_bytes(render_serving(serving))
    person.push("Serve the best")
    stack.publish(intent(stack.job))
    stack.cycle_until(agent, lambda: stack.attempt in stack.reports(), 20)
    waiting = stack.reports()[stack.attempt]
    assert (waiting.reason, waiting.message) == ("WaitingForGpus", "sim has 1 of 8 GPUs free, 2 wanted")
    stack.cycle_until(agent, lambda: stack.spoke().status.free == "1/8 sim", 20)
    (person.pull() / serving.path).unlink()
    person.push("Serve no more")
    stack.cycle_until(agent, lambda: stack.attempt in runtime.started, 20)


def test_a_file_of_what_is_served_that_can_not_be_read_is_a_problem(bare_stack, agent):
    stack = bare_stack
    person = stack.git.checkout()
    file = person.pull() / f"serving/{SPOKE}/ml/best.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("{ not: [a, deployment")
    person.push("Serve something")
    stack.cycle_until(agent, lambda: stack.spoke().status.problems, 20)
    assert "best.yaml:2: not YAML" in stack.spoke().status.problems[0]


def test_a_pass_that_fails_does_not_end_the_agent(bare_stack, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    runtime.surprises = 3
    agent, stop = stack.agent(runtime), threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    eventually(lambda: stack.phase(stack.attempt) is Phase.RUNNING)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    stack.agents.clear()


def test_a_broken_file_stops_nothing_and_is_a_problem(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    person = stack.git.checkout()
    (person.pull() / stack.file).write_text("{ not: [a, placement")
    person.push("Break a placement")
    stack.cycle_until(agent, lambda: stack.spoke().status.problems)
    assert stack.file in stack.spoke().status.problems[0]
    assert runtime.phase[stack.attempt] is Phase.RUNNING
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    step(agent, stack, Phase.SUCCEEDED)


def test_while_a_file_that_nobody_reads_lies_among_placements_nothing_begins_and_what_runs_goes_on(
    bare_stack, agent, runtime
):
    stack, later = bare_stack, name_of("later")
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    stack.publish(intent("later"))
    person, stray = stack.git.checkout(), f"clusters/{SPOKE}/jobs/ml/later.yml"
    (person.pull() / stray).write_text("suspend: true")
    person.push("Hold it")
    stack.cycle_until(agent, lambda: later in stack.reports(), 20)
    waits = stack.reports()[later]
    assert (waits.phase, waits.reason) == (Phase.PENDING, "FilesUnreadable")
    assert f"until this file is mended or taken away: {stray}:1: " in waits.message
    stack.cycle_until(agent, lambda: any(stray in problem for problem in stack.spoke().status.problems), 20)
    assert (later in runtime.started, stack.phase(stack.attempt)) == (False, Phase.RUNNING)
    (person.pull() / stray).unlink()
    person.push("Let it go")
    stack.cycle_until(agent, lambda: later in runtime.started, 20)


def test_a_folder_that_is_gone_as_a_whole_prunes_nothing(bare_stack, agent, runtime):
    stack = bare_stack
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    step(agent, stack, Phase.RUNNING)
    person = stack.git.checkout()
    shutil.rmtree(person.pull() / f"clusters/{SPOKE}")
    person.push("Remove everything")
    stack.cycle_until(agent, lambda: any("is missing" in p for p in stack.spoke().status.problems))
    assert runtime.phase[stack.attempt] is Phase.RUNNING
