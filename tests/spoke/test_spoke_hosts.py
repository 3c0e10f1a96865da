"""Hosts of a pool sleep while nobody needs them and wake in time, by the hooks of the spoke's admin."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.spoke import PlannedStart, SpokeStatus
from carbonfleet.kube import ours
from carbonfleet.spoke.hosts import Hosts
from carbonfleet.spoke.settings import AgentSettings
from fixtures.fleet_values import facts_of
from fixtures.hand_clock import HandClock
from fixtures.kubeapi_server import eventually

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POOL = GpuPool(name="a100", gpu_type="A100", gpus=16, gpus_per_node=8, memory_gib=80, wake_time="10m")
FACTS = facts_of("no-osl-1").model_copy(
    update={"pools": (POOL, POOL.model_copy(update={"name": "b", "wake_time": None}))}
)


def hook(file: Path, body: str = "") -> Path:
    """A program that writes down how it was called."""
    file.write_text(f'#!/bin/sh\necho "$0 $@ ${{SECRET-none}}" >> {file.parent}/called\n{body}\n')
    file.chmod(0o755)
    return file


@pytest.fixture
def clock():
    return HandClock(hands=[NOON])


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t")
    return AgentSettings(
        spoke=SPOKE,
        fleet_url="https://git.example/fleet.git",
        state=tmp_path / "state",
        wake_hook=hook(tmp_path / "wake"),
        sleep_hook=hook(tmp_path / "sleep"),
    )


@pytest.fixture
def hosts(settings, clock):
    return Hosts(settings, clock)


@pytest.fixture
def called(tmp_path):
    def called() -> list[str]:
        file = tmp_path / "called"
        return [line.removeprefix(f"{tmp_path}/") for line in file.read_text().splitlines()] if file.exists() else []

    return called


def at(minutes: float, gpus: int = 8) -> PlannedStart:
    return PlannedStart(pool="a100", at=NOON + minutes * MINUTE, gpus=gpus)


def run_until(hosts: Hosts, awake: int, held: dict[str, int], starts: tuple[PlannedStart, ...] | None) -> None:
    """Look again until the hook has ended."""

    def is_so() -> bool:
        hosts.step(FACTS, held, starts)
        known = hosts.of("a100")
        return known is not None and known.hook is None and known.awake == awake

    eventually(is_so)


def test_who_is_needed_by_nobody_sleeps_after_a_while_and_wakes_before_the_next_start(hosts, clock, called):
    starts = (at(120, 8),)
    hosts.step(FACTS, {}, starts)
    clock.forward(minutes=9)
    hosts.step(FACTS, {}, starts)
    assert called() == []
    clock.forward(minutes=1)
    run_until(hosts, 0, {}, starts)
    assert called() == ["sleep a100 0 none"]
    assert hosts.of("a100").idle_until == NOON + 120 * MINUTE
    clock.set(NOON + 107 * MINUTE)
    hosts.step(FACTS, {}, starts)
    assert len(called()) == 1
    clock.set(NOON + 108 * MINUTE)
    run_until(hosts, 1, {}, starts)
    assert called()[1:] == ["wake a100 1 none"]
    assert hosts.of("b") is None


def test_work_wakes_its_hosts_at_once_and_keeps_only_them(hosts, clock, called):
    hosts.step(FACTS, {"a100": 3}, ())
    clock.forward(minutes=10)
    run_until(hosts, 1, {"a100": 3}, ())
    run_until(hosts, 2, {"a100": 9}, ())
    assert called() == ["sleep a100 1 none", "wake a100 2 none"]
    assert hosts.of("a100").idle_until is None


def test_a_gap_too_short_to_sleep_in_keeps_hosts_awake(hosts, clock, called):
    for minute in range(0, 60, 5):
        clock.set(NOON + minute * MINUTE)
        hosts.step(FACTS, {}, (at(minute + 20, 16),))
    assert called() == []


def test_without_the_hubs_plan_nothing_more_sleeps_and_work_still_wakes(hosts, clock, called):
    hosts.step(FACTS, {}, ())
    clock.forward(minutes=10)
    run_until(hosts, 0, {}, ())
    clock.forward(minutes=60)
    run_until(hosts, 2, {"a100": 16}, None)
    for _ in range(5):
        clock.forward(minutes=30)
        hosts.step(FACTS, {}, None)
    assert called() == ["sleep a100 0 none", "wake a100 2 none"]


def test_energy_is_counted_and_remembered_by_the_next_agent(hosts, settings, clock):
    hosts.step(FACTS, {"a100": 4}, ())
    clock.forward(minutes=10)
    run_until(hosts, 1, {"a100": 4}, ())
    known = hosts.of("a100")
    assert (known.idle_kwh, known.saved_kwh) == (pytest.approx(12 * 0.052 / 6), 0)
    clock.forward(minutes=10)
    hosts.step(FACTS, {"a100": 4}, ())
    assert known.idle_kwh == pytest.approx(16 * 0.052 / 6)
    assert known.saved_kwh == pytest.approx(8 * 0.052 / 6)
    clock.forward(hours=5)
    hosts.step(FACTS, {"a100": 4}, ())
    assert known.saved_kwh == pytest.approx(16 * 0.052 / 6)
    again = Hosts(settings, clock)
    again.step(FACTS, {"a100": 4}, ())
    assert (again.of("a100").awake, again.of("a100").saved_kwh) == (1, pytest.approx(known.saved_kwh))
    (settings.state / "hosts.json").write_text('{"a100": {"awake": -1, "idleKwh": NaN}}')
    broken = Hosts(settings, clock)
    broken.step(FACTS, {}, ())
    assert (broken.of("a100").awake, broken.of("a100").idle_kwh) == (2, 0)


@pytest.mark.parametrize("body", ["exit 3", "kill -9 $$"])
def test_a_hook_that_fails_is_said_and_what_it_should_have_done_is_not_believed(hosts, settings, clock, body):
    hook(settings.sleep_hook, body)
    hosts.step(FACTS, {}, ())
    clock.forward(minutes=10)

    def has_failed() -> bool:
        hosts.step(FACTS, {}, ())
        return bool(hosts.problems)

    eventually(has_failed)
    [problem] = hosts.problems
    assert "pool a100: --sleep-hook" in problem
    assert "ended with" in problem
    assert hosts.of("a100").awake == 2


def test_a_hook_that_is_gone_is_said(hosts, settings, clock):
    settings.sleep_hook.unlink()
    hosts.step(FACTS, {}, ())
    clock.forward(minutes=10)
    hosts.step(FACTS, {}, ())
    assert "can't be run: No such file" in hosts.problems[0]


@pytest.mark.parametrize(
    ("which", "says"),
    [
        (("wake",), "belong together"),
        (("wake", "none"), "no executable file"),
        (("wake", "plain"), "no executable file"),
    ],
)
def test_hooks_that_cant_be_are_refused_at_the_start(tmp_path, which, says):
    hook(tmp_path / "wake")
    (tmp_path / "plain").write_text("echo")
    files = [str(tmp_path / name) for name in which]
    given = dict(zip(("wake_hook", "sleep_hook"), files, strict=False))
    with pytest.raises(ValidationError, match=says):
        AgentSettings(spoke=SPOKE, fleet_url="https://git.example/fleet.git", **given)


def test_an_agent_tells_what_sleeps_offers_it_and_wakes_it_for_a_placement(bare_stack, tmp_path, called):
    stack, runtime = bare_stack, SimulatedRuntime(SPOKE)
    path = f"clusters/{SPOKE}/cluster.yaml"
    person = stack.git.checkout()
    person.edit(path, "gpuType:", "wakeTime: 1s, gpuType:")
    person.push("Let hosts sleep")
    stack.settings |= {"wake_hook": hook(tmp_path / "wake"), "sleep_hook": hook(tmp_path / "sleep")}
    where = ours("spokeclusters", "", SPOKE, "status")
    stack.kube.patch(where, {"status": {"plannedStarts": [{"pool": "sim", "at": "2099-01-01T00:00:00Z", "gpus": 1}]}})
    agent = stack.agent(runtime)

    def told() -> SpokeStatus:
        return SpokeStatus.model_validate(stack.kube.get(where)["status"])

    stack.cycle_until(agent, lambda: told().pools and told().pools[0].awake_hosts == 0)
    assert told().pools[0].free_gpus == 8
    assert told().pools[0].idle_until == datetime(2099, 1, 1, tzinfo=UTC)
    assert told().planned_starts[0].gpus == 1
    stack.publish(intent(stack.job))
    stack.cycle_until(agent, lambda: told().pools[0].awake_hosts)
    assert [line.split()[0] for line in called()] == ["sleep", "wake"]
    assert runtime.started
