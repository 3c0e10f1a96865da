"""`carbonfleet logs` against a hub's API, by logs that are kept where the command can read and where it can't."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.fleet.logs import news
from carbonfleet.kube import Kube, ours
from fixtures.hub_process import job_body
from fixtures.kubeapi_server import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hub(shared_kube_api):
    """An API that serves our definitions."""
    done = shared_kube_api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    assert done.returncode == 0, done.stderr
    eventually(lambda: shared_kube_api.kubectl("get", "ctj", "-A").returncode == 0)
    return shared_kube_api


class Job:
    """A job of a namespace of its own, whose attempts save below `store`."""

    def __init__(self, hub, store, namespace, name="train"):
        self.hub, self.store, self.namespace, self.name = hub, store, namespace, name
        self.kube = Kube.connect(hub.kubeconfig)
        self.kube.create(ours("carbontrainingjobs", namespace), job_body(name, namespace))

    def say(self, attempt=1, phase="Running", *logs, summary="Trains on no-osl-1."):
        """Write the status."""
        status = {"phase": phase, "attempt": attempt, "summary": summary, "logs": list(logs)}
        self.kube.patch(ours("carbontrainingjobs", self.namespace, self.name, "status"), {"status": status})

    def log(self, attempt=1, phase="Running", tail="", uri=None):
        """What the status says of an attempt's log."""
        place = str(self.file(attempt)) if uri is None else uri
        return {"attempt": attempt, "cluster": "no-osl-1", "phase": phase, "uri": place, "tail": tail}

    def file(self, attempt=1):
        """Where it is kept."""
        return self.store / "logs" / f"attempt-{attempt}.txt"

    def keep(self, text, attempt=1):
        """Replace what is kept, as a whole."""
        self.file(attempt).parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file(attempt).with_suffix(".new")
        fresh.write_bytes(text.encode(errors="surrogateescape"))
        fresh.replace(self.file(attempt))


@pytest.fixture
def namespace(hub, request):
    name = "logs-" + re.sub(r"[^a-z0-9]", "", request.node.name.lower())[5:50]
    assert hub.kubectl("create", "namespace", name).returncode == 0
    yield name
    hub.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def job(hub, namespace, tmp_path):
    return Job(hub, tmp_path / "store", namespace)


@pytest.fixture
def logs(hub):
    """Runs the command to its end."""

    def run(*arguments):
        return CliRunner().invoke(app, ["logs", "--kubeconfig", str(hub.kubeconfig), *map(str, arguments)])

    return run


