"""What a training writes and a placement names: whatever it is, it harms no other attempt and no heartbeat."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from played_runtime import PlayedRuntime
from spoke_house import SPOKE, intent, name_of

from carbonfleet.api.report import AttemptPhase
from carbonfleet.spoke import RayJobs, RaySettings
from carbonfleet.spoke.output import read_findings, reader_of
from fixtures.fleet_values import uid_of
from fixtures.hand_clock import HandClock

RUNNING = {"attempt": 1, "step": 3, "total_steps": 10, "energy_kwh": 0.1, "energy_source": "nvml"}
ODD = {
    "1969": {"updated_at": "1969-07-20T00:00:00Z"},
    "9999": {"updated_at": "9999-12-31T23:59:59Z"},
    "year 1": {"updated_at": "0001-01-01T00:00:00+14:00"},
    "negative energy": {"energy_kwh": -1.0, "updated_at": "2026-01-31T12:00:00Z"},
    "huge energy": {"energy_kwh": 1e308, "updated_at": "2026-01-31T12:00:00Z"},
    "huge step": {"step": 10**30},
    "no numbers": {"step": "many", "total_steps": []},
    "began before time": {"started_at": "0001-01-01T00:00:00Z", "first_step_seconds": 1.0},
}


class FolderRuntime(PlayedRuntime):
    """A played runtime whose outputs are read as Ray's are."""

    def outputs(self, store, clock) -> "FolderRuntime":
        self._ray = RayJobs(SPOKE, RaySettings(directory=store.parent, store=store), clock)
        return self

    def place(self, wanted):
        return self._ray.place(wanted)

    def look(self, name, namespace, attempt, place, *, is_over):
        return self._ray.look(name, namespace, attempt, place, is_over=is_over)


@pytest.fixture
def two(kube_house):
    """A house whose agent runs two attempts: `odd`, a tenant's whose output is the test's, and `other`."""
    odd, other = f"{kube_house.job}-odd", f"{kube_house.job}-other"
    runtime = FolderRuntime(SPOKE).outputs(kube_house.store, kube_house.clock)
    agent = kube_house.agent(runtime)
    kube_house.publish(intent(odd, gpus=1), intent(other, gpus=1))
    kube_house.cycle_until(agent, lambda: len(runtime.started) == 2)
    for job in (odd, other):
        runtime.phase[name_of(job)] = AttemptPhase.RUNNING
    kube_house.cycle_until(agent, lambda: kube_house.phase(name_of(other)) is AttemptPhase.RUNNING)
    return SimpleNamespace(house=kube_house, agent=agent, runtime=runtime, odd=odd, other=other)


@pytest.mark.xfail(strict=True, reason="a time that is none ends each pass of the agent")
def test_what_one_training_writes_silences_no_other(two):
    output = two.house.store / uid_of(two.odd)
    output.mkdir(parents=True)
    for said in ODD.values():
        (output / "progress.json").write_text(json.dumps(RUNNING | said))
        two.agent.cycle()
    two.runtime.phase[name_of(two.other)] = AttemptPhase.SUCCEEDED
    before = two.house.spoke().status.heartbeat_time
    two.house.cycle_until(two.agent, lambda: two.house.phase(name_of(two.other)) is AttemptPhase.SUCCEEDED, 30)
    two.house.cycle_until(two.agent, lambda: two.house.spoke().status.heartbeat_time != before)
    assert two.house.phase(name_of(two.odd)) is AttemptPhase.RUNNING


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
def test_an_output_that_can_not_be_is_no_fault_of_the_reader(tmp_path, said):
    (tmp_path / "progress.json").write_text(json.dumps(RUNNING | said))
    read_findings(reader_of(str(tmp_path)), 1, str(tmp_path), HandClock())


@pytest.fixture
def silent_server() -> Iterator[tuple[int, list[bytes]]]:
    """Takes what it is asked and never answers: its port, and what it was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                asked.append(connection.recv(500))

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], asked
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "file", "gs", "github", "simplecache::http"])
def test_the_agent_asks_no_server_that_a_placement_names(silent_server, tmp_path, scheme):
    port, asked = silent_server
    place = f"{scheme}://127.0.0.1:{port}/v1/internal"
    assert reader_of(place)("progress.json") is None
    assert asked == []


def test_a_clock_that_is_set_back_stops_no_heartbeat(kube_house):
    clock, now = HandClock(), kube_house.clock.now()
    clock.set(now + timedelta(hours=9))
    kube_house.clock, kube_house.settings = clock, {"heartbeat_seconds": 0.2, "heartbeat_least_seconds": 0.1}
    agent = kube_house.agent(PlayedRuntime(SPOKE))
    kube_house.cycle_until(agent, lambda: kube_house.spoke().status.heartbeat_time)
    clock.set(now)
    kube_house.cycle_until(agent, lambda: kube_house.spoke().status.heartbeat_time < now + timedelta(minutes=1), 20)


@pytest.mark.xfail(strict=True, reason="a spoke's name is bound to no identity")
def test_of_two_agents_under_one_name_the_second_refuses_and_says_so(kube_house):
    first, second = PlayedRuntime(SPOKE), PlayedRuntime(SPOKE)
    kube_house.settings = {"state": kube_house.root / "state-1"}
    agent = kube_house.agent(first)
    kube_house.publish(intent(kube_house.job))
    kube_house.cycle_until(agent, lambda: kube_house.phase(kube_house.attempt) is not None)
    kube_house.settings = {"state": kube_house.root / "state-2"}
    other = kube_house.agent(second)
    for _ in range(10):
        agent.cycle()
        other.cycle()
    assert (list(first.started), list(second.started)) == ([kube_house.attempt], [])
    assert any("another agent" in problem for problem in kube_house.spoke().status.problems)
