"""Prompts with checks: their file, what is wrong with an answer, and the scores' way to the leaderboard."""

import json
import threading
from datetime import timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.wire import API_VERSION
from carbonfleet.kube import ours
from carbonfleet.sweep import SWEEP, ChatEndpoint, SweepError, leaderboard
from carbonfleet.sweep.scoring import ScoredPrompt, ask_all, read_suite, score_of
from carbonfleet.sweep.scoring.ask import code_in, faults
from carbonfleet.sweep.scoring.record import SCORE
from carbonfleet.sweep.scoring.sandbox import run_isolated
from carbonfleet.yaml_reader import FileInvalid
from fixtures.http_server import HttpServer, QuietHandler

NAMESPACE = "scores"
PROMPTS = """\
prompts:
  - name: adds
    prompt: What is 3 plus 4?
    contains: "7"
  - prompt: Say hello.
    system: You are kind.
    regex: ['(?i)hello', '!$']
"""
ANSWERS = {
    "good": {"What is 3 plus 4?": "It is 7.", "Say hello.": "Hello you!"},
    "fair": {"What is 3 plus 4?": "7", "Say hello.": "Good day\x1b[2J"},
    "poor": {"What is 3 plus 4?": "8", "Say hello.": ""},
}


class Models(QuietHandler):
    """Plays an endpoint of several models, each with its answer to each question; so many break off at first."""

    protocol_version = "HTTP/1.0"

    def respond(self):
        if self.path.endswith("/models"):
            self._send("application/json", json.dumps({"data": [{"id": name} for name in self.server.answers]}))
            return
        asked = json.loads(self.body())
        self.server.asked.append(asked)
        content = self.server.answers[asked["model"]][asked["messages"][-1]["content"]]
        whole = f"data: {json.dumps({'choices': [{'delta': {'content': content}}]})}\n\n"
        self.server.breaks -= 1
        self._send("text/event-stream", whole + ("" if self.server.breaks >= 0 else "data: [DONE]\n\n"))

    def _send(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def served():
    with HttpServer(Models) as server:
        server.answers, server.asked, server.breaks, server.let_go = dict(ANSWERS), [], 0, threading.Event()
        server.url += "/v1"
        yield server


@pytest.fixture
def file(tmp_path):
    """Writes a file of prompts; its path."""

    def write(text=PROMPTS, name="prompts.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(path):
    with pytest.raises(FileInvalid) as error:
        read_suite(path)
    return [(problem.line, problem.message) for problem in error.value.problems]


def test_a_file_says_the_same_as_yaml_and_as_a_json_object_on_each_line(file):
    suite = read_suite(file())
    lines = [
        {"name": "adds", "prompt": "What is 3 plus 4?", "contains": ["7"]},
        {"prompt": "Say hello.", "system": "You are kind.", "regex": ["(?i)hello", "!$"]},
    ]
    other = read_suite(file("\n\n".join(map(json.dumps, lines)) + "\n", "prompts.jsonl"))
    assert suite.prompts == other.prompts
    assert [prompt.name for prompt in suite.prompts] == ["adds", "2"]
    assert (suite.name, suite.digest, suite.has_code) == ("prompts.yaml", other.digest, False)
    assert read_suite(file(PROMPTS.replace("3 plus", "4 plus"))).digest != suite.digest
    assert read_suite(file('{"prompt": "\\ud83d\\ude00?", "exact": "x"}', "prompts.jsonl")).prompts[0].prompt == "😀?"


@pytest.mark.parametrize(
    ("prompt", "line", "says"),
    [
        ("  - prompt: x\n    contains: 7", 3, "prompts[0].contains: 7 is no text: put it in quotes"),
        ("  - prompt: x\n    contains: [7]", 3, "prompts[0].contains[0]: must be text"),
        ("  - prompt: x", 2, "prompts[0]: nothing is checked: write exact, contains, regex or code"),
        ("  - contains: x", 2, "prompts[0].prompt: is missing"),
        ("  - prompt: x\n    exact: x\n    equals: x", 4, "prompts[0].equals: no such field"),
        ("  - prompt: x\n    regex: ((", 3, "prompts[0].regex: (( is no regular expression: missing ), "),
        ("  - prompt: x\n    code: 'def ('", 3, "prompts[0].code: is no Python: "),
        (
            "  - {name: a, prompt: x, exact: x}\n  - {name: a, prompt: z, exact: z}",
            3,
            "another prompt is called a already",
        ),
        ("  - {prompt: x, exact: x}\n  - {name: '1', prompt: z, exact: z}", 3, "another prompt is called 1 already"),
        ("  []", 1, "holds no prompts"),
        ("  - prompt: x\n    exact:", 3, "prompts[0].exact: is empty: write a value, or leave the field out"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(file, prompt, line, says):
    [(found, message)] = problems(file(f"prompts:\n{prompt}\n"))
    assert (found, message[: len(says)]) == (line, says)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "holds no prompts"),
        ('{"prompt": "x", "exact": "x"}\n{"prompt": "y"}', 2, "nothing is checked"),
        ('{"prompt": "x", "prompt": "y"}', 1, "not a JSON object: a key is written twice"),
        ('\n\n{"prompt": ', 3, "not a JSON object: Expecting value"),
        ("[]", 1, "must hold fields"),
        ("7", 1, "must hold fields"),
        (b"\xff\xfe", 1, "not a JSON object: 'utf-8' codec can't decode"),
        ("[" * 100_000, 1, "not a JSON object: "),
        (b" " * ((1 << 20) + 1), 1, "larger than 1048576 bytes"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_number(file, text, line, says):
    [(found, message)] = problems(file(text, "prompts.jsonl"))
    assert (found, message[: len(says)]) == (line, says)


@given(st.binary(max_size=300), st.sampled_from(["prompts.yaml", "prompts.jsonl"]))
def test_whatever_a_file_holds_it_is_read_or_told(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    with pytest.raises(FileInvalid):
        read_suite(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SweepError, match=r"nothing\.yaml can't be read: No such file"):
        read_suite(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("checks", "answer", "found"),
    [
        ({"exact": "7"}, " 7\n", []),
        ({"exact": "7"}, "It is 7", ["is not '7'"]),
        ({"contains": ["7", "x"]}, "7", ["does not contain 'x'"]),
        ({"regex": [r"^\d$", "a"]}, "7", ["does not match 'a'"]),
        ({"regex": [r"\d"], "exact": "8", "contains": ["9"]}, "7", ["is not '8'", "does not contain '9'"]),
        ({"regex": ["(a|aa)+$"]}, "a" * 60 + "b", ["a regular expression was searched for longer than 5 s"]),
        ({"regex": ["."]}, "\ud83d\x00", []),
        ({"contains": ["x" * 99]}, "", [f"does not contain '{'x' * 40}...'"]),
    ],
)
def test_every_check_must_hold(checks, answer, found):
    assert list(faults(ScoredPrompt.model_validate({"prompt": "?", **checks}), answer)) == found


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("a = 1", "a = 1"),
        ("Here:\n```python\na = 1\n```\nand\n```\nb = 2\n```\nDone.", "a = 1\nb = 2"),
        ("```py\na = 1\n```", "a = 1"),
        ("```bash\nrm -rf /\n```\n```python\na = 1\n```", "a = 1"),
        ("```Python\na = 1", "a = 1"),
        ("```text\nhello\n```", ""),
    ],
)
def test_the_code_of_an_answer_is_its_python_blocks_or_all_of_it(answer, code):
    assert code_in(answer) == code


def test_each_model_is_asked_every_prompt_in_a_chat_of_its_own(served, file):
    suite = read_suite(file())
    told = []
    scores = ask_all(ChatEndpoint(served.url), ["good", "poor"], suite, 9, lambda one: told.append(one.model))
    assert [(one.model, one.passed, one.share) for one in scores] == [("good", 2, 1.0), ("poor", 0, 0.0)]
    assert [answer.fault for answer in scores[1].answers] == ["does not contain '7'", "does not match '(?i)hello'"]
    assert told == ["good", "poor"]
    assert [asked["messages"] for asked in served.asked[:2]] == [
        [{"role": "user", "content": "What is 3 plus 4?"}],
        [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Say hello."}],
    ]
    assert {(asked["max_tokens"], asked["temperature"]) for asked in served.asked} == {(9, 0.0)}


def test_an_answer_that_breaks_off_is_asked_again_and_never_counted_as_wrong(served, file):
    served.breaks = 2
    [score] = ask_all(ChatEndpoint(served.url), ["good"], read_suite(file()), 9)
    assert score.passed == 2
    served.breaks = 3
    with pytest.raises(SweepError, match="good could not be asked adds: the answer broke off before its end"):
        ask_all(ChatEndpoint(served.url), ["good"], read_suite(file()), 9)


def chat(command, served, path, *more):
    return command("chat", "--url", served.url, "--score", path, *more)


def test_the_command_prints_a_table_that_fits_a_terminal(served, file, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = chat(command, served, file())
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [
        ["model", "score", "12"],
        ["good", "100%", "++"],
        ["fair", "50%", "+-"],
        ["poor", "0%", "--"],
    ]
    assert "2  2       1 of 3  fair does not match '(?i)hello'" in done.stdout
    assert done.stderr == "good: 2 of 2\nfair: 1 of 2\npoor: 0 of 2\n"
    assert "\x1b" not in done.stdout


def test_the_command_says_it_all_for_machines_by_its_schema(served, file, command):
    done = chat(command, served, file(), "--json", "-m", "fair")
    found = json.loads(done.stdout)
    Draft202012Validator(json.loads(command("schema", "chat").stdout)).validate(found)
    assert yaml.safe_load(chat(command, served, file(), "-o", "yaml", "-m", "fair").stdout) == found
    assert chat(command, served, file(), "-o", "name").stdout == "good\nfair\npoor\n"
    assert (found["suite"], len(found["digest"])) == ("prompts.yaml", 16)
    assert found["models"] == [
        {
            "model": "fair",
            "score": 0.5,
            "passed": 1,
            "answers": [
                {"prompt": "adds", "answer": "7", "fault": ""},
                {"prompt": "2", "answer": "Good day\x1b[2J", "fault": "does not match '(?i)hello'"},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--score", "{file}", "hello"), "--score asks what its file says, at temperature 0"),
        (("--score", "{file}", "-m", "other"), "serves no other; there is good, fair, poor"),
        (("--sweep", "small"), "--allow-code, --sweep, -o and --json are of --score FILE"),
        (("--score", "{file}x"), "can't be read: No such file"),
    ],
)
def test_a_wrong_command_is_told_in_a_sentence(served, file, command, arguments, says):
    path = file()
    done = command("chat", "--url", served.url, *(word.format(file=path) for word in arguments))
    assert done.exit_code == 2
    assert says in done.stderr


def test_code_runs_only_where_that_is_allowed_and_a_machine_that_cant_isolate_it_refuses(served, file, command):
    asks = "Write add(a, b)."
    served.answers = {
        "good": {asks: "Here:\n```python\ndef add(a, b):\n    return a + b\n```\n"},
        "evil": {asks: "```python\nimport os\nos._exit(0)\n```"},
    }
    path = file(f"prompts:\n  - prompt: {asks}\n    code: assert add(3, 4) == 7\n")
    done = chat(command, served, path)
    assert (done.exit_code, served.asked) == (2, [])
    assert "allow that with --allow-code, which runs it isolated" in done.stderr
    done = chat(command, served, path, "--allow-code", "--json")
    try:
        run_isolated("", "")
    except SweepError:
        assert (done.exit_code, served.asked) == (2, [])
        assert "can't be isolated on this machine, so none is run" in done.stderr
        return
    found = {one["model"]: (one["score"], one["answers"][0]["fault"]) for one in json.loads(done.stdout)["models"]}
    assert found == {"good": (1.0, ""), "evil": (0.0, "its code: it ended early with 0")}


@pytest.fixture(scope="module")
def sweep(hub, kube):
    """Three jobs of a sweep, one of which is called like a model; the sweep's name."""
    assert hub.kubectl("create", "namespace", NAMESPACE).returncode == 0
    spec = {
        "workload": {"model": "carbonfleet/tiny-qwen2", "dataset": {"name": "carbonfleet/tiny-instructions"}},
        "resources": {"duration": "1h"},
        "residency": {"dataClass": "public"},
    }
    for name in ("good", "fair", "never-served"):
        metadata = {"name": name, "labels": {SWEEP: "scored"}}
        body = {"apiVersion": API_VERSION, "kind": "CarbonTrainingJob", "metadata": metadata, "spec": spec}
        kube.create(ours("carbontrainingjobs", NAMESPACE), body)
    return "scored"


def jobs(kube):
    bodies = kube.list(ours("carbontrainingjobs", NAMESPACE))[0]
    return {body["metadata"]["name"]: CarbonTrainingJob.model_validate(body) for body in bodies}


def test_scores_reach_the_leaderboard_and_give_way_to_those_of_other_prompts(
    hub, kube, sweep, served, file, command, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "160")
    hub_of = ("--kubeconfig", hub.kubeconfig)

    def column():
        shown = command("sweep", "results", sweep, *hub_of, "-o", "wide").stdout.splitlines()
        rows = shown[next(number for number, line in enumerate(shown) if " loss " in line) :]
        return {row.split()[1]: row.split()[-1] for row in rows if row.split()[:1] == ["-"]}, shown[-1]

    assert "score" not in command("sweep", "results", sweep, *hub_of).stdout
    done = chat(command, served, file(), "--sweep", sweep, *hub_of)
    assert "kept at 2 jobs of sweep scored" in done.stderr
    kept = score_of(jobs(kube)["fair"])
    assert (kept.passed, kept.prompts, kept.suite, kept.share) == (1, 2, "prompts.yaml", 0.5)
    assert column() == (
        {"good": "100%", "fair": "50%", "never-served": "-"},
        "score: of the 2 prompts of prompts.yaml, as chat --score asked them last",
    )
    found = json.loads(command("sweep", "results", sweep, *hub_of, "--json").stdout)["jobs"]
    scores = {one["job"]: one["score"] for one in found}
    assert (scores["good"]["share"], scores["good"]["suite"], scores["never-served"]) == (1.0, "prompts.yaml", None)
    for name, job in jobs(kube).items():
        if (score := score_of(job)) is not None:  # an hour ago
            earlier = score.model_copy(update={"time": score.time - timedelta(hours=1)}).model_dump_json(by_alias=True)
            kube.patch(ours("carbontrainingjobs", NAMESPACE, name), {"metadata": {"annotations": {SCORE: earlier}}})
    other = file('{"prompt": "Say hello.", "contains": "Hello"}', "other.jsonl")
    assert chat(command, served, other, "-m", "good", "--sweep", sweep, *hub_of).exit_code == 0
    assert column()[0] == {"good": "100%", "fair": "-", "never-served": "-"}


def test_scores_of_models_that_are_none_of_the_sweeps_are_kept_nowhere(hub, sweep, served, file, command):
    done = chat(command, served, file(), "-m", "poor", "--sweep", sweep, "--kubeconfig", hub.kubeconfig)
    assert done.exit_code == 2
    assert "no job of sweep scored is called like one of these models" in done.stderr
    assert "poor" in done.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", '{"passed": 1}', '{"passed": 1e99}', "\x00"])
def test_an_annotation_that_is_no_score_is_none(kube, sweep, text):
    job = jobs(kube)["never-served"]
    marked = job.model_copy(update={"metadata": job.metadata.model_copy(update={"annotations": {SCORE: text}})})
    assert score_of(marked) is None
    assert leaderboard([marked])[0].standing.score is None
