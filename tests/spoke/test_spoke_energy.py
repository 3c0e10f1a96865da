"""Energy on its way: from a training's output through the spoke's report to the hub's account of it."""

import itertools
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.api.report import Energy, EnergyMethod, PowerSample
from carbonfleet.hub.energy import energy_of
from carbonfleet.ledger.emissions import Intensities, emitted_grams
from carbonfleet.placement.hardware import pool_profile
from carbonfleet.spoke.runtimes import joined
from carbonfleet.spoke.runtimes.energy import MOST, thinned
from carbonfleet.spoke.runtimes.output import read_findings, reader_of

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def energy(*counts: tuple[float, float], method="nvml", kwh=None) -> Energy:
    """What a meter had counted so many minutes after noon."""
    samples = tuple(PowerSample(time=NOON + at * MINUTE, energy_kwh=count) for at, count in counts)
    return Energy(method=EnergyMethod(method), kwh=kwh, samples=samples)


def counts(found: Energy) -> list[tuple[float, float]]:
    return [((sample.time - NOON) / MINUTE, sample.energy_kwh) for sample in found.samples]


def test_what_is_heard_anew_is_added_and_what_is_heard_again_is_not():
    first = joined(None, energy((0, 0.1)))
    second = joined(first, energy((0, 0.1), (10, 0.2)))
    assert counts(joined(second, energy((5, 0.9), (10, 0.2)))) == [(0, 0.1), (10, 0.2)]


def test_a_meter_that_falls_silent_takes_nothing_back():
    before = energy((0, 0.1))
    assert joined(before, None) == joined(before, Energy(method=EnergyMethod.ESTIMATE)) == before


def test_within_five_minutes_the_last_count_stands():
    found = None
    for second in range(0, 1200, 10):
        found = joined(found, energy((second / 60, second / 1000)))
    assert counts(found) == [(290 / 60, 0.29), (590 / 60, 0.59), (890 / 60, 0.89), (1190 / 60, 1.19)]


def test_a_long_attempt_has_samples_all_over_and_not_too_many():
    found = None
    for hour in range(24 * 30):
        found = joined(found, energy((60 * hour, hour)))
    hours = [at / 60 for at, _ in counts(found)]
    assert 100 < len(hours) <= MOST
    assert max(after - before for before, after in itertools.pairwise(hours)) <= 6
    assert counts(found)[-1] == (60 * 719, 719)


def test_the_count_before_a_meter_that_began_anew_is_kept():
    found = thinned(energy((0, 0.1), (1, 0.5), (2, 0.01), (3, 0.2)).samples)
    assert [sample.energy_kwh for sample in found] == [0.5, 0.2]


@dataclass
class FolderRuntime(SimulatedRuntime):
    """Its attempts save into a folder."""

    folder: Path = Path()
    clock: object = None

    def place(self, wanted):
        return str(self.folder)

    def look(self, name, namespace, attempt, place, *, is_over):
        return read_findings(reader_of(place), attempt, place, self.clock)

    def tell(self, minutes: float, kwh: float, source: str, name: str = "progress.json") -> None:
        """What the training writes then."""
        numbers = {"attempt": 1, "step": 1, "energy_kwh": kwh, "energy_source": source}
        numbers |= {"updated_at": (NOON + minutes * MINUTE).isoformat()}
        (self.folder / name).write_text(json.dumps(numbers))


RECORDED = {
    # Minutes since the start, and what the meter had counted by then, in its own unit.
    "nvml": ([(10, 256_680_000), (30, 839_160_000), (60, 1_666_440_000), (90, 2_488_320_000)], 3_600_000_000),
    "dcgm": ([(10, 256_700_000), (30, 839_200_000), (60, 1_666_400_000), (90, 2_488_300_000)], 3_600_000_000),
    "rapl": ([(10, 46_212_004_511), (30, 138_640_912_330), (90, 415_919_003_107)], 3_600_000_000_000),
}
POOL = GpuPool.model_validate({"name": "sim", "gpuType": "A100", "gpus": 8, "memoryGib": 80})


@pytest.mark.parametrize("meter", RECORDED)
def test_a_meters_counts_reach_the_account(bare_stack, meter):
    """Every count that the training tells of is in the report, the report is accounted, and the grid weighs it."""
    stack, (recorded, unit) = bare_stack, RECORDED[meter]
    runtime = FolderRuntime(SPOKE, folder=stack.root, clock=stack.clock)
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    for minutes, count in recorded:
        runtime.tell(minutes, count / unit, meter)
        stack.cycle_until(agent, lambda at=minutes: _sampled(stack) == NOON + at * MINUTE)
    total = recorded[-1][1] / unit * 1.02
    runtime.tell(97, total, meter, "metrics.json")
    runtime.phase[stack.attempt] = Phase.SUCCEEDED
    stack.cycle_until(agent, lambda: stack.phase(stack.attempt) is Phase.SUCCEEDED)

    report, end = stack.reports()[stack.attempt], NOON + 97 * MINUTE
    assert counts(report.energy) == [(at, count / unit) for at, count in recorded] + [(97, total)]
    found = energy_of(report, POOL, pool_profile(POOL), end, 1.0)
    use = found.use
    assert (use.total_kwh, found.method, found.uncertainty) == (pytest.approx(total), meter, pytest.approx(0.05))
    first_hour = np.interp((NOON + 60 * MINUTE).timestamp(), use.times, use.kwh)
    held = Intensities("NO-NO1", NOON, 60 * MINUTE, np.array([100.0, 500.0]))
    assert emitted_grams(use, held) == pytest.approx(100 * first_hour + 500 * (total - first_hour))


def _sampled(stack) -> datetime | None:
    report = stack.reports().get(stack.attempt)
    return report.energy.samples[-1].time if report and report.energy and report.energy.samples else None


def test_a_killed_agent_takes_the_samples_from_the_hub(bare_stack):
    stack = bare_stack
    state, kept = stack.root / "state", ("fleet.git", "lock")
    runtime = FolderRuntime(SPOKE, folder=stack.root, clock=stack.clock)
    agent = stack.agent(runtime)
    stack.publish(intent(stack.job))
    runtime.phase[stack.attempt] = Phase.RUNNING
    for minutes in (10, 20, 30):
        runtime.tell(minutes, minutes / 100, "nvml")
        stack.cycle_until(agent, lambda at=minutes: _sampled(stack) == NOON + at * MINUTE)
        if minutes == 10:  # the last that it saves before it is killed
            shutil.copytree(state, stack.root / "saved", ignore=shutil.ignore_patterns(*kept))
    agent.close()
    for each in state.iterdir():
        if each.name not in kept:
            each.unlink()
    shutil.copytree(stack.root / "saved", state, dirs_exist_ok=True)

    runtime.tell(40, 0.4, "nvml")
    agent = stack.agent(runtime)
    stack.cycle_until(agent, lambda: _sampled(stack) == NOON + 40 * MINUTE)
    assert counts(stack.reports()[stack.attempt].energy) == [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)]
