"""A spoke's name is one agent's: another waits and does nothing, and a restarted one goes on at once."""

import gc
import re
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, forget_holder, intent, name_of
from typer.testing import CliRunner

from carbonfleet.api.report import AttemptPhase
from carbonfleet.cli import app
from carbonfleet.clock import Clock
from carbonfleet.kube import Kube
from carbonfleet.spoke import HubLink
from carbonfleet.spoke.report.name_lease import Identity, NameLease
from fixtures.kubeapi_server import eventually


@pytest.fixture
def quick(bare_stack):
    """A stack whose agents beat many times a second, and give up the name after one."""
    bare_stack.clock = Clock.starting_at(bare_stack.clock.now(), 20)
    bare_stack.settings = {
        "heartbeat_seconds": 1,
        "heartbeat_least_seconds": 0.05,
        "lease_seconds": 1,
        "poll_seconds": 0.05,
    }
    return bare_stack


def agent_of(stack, state):
    """An agent of this stack on a state folder, with a runtime of its own."""
    runtime = SimulatedRuntime(SPOKE)
    stack.settings["state"] = stack.root / state
    agent = stack.agent(runtime)
    return SimpleNamespace(agent=agent, cycle=agent.cycle, runtime=runtime, started=runtime.started)


def holder(stack):
    return stack.spoke().status.holder_identity


def cycle_until(stack, one, what, seconds=30):
    stack.cycle_until(one.agent, what, seconds)


def test_a_restarted_agent_goes_on_at_once(bare_stack):
    stack = bare_stack
    first = agent_of(stack, "state")
    cycle_until(stack, first, lambda: holder(stack))
    before = holder(stack)
    first.agent.close()
    stack.agents.clear()
    del first
    gc.collect()  # and with it, as with its process, goes its hold of the clone
    again = agent_of(stack, "state")
    again.cycle()
    assert holder(stack) not in ("", before)
    stack.publish(intent(stack.job))
    cycle_until(stack, again, lambda: stack.attempt in again.started)


def test_of_agents_that_ask_in_one_moment_one_gets_the_name(bare_stack, tmp_path):
    kube, count = Kube.connect(bare_stack.hub_kubeconfig), 8
    for number in range(10):
        forget_holder(bare_stack.kube)
        leases = [NameLease(HubLink(kube, SPOKE), Identity(tmp_path / f"{number}-{n}"), 300) for n in range(count)]
        barrier, got = threading.Barrier(count), []

        def ask(lease, barrier=barrier, got=got):
            barrier.wait(30)
            if lease.claim(bare_stack.clock.now()):
                got.append(lease.identity.current)

        asking = [threading.Thread(target=ask, args=(lease,)) for lease in leases]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
        assert got == [holder(bare_stack)]
        assert [lease.problem for lease in leases if lease.identity.current in got] == [""]
        assert all(lease.problem for lease in leases if lease.identity.current not in got)


def take_over(stack):
    command = ["spoke", "take-over", SPOKE, "--yes", "--kubeconfig", str(stack.api.kubeconfig)]
    return CliRunner().invoke(app, command)


def test_however_long_its_holder_is_silent_a_name_is_no_other_s_until_a_person_gives_it_on(quick):
    """The first machine may be cut off from the hub alone, and train on."""
    first, second = agent_of(quick, "state-1"), agent_of(quick, "state-2")
    quick.publish(intent(quick.job))
    cycle_until(quick, first, lambda: quick.attempt in first.started)
    silent_since = time.monotonic()
    cycle_until(quick, second, lambda: time.monotonic() - silent_since > 3 * quick.settings["lease_seconds"])
    assert not second.started
    assert f"carbonfleet spoke take-over {SPOKE}" in second.agent.probe().message
    assert take_over(quick).exit_code == 0
    cycle_until(quick, second, lambda: second.started)
    assert list(second.started) == [quick.attempt]


def test_a_name_is_not_given_on_while_its_holder_is_heard(quick):
    first, stop = agent_of(quick, "state-1"), threading.Event()
    cycle_until(quick, first, lambda: holder(quick))
    before = holder(quick)
    beating = threading.Thread(target=first.agent.run, args=(stop,))
    beating.start()
    try:
        done = take_over(quick)
    finally:
        stop.set()
        beating.join(60)
    assert (done.exit_code, holder(quick)) == (2, before)
    assert f"error: {before} was heard meanwhile: stop it first" in done.output


def test_a_name_that_nobody_holds_needs_no_taking_over(quick):
    forget_holder(quick.kube)
    done = take_over(quick)
    assert (done.exit_code, done.output) == (
        2,
        f"error: no agent holds the name {SPOKE}: the next one takes it by itself\n",
    )


