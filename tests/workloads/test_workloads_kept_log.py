"""What a run prints, kept beside its output however it ends: real processes whose output goes to a file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from workloads.lora.storage import open_store
from workloads.lora.storage.kept_log import MOST_ATTEMPTS, MOST_BYTES, log_name

from fixtures.kubeapi_server import eventually
from fixtures.s3_server import serving

ROOT = Path(__file__).parents[2]
BEGIN = (
    "import os, sys; from workloads.lora.storage import KeptLog; log = KeptLog.begin(*sys.argv[1:2], int(sys.argv[2]))"
)


@pytest.fixture
def begin(tmp_path):
    """Starts a run that does `code` and then ends its log, with an output at a place; its process."""
    started = []

    def start(code, output=tmp_path / "output", attempt=1, **environment):
        variables = {**os.environ, "LORA_REPORT_SECONDS": "0.05", **environment}
        command = [sys.executable, "-c", "\n".join((BEGIN, code, "log.end()")), str(output), str(attempt)]
        with (tmp_path / "printed.txt").open("ab") as printed:
            run = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=printed, stderr=printed, stdin=subprocess.PIPE
            )
        started.append(run)
        return run

    yield start
    for run in started:
        run.kill()
        run.wait()


@pytest.fixture
def keep(begin, tmp_path):
    """Does `code` in a run to its end; what is kept of what it prints."""

    def run(code, attempt=1, **environment):
        assert begin(code, attempt=attempt, **environment).wait(60) == 0, (tmp_path / "printed.txt").read_text()
        return kept(tmp_path, attempt)

    return run


def kept(tmp_path, attempt=1):
    file = tmp_path / "output" / log_name(attempt)
    return file.read_bytes() if file.exists() else b""


def copier_of(run):
    """The process that copies."""
    return eventually(lambda: psutil.Process(run.pid).children())[0]


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_what_is_printed_is_kept_as_people_read_it(keep):
    lines = (
        r"print('loading')",
        r"print('LORA_PROGRESS {\"step\": 1}')",
        r"print('step 1 of 2')",
        r"print('LORA_FAILURE {\"reason\": \"x\"}')",
        r"print(' 10%|#\r 50%|###\r100%|#####\r')",
        r"print('from a library', file=sys.stderr)",
        r"os.write(1, b'not UTF-8: \xff, and no end')",
    )
    assert keep("sys.stdout.reconfigure(line_buffering=True)\n" + "\n".join(lines)) == (
        b"loading\nstep 1 of 2\n100%|#####\nfrom a library\nnot UTF-8: \xff, and no end\n"
    )


def test_it_is_kept_while_the_run_goes_on(begin, tmp_path):
    run = begin("print('step 1', flush=True); sys.stdin.read(); print('step 2')")
    eventually(lambda: kept(tmp_path) == b"step 1\n")
    run.communicate(timeout=60)
    assert kept(tmp_path) == b"step 1\nstep 2\n"


def test_a_line_counts_once_it_has_ended_so_that_who_follows_reads_none_twice(begin, tmp_path):
    run = begin("os.write(1, b'first\\nhal'); sys.stdin.read(); os.write(1, b'f\\n')")
    eventually(lambda: kept(tmp_path) == b"first\n")
    run.communicate(timeout=60)
    assert kept(tmp_path) == b"first\nhalf\n"


@pytest.mark.parametrize("crash", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_the_last_line_of_a_run_that_is_killed_or_crashes_is_kept(begin, tmp_path, crash):
    run = begin(f"print('last words', flush=True); os.kill(os.getpid(), {getattr(signal, crash).value})")
    assert run.wait(60) == -getattr(signal, crash)
    eventually(lambda: kept(tmp_path) == b"last words\n")


def test_the_copying_process_ends_with_the_run_and_not_before(begin, tmp_path):
    run = begin("print('on', flush=True); sys.stdin.read()")
    copier = copier_of(run)
    eventually(lambda: kept(tmp_path) == b"on\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        copier.send_signal(number)
    (tmp_path / "printed.txt").open("ab").write(b"more\n")
    eventually(lambda: kept(tmp_path) == b"on\nmore\n")
    run.kill()
    run.wait()
    eventually(lambda: is_gone(copier))


def test_only_the_end_is_kept_from_the_beginning_of_a_line_on(keep):
    found = keep("for number in range(60_000): print(f'line {number:06}')")
    assert MOST_BYTES - 12 <= len(found) <= MOST_BYTES
    assert found.endswith(b"line 059998\nline 059999\n")
    assert found.startswith(b"line 0")


def test_a_line_longer_than_all_that_is_kept_leaves_what_comes_after(keep):
    assert keep("print('x' * 3_000_000); print('after')") == b"after\n"


def test_no_secret_is_kept(keep):
    secrets = {"HF_TOKEN": "hf-of-mine", "AWS_SECRET_ACCESS_KEY": "abc+/def==", "WANDB_API_KEY": "0123456789abcdef"}
    printed = ("{HF_TOKEN} and {AWS_SECRET_ACCESS_KEY}", "key={WANDB_API_KEY}", "https://me:pass@host/x?a=b")
    code = f"for line in {printed!r}: print(line.format(**os.environ))\nprint('Bearer abc.def; hf_{'a' * 20}')"
    assert keep(code, **secrets) == (
        b"[hidden] and [hidden]\nkey=[hidden]\nhttps://[hidden]@host/x?a=b\nBearer [hidden] [hidden]\n"
    )


def test_an_attempt_that_is_started_again_goes_on_in_its_log(keep):
    keep("print('first')")
    first, again, second = keep("print('second')").splitlines()
    assert (first, second) == (b"first", b"second")
    assert again.startswith(b"--- started again at 20")
    assert keep("print('other')", attempt=2) == b"other\n"


def test_logs_of_attempts_long_past_are_removed(keep, tmp_path):
    keep("print('one')")
    keep("print('next')", attempt=MOST_ATTEMPTS)
    assert kept(tmp_path, 1) == b"one\n"
    keep("print('last')", attempt=MOST_ATTEMPTS + 1)
    assert kept(tmp_path, 1) == b""


def test_a_run_is_not_kept_from_ending_by_a_store_that_takes_nothing(begin, tmp_path):
    (tmp_path / "output").write_text("a file where the folder should be")
    assert begin("print('on')").wait(60) == 0
    assert (tmp_path / "printed.txt").read_text() == "on\n"


def test_what_goes_to_a_pipe_is_left_to_who_reads_it(tmp_path):
    code = "\n".join((BEGIN, "print('on')", "log.end()"))
    command = [sys.executable, "-c", code, str(tmp_path / "output"), "1"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True).stdout == b"on\n"
    assert not (tmp_path / "output").exists()


def test_it_is_kept_in_an_object_store_too(begin, monkeypatch):
    application = DomainDispatcherApplication(create_backend_app)
    for url in serving(application, monkeypatch):
        assert begin("print('far away')", output=f"{url}/run").wait(60) == 0
        assert open_store(f"{url}/run").read(log_name(1)) == b"far away\n"


def test_a_training_says_in_its_log_why_it_ended(tmp_path):
    output = tmp_path / "output"
    lease = '{"attempt": 5, "holder": "other", "config_digest": "", "checkpoints": []}'
    output.mkdir()
    (output / "LEASE").write_text(lease)
    config = '{"model": "carbonfleet/tiny-qwen2", "dataset": {"name": "carbonfleet/tiny-instructions"}}'
    variables = {**os.environ, "LORA_CONFIG": config, "LORA_OUTPUT": str(output), "LORA_ATTEMPT": "2"}
    with (tmp_path / "printed.txt").open("wb") as printed:
        command = [sys.executable, "-m", "workloads.lora.train"]
        done = subprocess.run(
            command, cwd=ROOT, env=variables, stdout=printed, stderr=printed, timeout=120, check=False
        )
    assert done.returncode == 42
    assert kept(tmp_path, 2) == b"Fenced: attempt 2 is overtaken: attempt 5 (other) holds LEASE\n"