@pytest.fixture
def follow(hub, tmp_path):
    """Starts the command with -f; what it prints goes to files."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "carbonfleet", "logs", "--kubeconfig", str(hub.kubeconfig), "-f", *arguments]
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            started.append(subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def printed(tmp_path, where="out"):
    return (tmp_path / where).read_text()


def test_the_whole_log_is_shown_where_it_can_be_read(job, logs):
    job.keep("loading\nstep 1 of 2\n")
    job.say(1, "Running", job.log(tail="step 1 of 2\n"))
    done = logs(job.name, "-n", job.namespace)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "loading\nstep 1 of 2\n", "")
    assert logs(f"{job.namespace}/{job.name}").stdout == done.stdout


def test_a_log_is_data_by_its_schema_and_says_whether_it_is_whole(job, logs):
    schema = json.loads(CliRunner().invoke(app, ["schema", "logs"]).output)
    told = {"namespace": job.namespace, "job": job.name, "attempt": 1, "cluster": "no-osl-1", "phase": "Running"}
    job.keep("loading\nstep 1\x1b[2J\n")
    for uri, is_whole, text in ((str(job.file()), True, "loading\nstep 1\x1b[2J\n"), ("s3://b/x", False, "step 1\n")):
        job.say(1, "Running", job.log(tail="step 1\n", uri=uri))
        found = json.loads(logs(job.name, "-n", job.namespace, "-o", "json").stdout)
        Draft202012Validator(schema).validate(found)
        assert found == told | {"uri": uri, "is_whole": is_whole, "text": text}
    assert logs(job.name, "-n", job.namespace, "-o", "name").stdout == f"{job.namespace}/{job.name}\n"
    done = logs(job.name, "-f", "-o", "json")
    assert (done.exit_code, done.stderr) == (2, "error: -f prints what comes as it comes: leave -o away\n")


@pytest.mark.parametrize(
    "uri",
    [
        "/nowhere/logs/attempt-1.txt",
        "https://example.org/logs/attempt-1.txt",
        "s3://bucket::http://127.0.0.1:9/x/logs/attempt-1.txt",
        "file:///etc/logs/attempt-1.txt",
        "/etc/passwd",
    ],
)
def test_elsewhere_the_last_lines_that_the_spoke_reported_are_shown(job, logs, uri):
    job.say(1, "Running", job.log(tail="step 1 of 2\n", uri=uri))
    done = logs(job.name, "-n", job.namespace)
    assert (done.exit_code, done.stdout) == (0, "step 1 of 2\n")
    assert done.stderr == f"{uri} can't be read from here; these are the last lines that no-osl-1 reported:\n"


def test_a_pipe_or_a_folder_where_the_log_should_be_keeps_nobody_waiting(job, logs):
    job.file().parent.mkdir(parents=True)
    os.mkfifo(job.file())
    job.file(2).mkdir()
    job.say(2, "Running", job.log(1, "Stopped", tail="first\n"), job.log(2, tail="second\n"))
    assert logs(job.name, "-n", job.namespace, "--attempt", 1).stdout == "first\n"
    assert logs(job.name, "-n", job.namespace).stdout == "second\n"


def test_what_a_training_prints_is_shown_and_not_obeyed(job, logs):
    job.keep("\x1b[2Jgone\x07 \u202eback \udcff\n")
    job.say(1, "Running", job.log())
    assert logs(job.name, "-n", job.namespace).stdout == "␛[2Jgone␇ \ufffdback \ufffd\n"


def test_each_attempt_has_a_log_of_its_own(job, logs):
    job.keep("of the first\n", 1)
    job.keep("of the second\n", 2)
    job.say(2, "Succeeded", job.log(1, "Stopped"), job.log(2, "Succeeded"))
    assert logs(job.name, "-n", job.namespace).stdout == "of the second\n"
    assert logs(job.name, "-n", job.namespace, "--attempt", 1).stdout == "of the first\n"


def test_what_is_not_there_is_told_in_a_sentence(job, logs):
    def error(*arguments):
        done = logs(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        return done.stderr.removeprefix("error: ").strip()

    where = ("-n", job.namespace)
    key = f"{job.namespace}/{job.name}"
    assert error("other", *where) == f"no job other in {job.namespace}; see kubectl get ctj -A"
    assert error("other-anywhere") == "no job other-anywhere in any namespace; see kubectl get ctj -A"
    assert error("a/b/c") == "'a/b' is no name; write a job's name, or NAMESPACE/NAME"
    assert error("..%2f", *where) == "'..%2f' is no name; write a job's name, or NAMESPACE/NAME"
    assert error(key, "-n", "default") == f"{key} is not in default: leave one of the two out"
    assert error(key) == f"{key} has not started: the hub has not said anything of it yet"
    job.say(0, "Waiting", summary="Starts at two.")
    assert error(key) == f"{key} has not started: Starts at two."
    job.say(3, "Failed", job.log(3, "Failed", uri=""), summary="No such model.")
    assert error(key) == "attempt 3 on no-osl-1 ended (Failed) and has printed nothing so far: No such model."
    assert error(key, "--attempt", 4) == f"attempt 4 has not started: {key} is at attempt 3"
    assert error(key, "--attempt", 1) == "nothing is known of what attempt 1 printed, only of 3: No such model."


def test_of_jobs_of_one_name_the_namespace_must_be_said(hub, job, logs, tmp_path):
    assert hub.kubectl("create", "namespace", f"{job.namespace}-b").returncode == 0
    for namespace in (job.namespace, f"{job.namespace}-b"):
        Job(hub, tmp_path, namespace, "twice")
    done = logs("twice")
    both = f"{job.namespace}, {job.namespace}-b"
    assert done.stderr == f"error: twice is in the namespaces {both}; choose one with -n\n"


def test_following_shows_what_comes_and_ends_with_the_job(job, follow, tmp_path):
    job.keep("one\n")
    job.say(1, "Running", job.log())
    process = follow(f"{job.namespace}/{job.name}")
    eventually(lambda: printed(tmp_path) == "one\n")
    job.keep("one\ntwo\n")
    eventually(lambda: printed(tmp_path) == "one\ntwo\n")
    job.keep("one\ntwo\nthree\n")
    job.say(1, "Succeeded", job.log(1, "Succeeded"))
    assert process.wait(60) == 0
    assert (printed(tmp_path), printed(tmp_path, "err")) == ("one\ntwo\nthree\n", "")


def test_following_goes_on_with_the_next_attempt(job, follow, tmp_path):
    job.say(0, "Waiting", summary="Starts at two.")
    process = follow(f"{job.namespace}/{job.name}")
    eventually(lambda: printed(tmp_path, "err"))
    job.keep("one\n")
    job.say(1, "Running", job.log())
    eventually(lambda: printed(tmp_path) == "one\n")
    job.keep("one\nsaved\n")
    job.keep("two\n", 2)
    job.say(2, "Running", job.log(1, "Stopped"), job.log(2))
    eventually(lambda: printed(tmp_path) == "one\nsaved\ntwo\n")
    job.say(2, "Succeeded", job.log(1, "Stopped"), job.log(2, "Succeeded"))
    assert process.wait(60) == 0
    assert printed(tmp_path, "err") == (
        f"{job.namespace}/{job.name} has not started: Starts at two.\n--- attempt 2 on no-osl-1 ---\n"
    )


def test_following_one_attempt_ends_with_it(job, follow, tmp_path):
    job.keep("one\n")
    job.say(1, "Running", job.log())
    process = follow(f"{job.namespace}/{job.name}", "--attempt", "1")
    eventually(lambda: printed(tmp_path) == "one\n")
    job.say(1, "Waiting", job.log(1, "Stopped"))
    assert process.wait(60) == 0


def test_following_without_a_store_shows_what_is_reported(job, follow, tmp_path):
    job.say(1, "Running", job.log(tail="a\nb\n", uri="/nowhere/logs/attempt-1.txt"))
    process = follow(f"{job.namespace}/{job.name}")
    eventually(lambda: printed(tmp_path) == "a\nb\n")
    job.say(1, "Running", job.log(tail="b\nc\n", uri="/nowhere/logs/attempt-1.txt"))
    eventually(lambda: printed(tmp_path) == "a\nb\nc\n")
    job.say(1, "Failed", job.log(1, "Failed", tail="y\nz\n", uri="/nowhere/logs/attempt-1.txt"))
    assert process.wait(60) == 0
    assert printed(tmp_path) == "a\nb\nc\n... (some lines are left out)\ny\nz\n"
    assert len(printed(tmp_path, "err").splitlines()) == 1


def test_ctrl_c_ends_following_well(job, follow, tmp_path):
    job.keep("one\n")
    job.say(1, "Running", job.log())
    process = follow(f"{job.namespace}/{job.name}")
    eventually(lambda: printed(tmp_path) == "one\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert printed(tmp_path, "err") == ""


def test_following_a_job_that_is_deleted_ends_with_a_sentence(job, follow, tmp_path):
    job.keep("one\n")
    job.say(1, "Running", job.log())
    process = follow(f"{job.namespace}/{job.name}")
    eventually(lambda: printed(tmp_path) == "one\n")
    job.kube.delete(ours("carbontrainingjobs", job.namespace, job.name))
    assert process.wait(60) == 2
    assert "no job train in" in printed(tmp_path, "err")


def test_a_hub_that_is_away_for_a_while_is_asked_again(make_kube_api, tmp_path, follow):
    api = make_kube_api()
    assert api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds")).returncode == 0
    eventually(lambda: api.kubectl("get", "ctj", "-A").returncode == 0)
    assert api.kubectl("create", "namespace", "away").returncode == 0
    job = Job(api, tmp_path / "store", "away")
    job.keep("one\n")
    job.say(1, "Running", job.log())
    process = follow("away/train", "--kubeconfig", str(api.kubeconfig))
    eventually(lambda: printed(tmp_path) == "one\n")
    api.stop()
    eventually(lambda: "asking again" in printed(tmp_path, "err"))
    api.start()
    job.keep("one\ntwo\n")
    job.say(1, "Succeeded", job.log(1, "Succeeded"))
    assert process.wait(60) == 0
    assert printed(tmp_path) == "one\ntwo\n"


LINES = st.lists(st.sampled_from(["step 1", "step 2", "x", "", "--- started again ---"]), max_size=12)


@given(LINES, LINES, st.integers(0, 12))
def test_nothing_is_shown_twice_of_a_log_that_grows(before, more, cut):
    """Lines may repeat, and the oldest fall off; numbers make each a line of its own, as times and steps do."""
    numbered = [f"{number} {line}\n" for number, line in enumerate([*before, *more])]
    old, kept = numbered[: len(before)], numbered[min(cut, len(before)) :]
    added = "".join(numbered[len(before) :])
    gap = "... (some lines are left out)\n" if old and kept and cut >= len(before) else ""
    assert news("".join(old), "".join(kept)) == gap + added
