"""The Git server, the API and its watches away for a while: nothing lost, no hot loop."""

import re
import signal
import subprocess
import time
from datetime import timedelta

import psutil
import pytest
import requests

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import KubeError, ours, path
from carbonfleet.local.ports import free_port
from fixtures.hub_process import begin, clock_of, condition, open_hub_stack
from fixtures.kubeapi_server import eventually
from fixtures.tcp_proxy import TcpProxy
from kubeapi import write_kubeconfig


def cpu_seconds(pid: int) -> float:
    """What a process has used, its children too."""
    process = psutil.Process(pid)
    return sum(t.user + t.system for t in (p.cpu_times() for p in [process, *process.children(recursive=True)]))


def test_the_git_server_is_down_for_a_while_and_everything_is_delivered_after(stack):
    begin(stack)
    stack.submit("running", "hold")
    stack.wait("running", Phase.RUNNING)
    stack.git.stop()
    stack.submit("meanwhile")
    job = stack.wait_reason("meanwhile", "Committed", "RepositoryUnreachable")
    assert "can't be reached" in condition(job, "Committed").message
    stack.spokes.finish("running")
    stack.wait("running", Phase.SUCCEEDED)
    stack.kube.delete(ours("carbontrainingjobs", stack.namespace, "running"))
    used, began = cpu_seconds(stack.hubs[0].pid), time.monotonic()
    commits = stack.git.commits()
    time.sleep(3)  # an outage lasts
    assert (cpu_seconds(stack.hubs[0].pid) - used) / (time.monotonic() - began) < 0.25
    assert stack.git.commits() == commits
    assert stack.body("running") is not None
    stack.git.start()
    stack.wait("meanwhile", Phase.SUCCEEDED)
    stack.assert_run_once("meanwhile")
    stack.wait_gone("running")
    assert stack.changes("running") == ["place 1", "remove 1"]
    assert condition(stack.job("meanwhile"), "Committed").reason == "Pushed"


