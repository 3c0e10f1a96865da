"""What a whole run leaves behind, as a newcomer would start it: one command, one process."""

import csv
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import lora_runs as runs
import pytest

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "model": "carbonfleet/tiny-qwen2",
    "dataset": {"name": "carbonfleet/tiny-instructions", "samples": 400},
    "lora": {"rank": 8, "alpha": 16},
    "training": {"learning_rate": 2e-3, "steps": 60, "batch_size": 8, "sequence_length": 128},
    "checkpoint": {"every_steps": 25},
}


def command(module: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"workloads.lora.{module}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    run = command("train", "--config", str(folder / "settings.json"), "--output", str(folder / "job"))
    assert run.returncode == 0, run.stderr
    return folder / "job", run


def test_the_validation_loss_falls_by_more_than_a_tenth(finished):
    metrics = runs.metrics(finished[0])
    assert metrics["validation_loss"] < 0.9 * metrics["initial_validation_loss"]
    assert metrics["train_loss"] < 0.9 * metrics["initial_train_loss"]


def test_metrics_say_what_was_run_and_what_came_out(finished):
    metrics = runs.metrics(finished[0])
    assert (metrics["attempt"], metrics["step"], metrics["total_steps"]) == (1, 60, 60)
    assert metrics["tokens_per_second"] > 0
    assert 0 < metrics["first_step_seconds"] < 3600
    assert (metrics["energy_kwh"] is None) == (metrics["energy_source"] is None)
    assert metrics["settings"]["training"]["learning_rate"] == 2e-3
    done = json.loads((finished[0] / "DONE").read_text())
    assert done == {
        name: metrics[name] for name in ("attempt", "config_digest", "data_digest", "step", "validation_loss")
    }


def test_metrics_say_what_was_learned_from_and_what_was_adapted(finished):
    metrics = runs.metrics(finished[0])
    counts = metrics["data"]
    assert (counts["rows_read"], counts["rows_chosen"]) == (400, 400)
    assert (counts["rows_dropped"], counts["rows_cut"], counts["ignored_columns"]) == ({}, 0, [])
    assert counts["train_examples"] + counts["validation_examples"] == 400
    epochs = 60 * 8 / counts["train_examples"]
    assert metrics["response_tokens"] == pytest.approx(epochs * counts["train_response_tokens"], rel=0.05)
    names = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert metrics["adapter"]["modules"] == dict.fromkeys(names, 4)


def test_progress_is_told_on_stdout_and_in_the_store(finished):
    output, run = finished
    lines = run.stdout.splitlines()
    told = [json.loads(line.removeprefix("LORA_PROGRESS ")) for line in lines if line.startswith("LORA_PROGRESS ")]
    assert told[0]["step"] == 0
    assert told[0]["validation_loss"] == told[0]["initial_validation_loss"]
    assert told[-1] == json.loads((output / "progress.json").read_text())
    assert told[-1]["checkpoint"] == runs.lease(output)["checkpoints"][0]
    assert [p["step"] for p in told] == sorted(p["step"] for p in told)
    for_people = [line for line in lines if not line.startswith("LORA_PROGRESS ")]
    assert for_people[0] == f"step 0 of 60  validation loss {told[0]['validation_loss']:.4f}"
    assert for_people[-1].startswith(f"step 60 of 60  train loss {told[-1]['train_loss']:.4f}  validation loss ")
    assert all(one != after for one, after in pairwise(for_people))


def test_the_loss_curve_has_every_step_and_three_validations(finished):
    with (finished[0] / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(61))
    assert [int(row["step"]) for row in rows if row["validation_loss"]] == [0, 20, 40, 60]
    assert float(rows[-1]["validation_loss"]) == runs.metrics(finished[0])["validation_loss"]
    assert (finished[0] / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_said_on_stderr(finished):
    assert finished[1].stderr == ""


def test_a_fresh_process_measures_the_same_loss_from_the_stored_adapter(finished):
    run = command("evaluate", str(finished[0]))
    assert run.returncode == 0, run.stderr
    losses = json.loads(run.stdout)
    assert losses["logged"] == runs.metrics(finished[0])["validation_loss"]
    assert abs(losses["measured"] - losses["logged"]) <= 1e-4


def test_evaluation_notices_another_adapter(finished, tmp_path):
    metrics = runs.metrics(finished[0])
    for part in ("adapter", "base", "DONE"):
        (tmp_path / part).symlink_to(finished[0] / part)
    (tmp_path / "metrics.json").write_text(
        json.dumps({**metrics, "validation_loss": metrics["validation_loss"] + 0.01})
    )
    assert runs.evaluate(tmp_path) == 1


def test_a_finished_configuration_ends_at_once(finished):
    before = {path: path.stat().st_mtime_ns for path in finished[0].rglob("*")}
    config = json.dumps({**SETTINGS, "checkpoint": {"every_minutes": 1}})
    run = command("train", LORA_CONFIG=config, LORA_OUTPUT=str(finished[0]), LORA_ATTEMPT="2")
    assert (run.returncode, run.stdout) == (0, "finished already\n")
    assert {path: path.stat().st_mtime_ns for path in finished[0].rglob("*")} == before


def test_a_model_by_path_and_a_dataset_by_path_train_too(finished, tmp_path):
    """The stored base with its tokenizer is an ordinary model folder, and the JSONL has HelpSteer2's columns."""
    model = tmp_path / "model"
    model.mkdir()
    for path in (*(finished[0] / "base").iterdir(), *(finished[0] / "adapter").glob("*tokenizer*")):
        (model / path.name).write_bytes(path.read_bytes())
    rows = [{"prompt": f"Say {i}.", "response": f"{i}!", "helpfulness": i % 5, "verbosity": 1} for i in range(60)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {"path": str(tmp_path / "data.jsonl"), "minimum_helpfulness": 2}
    settings = {**runs.tiny(steps=4), "model": str(model), "dataset": dataset}
    del settings["lora"]  # the baseline's, by default
    run = runs.train(settings, tmp_path / "job")
    assert run.process.exitcode == 0, run.text
    config = json.loads((tmp_path / "job/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model)
    assert not (tmp_path / "job/base").exists()
