"""Whatever is wrong, the run says which of the known reasons it is, and what was saved stays."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lora_runs as runs
import pytest

REPOSITORY = Path(__file__).parents[2]


def failed(run: runs.Attempt, reason: str, code: int, *words: str) -> None:
    assert run.process.exitcode == code, run.text
    assert run.failure["reason"] == reason
    assert run.failure["exit_code"] == code
    for word in words:
        assert word in run.failure["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{", ["Invalid JSON"]),
        (json.dumps({**runs.tiny(), "modle": "x"}), ["modle", "Extra inputs"]),
        (runs.tiny(training={"learning_rate": -1}), ["training.learning_rate", "greater than 0"]),
        (runs.tiny(training={"epochs": 1}), ["training", "not both"]),
        (runs.tiny(training={"workers": 3}), ["batch_size 2", "3 workers"]),
        (runs.tiny(dataset={"path": "/x"}), ["dataset", "exactly one"]),
        (runs.tiny(lora={"target_modules": ["nothing"]}), ["lora.target_modules", "nothing"]),
        (runs.tiny(lora={"rank": "$(id)"}), ["lora.rank", "integer"]),
        (json.dumps({**runs.tiny(), "model": "m" * 1_000_000}), ["model", "1024"]),
    ],
)
def test_wrong_settings_name_the_field_that_is_wrong(settings, words, tmp_path):
    run = runs.train(settings, tmp_path / "job")
    failed(run, "BadConfig", 2, *words)
    assert len(run.failure["message"]) < 2000


def test_wrong_settings_answer_before_anything_slow_is_imported(tmp_path):
    code = "import sys; from workloads.lora.train import main; c = main(); print(c, 'torch' in sys.modules)"
    env = {**os.environ, "LORA_CONFIG": '{"model": 1}', "LORA_OUTPUT": str(tmp_path / "job")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert run.stdout.splitlines()[-1] == "2 False"
    assert run.stderr.startswith("BadConfig: model: Input should be a valid string; dataset: Field required")


def test_an_output_of_an_unknown_kind_is_refused(tmp_path):
    failed(runs.train(runs.tiny(), "memory://job"), "BadConfig", 2, "memory://", "s3://")
    failed(runs.train(runs.tiny(), "nonsense://job"), "BadConfig", 2, "nonsense")


def test_an_output_of_another_configuration_is_refused(tmp_path):
    started = runs.start(runs.tiny(steps=1000), tmp_path / "job")
    started.reach(3)
    started.signal(signal.SIGTERM)
    started.wait()
    failed(runs.train(runs.tiny(steps=1001), tmp_path / "job", 1), "BadConfig", 2, "another configuration")


def test_a_higher_attempt_with_mended_settings_begins_anew_and_what_was_saved_is_found_again(tmp_path):
    stopped_at(7, tmp_path / "job")
    mended = runs.start(runs.tiny(training={"learning_rate": 1e-3}), tmp_path / "job", 2, halt=(3,))
    first = mended.reach(3)
    assert first["step"] == 3
    assert "begins anew" in mended.progress[0]["warnings"][0]
    mended.signal(signal.SIGKILL)
    mended.wait()
    back = runs.start(runs.tiny(), tmp_path / "job", 3)
    assert back.reach(7)["checkpoint"]["step"] == 6
    assert back.wait() == 0


@pytest.mark.parametrize("model", ["nobody/has-this-model", "/no/such/folder", "../../etc", "a b\n$(id)"])
def test_an_unknown_model_is_named(model, tmp_path):
    run = runs.train({**runs.tiny(), "model": model}, tmp_path / "job")
    failed(run, "UnknownModel", 10, repr(model))
    assert json.loads((tmp_path / "job/failure.json").read_text()) == run.failure


@pytest.mark.parametrize(
    ("source", "content", "words"),
    [
        ({"name": "nobody/has-this-data"}, None, ["nobody/has-this-data"]),
        ({"path": "/no/such/file.jsonl"}, None, ["/no/such/file.jsonl"]),
        ({}, '{"prompt": "a", "response": "b"}\nnot json\n', ["line 2", "not a JSON object"]),
        ({}, '{"question": "a"}\n' * 5, ["['question']", "expected prompt and response"]),
        ({}, "", ["0 samples"]),
        ({}, '{"prompt": "a", "response": "b"}\n' * 9, ["too few"]),
    ],
)
def test_a_dataset_that_cannot_be_used_says_why(source, content, words, tmp_path):
    if content is not None:
        (tmp_path / "data.jsonl").write_text(content)
        source = {"path": str(tmp_path / "data.jsonl")}
    failed(runs.train({**runs.tiny(), "dataset": source}, tmp_path / "job"), "UnknownDataset", 11, *words)


def test_too_little_memory_is_told_apart(tmp_path):
    settings = runs.tiny(dataset={"samples": 2000}, training={"batch_size": 1600})
    run = runs.train(settings, tmp_path / "job", memory_bytes=200_000_000)
    failed(run, "OutOfMemory", 12, "memory ran out: can't allocate memory: you tried to", "Lower the batch size")


def test_a_model_that_does_not_fit_into_memory_is_not_an_unknown_one(tmp_path):
    from workloads.lora.model.tiny import tiny_model, tiny_tokenizer

    tiny_model(0).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    grow(weights, 8_000_000_000)
    settings = {**runs.tiny(), "model": str(tmp_path / "model")}
    run = runs.train(settings, tmp_path / "job", memory_bytes=1_000_000_000)
    failed(run, "OutOfMemory", 12, str(tmp_path / "model"), "does not fit into memory", "smaller model")


def grow(weights: Path, size: int) -> None:
    """Put one more tensor into a file of weights; its zeros take no room on the disk."""
    data = weights.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    last = len(data) - end
    header["more"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [last, last + size]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    weights.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    os.truncate(weights, 8 + len(text) + last + size)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    wild = {"learning_rate": 1.0, "schedule": "constant", "warmup_ratio": 0, "steps": 500}
    settings = runs.tiny(training=wild, lora={"rank": 1, "alpha": 4096}, checkpoint={"every_steps": 1})
    run = runs.train(settings, tmp_path / "job")
    failed(run, "NonFiniteLoss", 13, "learning_rate")
    assert runs.newest_step(tmp_path / "job") >= 1


def test_a_model_that_is_broken_already_is_noticed_before_the_first_step(tmp_path):
    from workloads.lora.model.tiny import tiny_model, tiny_tokenizer

    model = tiny_model(0)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    run = runs.train({**runs.tiny(), "model": str(tmp_path / "model")}, tmp_path / "job")
    failed(run, "NonFiniteLoss", 13, "validation after step 0")


def stopped_at(step: int, output: Path) -> None:
    run = runs.start(runs.tiny(), output, halt=(step,))
    run.reach(step)
    run.signal(signal.SIGKILL)
    run.wait()


def damage(output: Path, step: int) -> None:
    [path] = (output / "checkpoints").glob(f"{step:08d}-*.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_corrupt_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    stopped_at(7, tmp_path / "job")
    damage(tmp_path / "job", 6)
    run = runs.start(runs.tiny(), tmp_path / "job", 2)
    first = next(iter(run))
    assert first["warnings"] == ["skipped the checkpoint of step 6: its digest differs from the one recorded"]
    assert first["checkpoint"]["step"] == 3
    assert run.wait() == 0
    runs.train(runs.tiny(), tmp_path / "unbroken")
    assert (tmp_path / "job/loss.csv").read_text() == (tmp_path / "unbroken/loss.csv").read_text()


def test_with_no_good_checkpoint_left_a_person_is_asked(tmp_path):
    stopped_at(7, tmp_path / "job")
    damage(tmp_path / "job", 6)
    [other] = (tmp_path / "job/checkpoints").glob("00000003-*.pt")
    other.unlink()
    failed(runs.train(runs.tiny(), tmp_path / "job", 2), "CorruptCheckpoint", 14, "step 6", "step 3", "is gone")


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    stopped_at(7, tmp_path / "job")
    failed(
        runs.train(runs.tiny(), tmp_path / "job", 2, file_bytes=100_000),
        "DiskFull",
        15,
        "last checkpoint is safe",
    )
    assert runs.newest_step(tmp_path / "job") == 6
    assert not list((tmp_path / "job/checkpoints").glob(".*"))
    assert runs.train(runs.tiny(), tmp_path / "job", 3).process.exitcode == 0


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare to mount a small file system of its own")
def test_a_file_system_without_space_is_a_full_disk(tmp_path):
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -m workloads.lora.train'
    command = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        str(tmp_path),
        sys.executable,
    ]
    env = {
        **os.environ,
        "LORA_CONFIG": json.dumps(runs.tiny(lora={"rank": 16})),
        "LORA_OUTPUT": str(tmp_path / "job"),
    }
    run = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    if "mount:" in run.stderr or "unshare:" in run.stderr:
        pytest.skip(f"no private mounts here: {run.stderr.strip()}")
    assert run.returncode == 15, run.stderr
    assert f"DiskFull: cannot write 2.2 MB to {tmp_path}/job, where 1.0 MB are free: No space left" in run.stderr
