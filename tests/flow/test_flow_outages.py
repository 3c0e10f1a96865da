"""The Git server, the API and its watches away for a while: nothing lost, no hot loop."""

import re
import signal
import time
from datetime import timedelta

import psutil
import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import ours, path
from fixtures.hub_process import begin, clock_of, condition, open_house
from fixtures.kubeapi_server import eventually
from fixtures.tcp_proxy import TcpProxy
from kubeapi import write_kubeconfig


def cpu_seconds(pid: int) -> float:
    """What a process has used, its children too."""
    process = psutil.Process(pid)
    return sum(t.user + t.system for t in (p.cpu_times() for p in [process, *process.children(recursive=True)]))


def test_the_git_server_is_down_for_a_while_and_everything_is_delivered_after(house):
    begin(house)
    house.submit("running", "hold")
    house.wait("running", Phase.RUNNING)
    house.git.stop()
    house.submit("meanwhile")
    job = house.wait_reason("meanwhile", "Committed", "RepositoryUnreachable")
    assert "can't be reached" in condition(job, "Committed").message
    house.spokes.finish("running")
    house.wait("running", Phase.SUCCEEDED)
    house.kube.delete(ours("carbontrainingjobs", house.namespace, "running"))
    used, began = cpu_seconds(house.hubs[0].pid), time.monotonic()
    commits = house.git.commits()
    time.sleep(3)  # an outage lasts
    assert (cpu_seconds(house.hubs[0].pid) - used) / (time.monotonic() - began) < 0.25
    assert house.git.commits() == commits
    assert house.body("running") is not None
    house.git.start()
    house.wait("meanwhile", Phase.SUCCEEDED)
    house.assert_run_once("meanwhile")
    house.wait_gone("running")
    assert house.changes("running") == ["place 1", "remove 1"]
    assert condition(house.job("meanwhile"), "Committed").reason == "Pushed"


def test_the_api_server_is_killed_and_comes_back(own_house, own_api):
    house = own_house
    begin(house)
    house.submit("before", "hold")
    house.wait("before", Phase.RUNNING)
    pid = house.hubs[0].pid
    own_api.kill()
    house.spokes.finish("before")
    used, began = cpu_seconds(pid), time.monotonic()
    time.sleep(2)  # an outage lasts
    assert (cpu_seconds(pid) - used) / (time.monotonic() - began) < 0.5
    own_api.start()
    house.wait("before", Phase.SUCCEEDED)
    house.submit("after")
    house.wait("after", Phase.SUCCEEDED)
    house.assert_run_once("before")
    house.assert_run_once("after")
    assert house.hubs[0].pid == pid
    assert house.hubs[0].is_alive


def test_watches_that_break_lose_nothing(own_api, tmp_path):
    proxy = TcpProxy(own_api.port)
    proxy.start()
    house = open_house(tmp_path / "house", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    house.add_hub("hub", "--kubeconfig", str(through))
    try:
        begin(house)
        for number in range(4):
            house.submit(f"cut-{number}", ("succeed", "stop-first")[number % 2])
            proxy.cut()
        for number in range(4):
            house.wait(f"cut-{number}", Phase.SUCCEEDED)
        proxy.is_silent = True
        house.submit("unheard")
        time.sleep(2)  # nobody answers, and nobody hangs up
        proxy.is_silent = False
        proxy.cut()
        house.wait("unheard", Phase.SUCCEEDED)
        for name in ("cut-0", "cut-2", "unheard"):
            house.assert_run_once(name)
    finally:
        house.close()
        house.git.stop()
        proxy.close()


@pytest.mark.speed(1.0)
def test_an_idle_fleet_with_waiting_jobs_writes_nothing_and_asks_little(own_api, tmp_path):
    proxy = TcpProxy(own_api.port)
    proxy.start()
    house = open_house(tmp_path / "house", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    house.add_hub("hub", "--kubeconfig", str(through))
    try:
        begin(house)
        start = f"{house.clock.now() + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
        for number in range(20):
            house.submit(f"idle-{number}", schedule={"maxDelay": "0s", "earliestStart": start})
        for number in range(20):
            house.wait(f"idle-{number}", Phase.WAITING, Phase.BLOCKED)
        eventually(lambda: rests(house, proxy))  # once what the last one woke is over
    finally:
        house.close()
        house.git.stop()
        proxy.close()


def rests(house, proxy) -> bool:
    """In four seconds a Lease is kept, and nothing else happens."""
    written, sent, used = _written(house), proxy.bytes_up, cpu_seconds(house.hubs[0].pid)
    time.sleep(4)
    is_quiet = proxy.bytes_up - sent < 20_000 and cpu_seconds(house.hubs[0].pid) - used < 1.0
    return is_quiet and _written(house) == written


def _written(house):
    jobs, _ = house.kube.list(ours("carbontrainingjobs"))
    events, _ = house.kube.list(path("api/v1", "events", house.namespace))
    versions = {body["metadata"]["uid"]: body["metadata"]["resourceVersion"] for body in [*jobs, *events]}
    return versions, house.git.commits()


def test_of_two_hubs_one_leads_and_the_other_takes_over_when_it_is_killed(house):
    house.options = ("--lease-seconds", "10")
    first = house.add_hub("hub", identity="")
    begin(house)
    eventually(lambda: "leading as" in house.log("hub"))
    second = house.add_hub("second", identity="")
    second.start()
    eventually(lambda: "Standby: " in house.log("second"))
    house.submit("led-by-first", "hold")
    house.wait("led-by-first", Phase.RUNNING)
    assert "leading as" not in house.log("second")
    first.kill()
    house.submit("led-by-second")
    house.wait("led-by-second", Phase.SUCCEEDED)
    assert "leading as" in house.log("second")
    house.spokes.finish("led-by-first")
    house.wait("led-by-first", Phase.SUCCEEDED)
    for name in ("led-by-first", "led-by-second"):
        eventually(lambda name=name: house.changes(name) == ["place 1", "remove 1"])
        assert len(house.accounts(name, "second")) == 1
    assert house.spokes.violations == []


@pytest.mark.soak
def test_a_leader_that_was_frozen_longer_than_its_lease_steps_down(house):
    house.options = ("--lease-seconds", "10")
    first = house.add_hub("hub", identity="")
    begin(house)
    second = house.add_hub("second", identity="")
    second.start()
    eventually(lambda: "Standby: " in house.log("second"))
    first._signal(signal.SIGSTOP)
    house.submit("over-the-gap")
    house.wait("over-the-gap", Phase.SUCCEEDED)
    assert "leading as" in house.log("second")
    first._signal(signal.SIGCONT)
    eventually(lambda: not first.is_alive)
    house.submit("afterwards")
    house.wait("afterwards", Phase.SUCCEEDED)
    for name in ("over-the-gap", "afterwards"):
        eventually(lambda name=name: house.changes(name) == ["place 1", "remove 1"])
    assert house.spokes.violations == []


@pytest.mark.soak
def test_a_hub_that_starts_while_the_api_is_away_leads_once_it_is_there(own_house, own_api):
    own_api.kill()
    own_house.start_hub()
    time.sleep(3)  # longer than a start takes
    own_api.start()
    if not own_house.hubs[0].is_alive:  # what starts it again is the kubelet, or the stack
        assert re.search("API|kubeconfig", own_house.log())
        own_house.hubs[0].start()
    own_house.spokes.start()
    own_house.submit("late")
    own_house.wait("late", Phase.SUCCEEDED)
