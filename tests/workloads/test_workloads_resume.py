"""However a run is stopped, it goes on as if it had not been."""

import csv
import random
import signal
import time
from pathlib import Path
from typing import Any

import lora_runs as runs
import pytest

STEPS, INTERVAL = 20, 4
SETTINGS = runs.tiny(STEPS, checkpoint={"every_steps": INTERVAL}, lora={"dropout": 0.1})
GROUPED_AND_PACKED = runs.tiny(
    STEPS,
    training={"group_by_length": True, "packing": True, "batch_size": 4},
    checkpoint={"every_steps": INTERVAL},
    lora={"dropout": 0.1},
)


def losses(output: Path) -> list[float]:
    with (output / "loss.csv").open() as file:
        return [
            float(value)
            for row in csv.DictReader(file)
            for value in (row["train_loss"], row["validation_loss"])
            if value
        ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    output = tmp_path_factory.mktemp("unbroken")
    assert runs.train(SETTINGS, output).process.exitcode == 0
    return losses(output)


def kill_at_random(
    output: Path, attempt: int, draw: random.Random, settings: dict[str, Any]
) -> tuple[signal.Signals, int]:
    """Start an attempt and stop it at a random moment; the signal, and the last step that it told of."""
    number = draw.choice([signal.SIGTERM, signal.SIGKILL])
    run = runs.start(settings, output, attempt)
    start = runs.newest_step(output) if attempt > 1 else 0
    run.reach(draw.randint(start, max(start, STEPS - INTERVAL)))
    time.sleep(draw.uniform(0, 0.03))  # not to wait for anything: to hit a moment between two reports
    run.signal(number)
    code = run.wait()
    # A run that was stopped at its very end may have finished first.
    assert code in ({0, 143} if number == signal.SIGTERM else {0, -9}), run.text
    return number, max(progress["step"] for progress in run.progress)


def broken_run(output: Path, draw: random.Random, kills: int, settings: dict[str, Any] = SETTINGS) -> int:
    """Stop a job up to `kills` times, then let it finish; how often it was really stopped before its end."""
    for attempt in range(1, kills + 1):
        number, reached = kill_at_random(output, attempt, draw, settings)
        if (output / "DONE").exists():
            return attempt - 1
        saved = runs.newest_step(output)
        assert saved >= (reached if number == signal.SIGTERM else reached - INTERVAL)
    assert runs.train(settings, output, kills + 1).process.exitcode == 0
    return kills


def test_a_run_stopped_twice_at_random_ends_like_an_unbroken_one(unbroken, tmp_path):
    draw = random.Random(1)
    for number in range(10):  # on a busy machine it may end before it is stopped
        stops = broken_run(tmp_path / str(number), draw, kills=2)
        assert losses(tmp_path / str(number)) == pytest.approx(unbroken, abs=1e-5)
        if stops:
            return
    raise AssertionError("no run was ever stopped")


def test_a_grouped_and_packed_run_stopped_at_random_ends_like_an_unbroken_one(tmp_path):
    assert runs.train(GROUPED_AND_PACKED, tmp_path / "unbroken").process.exitcode == 0
    draw = random.Random(2)
    for number in range(10):
        stops = broken_run(tmp_path / str(number), draw, kills=2, settings=GROUPED_AND_PACKED)
        assert losses(tmp_path / str(number)) == pytest.approx(losses(tmp_path / "unbroken"), abs=1e-5)
        if stops:
            return
    raise AssertionError("no run was ever stopped")


@pytest.mark.soak
def test_a_hundred_stops_at_random_lose_nothing(unbroken, tmp_path):
    draw, kills, number = random.Random(7), 0, 0
    while kills < 100:
        number += 1
        kills += broken_run(tmp_path / str(number), draw, kills=3)
        assert losses(tmp_path / str(number)) == pytest.approx(unbroken, abs=1e-5)
    print(f"{kills} stops in {number} runs, all ended as the unbroken one did")


def test_sigterm_saves_the_step_it_came_in(tmp_path):
    run = runs.start(runs.tiny(steps=500, checkpoint={"every_steps": 400}), tmp_path)
    run.reach(5)
    run.signal(signal.SIGTERM)
    assert run.wait() == 143
    assert run.failure["reason"] == "Stopped"
    assert runs.newest_step(tmp_path) == run.progress[-1]["step"] >= 5


def test_only_the_last_checkpoints_are_kept_and_litter_is_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/.00000003-half.pt.1a2b").write_bytes(b"half")
    assert runs.train(runs.tiny(steps=12, checkpoint={"keep": 2}), tmp_path).process.exitcode == 0
    assert sorted(p.name[:8] for p in (tmp_path / "checkpoints").iterdir()) == ["00000009", "00000012"]
