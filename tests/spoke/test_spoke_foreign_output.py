"""What a training writes and a placement names: whatever it is, it harms no other attempt and no heartbeat."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent, name_of

from carbonfleet.api.report import AttemptPhase
from carbonfleet.clock import Clock
from carbonfleet.spoke import RayJobs, RaySettings
from carbonfleet.spoke.runtimes.output import read_findings, reader_of
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


class FolderRuntime(SimulatedRuntime):
    """A simulated runtime whose outputs are read as Ray's are, and which fails as nobody foresaw when it is told to."""

    faulty = ("", "")
    """A step, and how the names of those attempts begin with which it fails."""

    def outputs(self, store, clock) -> "FolderRuntime":
        self._ray = RayJobs(
            SPOKE, RaySettings(directory=store.parent, store=store, datasets=store.parent, models=store.parent), clock
        )
        return self

    def place(self, wanted):
        self._fail("place", wanted.name)
        return self._ray.place(wanted)

    def start(self, wanted):
        self._fail("start", wanted.name)
        super().start(wanted)

    def look(self, name, namespace, attempt, place, *, is_over):
        self._fail("look", name)
        return self._ray.look(name, namespace, attempt, place, is_over=is_over)

    def _fail(self, step, name):
        if step == self.faulty[0] and name.startswith(self.faulty[1]):
            raise ZeroDivisionError("a fault of one attempt's")


@pytest.fixture
def two(bare_stack):
    """A stack whose agent runs two attempts: `odd`, a tenant's whose output is the test's, and `other`."""
    odd, other = f"{bare_stack.job}-odd", f"{bare_stack.job}-other"
    runtime = FolderRuntime(SPOKE).outputs(bare_stack.store, bare_stack.clock)
    agent = bare_stack.agent(runtime)
    bare_stack.publish(intent(odd, gpus=1), intent(other, gpus=1))
    bare_stack.cycle_until(agent, lambda: len(runtime.started) == 2)
    for job in (odd, other):
        runtime.phase[name_of(job)] = AttemptPhase.RUNNING
    bare_stack.cycle_until(agent, lambda: bare_stack.phase(name_of(other)) is AttemptPhase.RUNNING)
    return SimpleNamespace(stack=bare_stack, agent=agent, runtime=runtime, odd=odd, other=other)


def test_what_one_training_writes_silences_no_other(two):
    output = two.stack.store / uid_of(two.odd)
    output.mkdir(parents=True)
    for said in ODD.values():
        (output / "progress.json").write_text(json.dumps(RUNNING | said))
        two.agent.cycle()
    two.runtime.phase[name_of(two.other)] = AttemptPhase.SUCCEEDED
    before = two.stack.spoke().status.heartbeat_time
    two.stack.cycle_until(two.agent, lambda: two.stack.phase(name_of(two.other)) is AttemptPhase.SUCCEEDED, 30)
    two.stack.cycle_until(two.agent, lambda: two.stack.spoke().status.heartbeat_time != before)
    assert two.stack.phase(name_of(two.odd)) is AttemptPhase.RUNNING


@pytest.mark.parametrize("speed", [1e-6, 1.0, 1800.0, 100_000.0])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "1969-07-20T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_a_moment_that_can_not_be_is_left_out_or_counts_as_now(tmp_path, moment, speed):
    said = {**RUNNING, "updated_at": moment, "started_at": moment, "first_step_seconds": 5}
    (tmp_path / "progress.json").write_text(json.dumps(said))
    clock = Clock.starting_at(datetime(2026, 1, 31, tzinfo=UTC), speed)
    found = read_findings(reader_of(str(tmp_path)), 1, str(tmp_path), clock)
    times = {found.progress.first_step_time, *(sample.time for sample in found.energy.samples)}
    assert all(time is None or datetime(1970, 1, 1, tzinfo=UTC) <= time <= clock.now() for time in times)
    assert max(found.energy.kwh or 0, *(sample.energy_kwh for sample in found.energy.samples), 0) == 0.1


@settings(max_examples=200)
@given(
    said=st.dictionaries(
        st.sampled_from([*RUNNING, "updated_at", "started_at", "first_step_seconds", "checkpoint", "warnings"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_whatever_a_training_writes_can_be_read_and_reported(said):
    data = json.dumps(RUNNING | said).encode()
    found = read_findings(lambda _name: data, 1, "/store", HandClock())
    assert not found.progress or json.loads(found.progress.model_dump_json())["step"] <= 2**53


@pytest.mark.parametrize("step", ["look", "place", "start"])
def test_any_fault_of_one_attempt_stops_no_other_and_is_named(two, step):
    two.runtime.faulty = step, two.odd
    third = f"{two.stack.job}-third"
    two.stack.publish(intent(third, gpus=1), intent(f"{two.odd}-new", gpus=1))
    two.runtime.phase[name_of(two.other)] = AttemptPhase.SUCCEEDED
    two.stack.cycle_until(two.agent, lambda: name_of(third) in two.runtime.started, 30)
    two.stack.cycle_until(two.agent, lambda: two.stack.phase(name_of(two.other)) is AttemptPhase.SUCCEEDED, 30)

    def is_told() -> bool:
        problems = two.stack.spoke().status.problems
        return any(two.odd in problem and "ZeroDivisionError" in problem for problem in problems)

    two.stack.cycle_until(two.agent, is_told, 30)


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


def test_a_clock_that_is_set_back_stops_no_heartbeat(bare_stack):
    clock, now = HandClock(), bare_stack.clock.now()
    clock.set(now + timedelta(hours=9))
    bare_stack.clock, bare_stack.settings = clock, {"heartbeat_seconds": 1, "heartbeat_least_seconds": 0.1}
    agent = bare_stack.agent(SimulatedRuntime(SPOKE))
    bare_stack.cycle_until(agent, lambda: bare_stack.spoke().status.heartbeat_time)
    clock.set(now)
    bare_stack.cycle_until(agent, lambda: bare_stack.spoke().status.heartbeat_time < now + timedelta(minutes=1), 20)


def test_of_two_agents_under_one_name_the_second_refuses_and_says_so(bare_stack):
    first, second = SimulatedRuntime(SPOKE), SimulatedRuntime(SPOKE)
    bare_stack.settings = {"state": bare_stack.root / "state-1"}
    agent = bare_stack.agent(first)
    bare_stack.publish(intent(bare_stack.job))
    bare_stack.cycle_until(agent, lambda: bare_stack.phase(bare_stack.attempt) is not None)
    bare_stack.settings = {"state": bare_stack.root / "state-2"}
    other = bare_stack.agent(second)
    for _ in range(10):
        agent.cycle()
        other.cycle()
    assert (list(first.started), list(second.started)) == ([bare_stack.attempt], [])
    assert any("another agent" in problem for problem in bare_stack.spoke().status.problems)