def test_an_agent_that_lost_the_name_starts_and_reports_nothing(quick):
    first, second = agent_of(quick, "state-1"), agent_of(quick, "state-2")
    cycle_until(quick, first, lambda: holder(quick))
    before = holder(quick)
    assert take_over(quick).exit_code == 0
    cycle_until(quick, second, lambda: holder(quick) not in ("", before))
    quick.publish(intent(quick.job), intent(f"{quick.job}-b", gpus=1))
    cycle_until(quick, second, lambda: len(second.started) == 2)
    second.runtime.phase[quick.attempt] = AttemptPhase.RUNNING
    cycle_until(quick, second, lambda: quick.phase(quick.attempt) is AttemptPhase.RUNNING)
    for _ in range(20):
        second.cycle()
        first.cycle()
    assert not first.started
    assert quick.phase(quick.attempt) is AttemptPhase.RUNNING
    assert "holds the name" in first.agent.probe().message
    cycle_until(quick, second, lambda: first.cycle() or "wants the name" in " ".join(quick.spoke().status.problems))


COPIES = {
    "copied": lambda source, to: shutil.copytree(source, to, ignore=shutil.ignore_patterns("lock", "fleet.git*")),
    "archived": lambda source, to: subprocess.run(["cp", "--archive", str(source), str(to)], check=True),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_state_folder_holds_no_name_until_a_person_gives_it_on(quick, copy):
    first = agent_of(quick, "state")
    cycle_until(quick, first, lambda: holder(quick))
    before = holder(quick)
    copy(quick.root / "state", quick.root / "copy")
    for said in (" on a copy of its state folder", ""):  # a second start of the copy may no more than the first
        copied = agent_of(quick, "copy")
        quick.publish(intent(quick.job))
        cycle_until(quick, first, lambda copied=copied: copied.cycle() or quick.attempt in first.started)
        assert f"{said} does nothing: stop one of the two" in copied.agent.probe().message
        assert (holder(quick), list(copied.started)) == (before, [])
        copied.agent.close()
        quick.agents.remove(copied.agent)
        del copied
        gc.collect()
    assert take_over(quick).exit_code == 0
    later = agent_of(quick, "copy")
    quick.publish(intent(f"{quick.job}-b", gpus=1))
    cycle_until(quick, later, lambda: later.started)
    assert holder(quick) != before


def restarted_machine(state):
    """As it is when the machine, or another with the same disk, has started since the agent did."""
    file = state / "identity"
    file.write_text(re.sub("boot:[0-9a-f-]+", "boot:00000000-0000-0000-0000-000000000000", file.read_text()))


def test_a_clone_of_a_whole_disk_is_refused_while_the_first_is_heard(quick):
    first = agent_of(quick, "state")
    cycle_until(quick, first, lambda: holder(quick))
    before = holder(quick)
    identity = quick.root / "state" / "identity"
    restarted_machine(quick.root / "state")
    clone = NameLease(HubLink(Kube.connect(quick.hub_kubeconfig), SPOKE), Identity(identity), 1)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        first.cycle()
        assert not clone.claim(quick.clock.now())
        time.sleep(0.05)  # between two looks
    assert (holder(quick), clone.is_refused) == (before, True)
    assert f"{before} ran from this state folder before the machine was started again" in clone.problem
    eventually(lambda: clone.claim(quick.clock.now()), 60)
    assert holder(quick) == clone.identity.current
    again = Identity(identity)
    assert (again.rebooted, again.owns(clone.identity.current)) == (False, True)


def test_a_holder_that_the_hub_has_not_answered_for_most_of_its_lease_starts_nothing(quick):
    one, later = agent_of(quick, "state"), f"{quick.job}-later"
    quick.publish(intent(quick.job))
    cycle_until(quick, one, lambda: quick.attempt in one.started)
    quick.api.stop()
    try:
        eventually(lambda: one.cycle() or one.agent._queue.lease.problem)
        quick.publish(intent(later, gpus=1))
        for _ in range(10):
            one.cycle()
        assert list(one.started) == [quick.attempt]
    finally:
        quick.api.start()
    cycle_until(quick, one, lambda: name_of(later) in one.started)


@pytest.mark.parametrize("said", [{"holderIdentity": ""}, {"holderIdentity": None, "leaseDurationSeconds": None}, None])
def test_a_name_that_nobody_holds_any_more_is_held_again(quick, said):
    one = agent_of(quick, "state")
    cycle_until(quick, one, lambda: holder(quick))
    quick.kube.patch(f"/apis/carbonfleet.dev/v1alpha1/spokeclusters/{SPOKE}/status", {"status": said})
    cycle_until(quick, one, lambda: holder(quick))
    quick.publish(intent(quick.job))
    cycle_until(quick, one, lambda: quick.attempt in one.started)


def test_a_state_folder_that_holds_nonsense_is_another_agent_s(bare_stack, tmp_path):
    file = tmp_path / "identity"
    file.write_bytes(b"\xff\x00 a b\n" * 1000)
    identity = Identity(file)
    assert not identity.owns("")
    identity.confirm()
    assert re.fullmatch(rf"{identity.current}\nplace:[0-9a-f.]+\nboot:[0-9a-f-]+", file.read_text())
