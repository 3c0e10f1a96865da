"""Data, and a template's date, that change between the attempts of a job."""

import json
import signal

import lora_runs as runs
import pytest
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer

ROWS = [{"prompt": f"Say {i}.", "response": f"{i}!"} for i in range(40)]
MORE = [*ROWS, {"prompt": "Say more.", "response": "More!"}]


@pytest.fixture
def settings(tmp_path):
    return {**runs.tiny(steps=9), "dataset": {"path": str(write(tmp_path, ROWS))}}


def write(folder, rows):
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stopped(settings, output, step=4):
    run = runs.start(settings, output, halt=(step,))
    run.reach(step)
    run.signal(signal.SIGKILL)
    run.wait()
    return run


def curve(output):
    return (output / "loss.csv").read_text()


def test_one_row_more_begins_anew_and_says_so(settings, tmp_path):
    first = stopped(settings, tmp_path / "job").progress[0]
    write(tmp_path, MORE)
    run = runs.train(settings, tmp_path / "job", 2)
    assert run.process.exitcode == 0, run.text
    begun = run.progress[0]
    assert (begun["step"], begun["checkpoint"]) == (0, None)
    assert begun["warnings"] == ["begins anew, for its data are not those of the attempts before"]
    assert begun["data_digest"] != first["data_digest"]
    runs.train(settings, tmp_path / "unbroken")
    assert curve(tmp_path / "job") == curve(tmp_path / "unbroken")
    assert {saved["data_digest"] for saved in runs.lease(tmp_path / "job")["checkpoints"]} == {begun["data_digest"]}


def test_the_same_rows_in_another_file_go_on(settings, tmp_path):
    stopped(settings, tmp_path / "job")
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({**row, "note": "x"}, indent=None) for row in ROWS))
    run = runs.start(settings, tmp_path / "job", 2)
    assert next(iter(run))["checkpoint"]["step"] == 3
    assert run.wait() == 0


def test_a_finished_run_of_other_data_is_not_finished_already(settings, tmp_path):
    assert runs.train(settings, tmp_path / "job").process.exitcode == 0
    assert "finished already\n" in runs.train(settings, tmp_path / "job", 2).text
    write(tmp_path, MORE)
    run = runs.train(settings, tmp_path / "job", 2)
    assert (run.process.exitcode, run.failure["reason"]) == (2, "BadConfig")
    assert "the result of other data than are there now" in run.failure["message"]
    (tmp_path / "data.jsonl").unlink()
    gone = runs.train(settings, tmp_path / "job", 2)
    assert gone.process.exitcode == 0
    assert "finished already; whether its data are still the same cannot be seen" in gone.text


def test_an_adapter_is_not_evaluated_on_other_data(settings, tmp_path):
    assert runs.train(settings, tmp_path / "job").process.exitcode == 0
    assert runs.evaluate(tmp_path / "job") == 0
    write(tmp_path, MORE)
    assert runs.evaluate(tmp_path / "job") == 11


def test_a_template_writes_the_date_of_the_first_attempt_for_ever(settings, tmp_path):
    """The lease is set back by days, as it would be on a later one."""
    model = tmp_path / "model"
    tiny_model(0).save_pretrained(model)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + tokenizer.chat_template
    tokenizer.save_pretrained(model)
    settings["model"] = str(model)
    old = "2025-02-03T04:05:06Z"

    def begun_long_ago(output):
        stopped(settings, output, 2)  # before its first checkpoint
        (output / "LEASE").write_text(json.dumps({**runs.lease(output), "started_at": old}))

    begun_long_ago(tmp_path / "job")
    stopped_at = runs.start(settings, tmp_path / "job", 2, halt=(4,))
    stopped_at.reach(4)
    stopped_at.signal(signal.SIGKILL)
    stopped_at.wait()
    assert runs.train(settings, tmp_path / "job", 3).process.exitcode == 0
    assert runs.lease(tmp_path / "job")["started_at"] == old
    assert runs.metrics(tmp_path / "job")["template_time"] == "2025-02-03T04:05:06+00:00"
    assert runs.train(settings, tmp_path / "today").process.exitcode == 0
    begun_long_ago(tmp_path / "unbroken")
    assert runs.train(settings, tmp_path / "unbroken", 2).process.exitcode == 0
    assert curve(tmp_path / "job") == curve(tmp_path / "unbroken") != curve(tmp_path / "today")
    assert runs.evaluate(tmp_path / "job") == 0