@pytest.fixture
def frozen():
    """Takes away the right to write to a folder, all that is open there too; root is not spared."""
    folders = []

    def freeze(folder):
        done = subprocess.run(["chattr", "-R", "+i", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"makes files immutable: {done.stderr}")
        folders.append(folder)

    def thaw():
        for folder in folders:
            subprocess.run(["chattr", "-R", "-i", str(folder)], check=True)
        folders.clear()

    freeze.thaw = thaw
    yield freeze
    thaw()


def test_a_hub_whose_state_folder_can_not_be_written_says_so_and_goes_on_by_itself(stack, frozen):
    url = f"http://127.0.0.1:{free_port()}/healthz"
    hub = stack.add_hub("hub", "--liveness", url)
    begin(stack)
    stack.submit("running", "hold")
    stack.wait("running", Phase.RUNNING)
    pid = hub.pid
    frozen(stack.state)
    stack.submit("meanwhile")
    job = stack.wait_reason("meanwhile", "Committed", "StateNotWritable")
    assert "Operation not permitted. See that its disk has room and is ours" in condition(job, "Committed").message
    assert job.status.candidates
    stack.spokes.finish("running")
    assert (
        "see that the ledger can be written"
        in condition(stack.wait_reason("running", "Committed", "NotAccounted"), "Committed").message
    )
    eventually(lambda: "Leading: as hub; StateNotWritable: the clone in" in requests.get(url, timeout=60).text)
    assert requests.get(url, timeout=60).status_code == 200
    assert "StateNotWritable: the clone in" in stack.log()
    frozen.thaw()
    stack.wait("meanwhile", Phase.SUCCEEDED)
    stack.wait("running", Phase.SUCCEEDED)
    assert hub.pid == pid
    for name in ("meanwhile", "running"):
        stack.assert_run_once(name)
        assert len(stack.accounts(name)) == 1
    eventually(lambda: "StateNotWritable" not in requests.get(url, timeout=60).text)


def test_the_api_server_is_killed_and_comes_back(own_stack, own_api):
    stack = own_stack
    begin(stack)
    stack.submit("before", "hold")
    stack.wait("before", Phase.RUNNING)
    pid = stack.hubs[0].pid
    own_api.kill()
    stack.spokes.finish("before")
    used, began = cpu_seconds(pid), time.monotonic()
    time.sleep(2)  # an outage lasts
    assert (cpu_seconds(pid) - used) / (time.monotonic() - began) < 0.5
    own_api.start()
    stack.wait("before", Phase.SUCCEEDED)
    stack.submit("after")
    stack.wait("after", Phase.SUCCEEDED)
    stack.assert_run_once("before")
    stack.assert_run_once("after")
    assert stack.hubs[0].pid == pid
    assert stack.hubs[0].is_alive


def test_a_token_that_is_replaced_and_watches_that_are_too_old_lose_nothing(own_stack, own_api):
    """The API comes back without the events from before, as after a compaction, and takes another token alone."""
    stack = own_stack
    begin(stack)
    stack.submit("before", "hold")
    stack.wait("before", Phase.RUNNING)
    pid = stack.hubs[0].pid
    own_api.stop()
    own_api.token = "another-admin-token-for-tests"
    own_api.start()  # which writes the kubeconfig anew
    stack.spokes.finish("before")
    eventually(lambda: _is_known(stack))
    stack.submit("after")
    stack.wait("before", Phase.SUCCEEDED)
    stack.wait("after", Phase.SUCCEEDED)
    stack.assert_run_once("before")
    stack.assert_run_once("after")
    assert (stack.hubs[0].pid, stack.hubs[0].is_alive) == (pid, True)


def _is_known(stack):
    """Whether the test's own connection has read the new token."""
    try:
        return stack.body("before")
    except KubeError:
        return None


def test_watches_that_break_lose_nothing(own_api, tmp_path):
    proxy = TcpProxy(own_api.port)
    proxy.start()
    stack = open_hub_stack(tmp_path / "stack", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    stack.add_hub("hub", "--kubeconfig", str(through))
    try:
        begin(stack)
        for number in range(4):
            stack.submit(f"cut-{number}", ("succeed", "stop-first")[number % 2])
            proxy.cut()
        for number in range(4):
            stack.wait(f"cut-{number}", Phase.SUCCEEDED)
        proxy.is_silent = True
        stack.submit("unheard")
        time.sleep(2)  # nobody answers, and nobody hangs up
        proxy.is_silent = False
        proxy.cut()
        stack.wait("unheard", Phase.SUCCEEDED)
        for name in ("cut-0", "cut-2", "unheard"):
            stack.assert_run_once(name)
    finally:
        stack.close()
        stack.git.stop()
        proxy.close()


@pytest.mark.speed(1.0)
def test_an_idle_fleet_with_waiting_jobs_writes_nothing_and_asks_little(own_api, tmp_path):
    proxy = TcpProxy(own_api.port)
    proxy.start()
    stack = open_hub_stack(tmp_path / "stack", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    stack.add_hub("hub", "--kubeconfig", str(through))
    try:
        begin(stack)
        start = f"{stack.clock.now() + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
        for number in range(20):
            stack.submit(f"idle-{number}", schedule={"maxDelay": "0s", "earliestStart": start})
        for number in range(20):
            stack.wait(f"idle-{number}", Phase.WAITING, Phase.BLOCKED)
        eventually(lambda: rests(stack, proxy))  # once what the last one woke is over
    finally:
        stack.close()
        stack.git.stop()
        proxy.close()


def rests(stack, proxy) -> bool:
    """In four seconds a Lease is kept, and nothing else happens."""
    written, sent, used = _written(stack), proxy.bytes_up, cpu_seconds(stack.hubs[0].pid)
    time.sleep(4)
    is_quiet = proxy.bytes_up - sent < 20_000 and cpu_seconds(stack.hubs[0].pid) - used < 1.0
    return is_quiet and _written(stack) == written


def _written(stack):
    jobs, _ = stack.kube.list(ours("carbontrainingjobs"))
    events, _ = stack.kube.list(path("api/v1", "events", stack.namespace))
    versions = {body["metadata"]["uid"]: body["metadata"]["resourceVersion"] for body in [*jobs, *events]}
    return versions, stack.git.commits()


def test_of_two_hubs_one_leads_and_the_other_takes_over_when_it_is_killed(stack):
    stack.options = ("--lease-seconds", "10")
    first = stack.add_hub("hub", identity="")
    begin(stack)
    eventually(lambda: "leading as" in stack.log("hub"))
    second = stack.add_hub("second", identity="")
    second.start()
    eventually(lambda: "Standby: " in stack.log("second"))
    stack.submit("led-by-first", "hold")
    stack.wait("led-by-first", Phase.RUNNING)
    assert "leading as" not in stack.log("second")
    first.kill()
    stack.submit("led-by-second")
    stack.wait("led-by-second", Phase.SUCCEEDED)
    assert "leading as" in stack.log("second")
    stack.spokes.finish("led-by-first")
    stack.wait("led-by-first", Phase.SUCCEEDED)
    for name in ("led-by-first", "led-by-second"):
        eventually(lambda name=name: stack.changes(name) == ["place 1", "remove 1"])
        assert len(stack.accounts(name, "second")) == 1
    assert stack.spokes.violations == []


@pytest.mark.soak
def test_a_leader_that_was_frozen_longer_than_its_lease_steps_down(stack):
    stack.options = ("--lease-seconds", "10")
    first = stack.add_hub("hub", identity="")
    begin(stack)
    second = stack.add_hub("second", identity="")
    second.start()
    eventually(lambda: "Standby: " in stack.log("second"))
    first._signal(signal.SIGSTOP)
    stack.submit("over-the-gap")
    stack.wait("over-the-gap", Phase.SUCCEEDED)
    assert "leading as" in stack.log("second")
    first._signal(signal.SIGCONT)
    eventually(lambda: not first.is_alive)
    stack.submit("afterwards")
    stack.wait("afterwards", Phase.SUCCEEDED)
    for name in ("over-the-gap", "afterwards"):
        eventually(lambda name=name: stack.changes(name) == ["place 1", "remove 1"])
    assert stack.spokes.violations == []


@pytest.mark.soak
def test_a_hub_that_starts_while_the_api_is_away_leads_once_it_is_there(own_stack, own_api):
    own_api.kill()
    own_stack.start_hub()
    time.sleep(3)  # longer than a start takes
    own_api.start()
    if not own_stack.hubs[0].is_alive:  # what starts it again is the kubelet, or the stack
        assert re.search("API|kubeconfig", own_stack.log())
        own_stack.hubs[0].start()
    own_stack.spokes.start()
    own_stack.submit("late")
    own_stack.wait("late", Phase.SUCCEEDED)
