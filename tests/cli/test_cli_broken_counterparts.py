"""Whatever a command asks may be away, refuse, or answer nonsense: it ends with a sentence and a documented code."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.console import ExitCode
from fixtures.hub_process import job_body

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def refusal(code, reason, message):
    """As a Kubernetes API refuses."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return code, json.dumps(body | {"message": message}).encode()


ANSWERS = {
    "401": refusal(401, "Unauthorized", "Unauthorized"),
    "403": refusal(
        403, "Forbidden", 'carbontrainingjobs.carbonfleet.dev is forbidden: User "eve" cannot list resource'
    ),
    "404": refusal(404, "NotFound", "the server could not find the requested resource"),
    "429": refusal(429, "TooManyRequests", "slow down"),
    "500": refusal(500, "InternalError", "etcdserver: request timed out"),
    "a page": (200, PAGE),
    "a gateway's page": (502, PAGE),
    "nothing": (200, b""),
    "a list": (200, b"[1, 2]"),
    "a number": (503, b"7"),
    "other bytes": (200, b"\xff\xfe\x00"),
}
SAYS = {
    "401": "renew the credentials in your kubeconfig",
    "403": 'User "eve" cannot list resource',
    "404": "is carbonfleet installed there",
    "429": "slow down",
    "500": "etcdserver: request timed out",
}
HUB_COMMANDS = {
    "status": ("status",),
    "status -o json": ("status", "-o", "json"),
    "watch": ("watch", "team-a/x"),
    "watch by name": ("watch", "x"),
    "logs": ("logs", "team-a/x"),
    "logs -f": ("logs", "-f", "x"),
    "explain": ("explain", "team-a/x"),
    "sweep status": ("sweep", "status", "small"),
    "sweep results": ("sweep", "results", "small", "-o", "json"),
    "serve": ("serve", "--sweep", "small", "-o", "-"),
    "validate --hub": ("validate", "job.yaml", "--hub"),
    "spoke take-over": ("spoke", "take-over", "no-osl-1", "--yes"),
}


class Api:
    """An HTTP server that answers everything alike."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                code, body = self.server.said
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PATCH = answer  # noqa: N815 - as http.server calls them

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.said = (200, b"{}")
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def api():
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where commands run, with a job's manifest."""
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job_body("x", "team-a")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kubeconfig(folder, url):
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": url}}],
        "users": [{"name": "a", "user": {"token": "t0k"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }
    file.write_text(yaml.safe_dump(content))
    return file


def sentence(*words, code=(ExitCode.FAILED,), **environment):
    """What the command says, once it is known to be for people."""
    done = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    assert done.exit_code in code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    told = done.stdout + done.stderr
    assert told.strip()
    for never in ("Traceback", "<html", '"kind"', "nobody foresaw", "HTTPConnection", " object at 0x", "t0k"):
        assert never not in told
    return told


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("command", HUB_COMMANDS)
def test_what_the_hub_s_api_answers_is_told_in_a_sentence(api, folder, command, answer):
    api.server.said = ANSWERS[answer]
    # What is refused of one job is a finding of `validate`.
    code = (ExitCode.FAILED, ExitCode.WRONG) if command == "validate --hub" else (ExitCode.FAILED,)
    told = sentence(*HUB_COMMANDS[command], "--kubeconfig", kubeconfig(folder, api.url), code=code)
    expected = SAYS.get(answer, "is no Kubernetes API")
    assert expected in told


@pytest.mark.parametrize("command", HUB_COMMANDS)
def test_an_api_that_is_down_is_told_with_its_address(folder, command):
    told = sentence(*HUB_COMMANDS[command], "--kubeconfig", kubeconfig(folder, "http://127.0.0.1:1"))
    assert told.startswith("error: the Kubernetes API at http://127.0.0.1:1 did not answer: ")
    assert len(told.splitlines()) == 1


def test_an_api_that_never_answers_is_given_up(folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told = sentence("status", "--kubeconfig", kubeconfig(folder, url))
    assert told.startswith(f"error: the Kubernetes API at {url} did not answer: ")


@pytest.mark.parametrize("content", [None, "", "[", "a: b", "clusters: 7", b"\xff\xfe"])
@pytest.mark.parametrize("command", HUB_COMMANDS)
def test_a_kubeconfig_that_can_not_be_used_is_named(folder, command, content):
    file = folder / "broken"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert f"no usable kubeconfig at {file}" in sentence(*HUB_COMMANDS[command], "--kubeconfig", file)


@pytest.mark.parametrize("words", [("watch", "team-a/x"), ("logs", "team-a/x"), ("explain", "team-a/x")])
def test_a_job_that_is_not_there_is_told_by_its_name(api, folder, words):
    api.server.said = refusal(404, "NotFound", 'carbontrainingjobs.carbonfleet.dev "x" not found')
    told = sentence(*words, "--kubeconfig", kubeconfig(folder, api.url))
    assert told == "error: no job x in team-a; see kubectl get ctj -A\n"


GIT_COMMANDS = {
    "list": ("review", "list"),
    "show": ("review", "show", "team-a/x"),
    "approve": ("review", "approve", "team-a/x", "--reviewer", "A <a@example.org>"),
    "reject": ("review", "reject", "team-a/x", "--why", "no", "--reviewer", "A <a@example.org>"),
}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/fleet.git", "{api}/fleet.git", "git://127.0.0.1:1/f", "nonsense"])
@pytest.mark.parametrize("command", GIT_COMMANDS)
def test_a_fleet_repository_that_can_not_be_read_is_told(api, folder, command, url):
    api.server.said = ANSWERS["a page"]
    assert sentence(*GIT_COMMANDS[command], "--fleet-url", url.format(api=api.url)).startswith("error: ")


@pytest.mark.parametrize("words", [("fleet", "init", "new"), ("spoke", "join", "no-osl-1", "--fleet", "fleet")])
def test_git_that_is_not_installed_is_told(folder, words):
    (folder / "fleet" / "policies").mkdir(parents=True)
    (folder / "fleet" / ".git").mkdir()
    told = sentence(*words, PATH=str(folder))
    assert "git" in told


FILE_COMMANDS = {
    "validate": ("validate", "{}"),
    "explain": ("explain", "{}", "--demo"),
    "explain with signals": ("explain", "job.yaml", "--fleet", "{}"),
    "report": ("report", "--ledger", "{}"),
    "report export": ("report", "export", "--ledger", "{}"),
    "report import": ("report", "import", "{}", "--ledger", "new.sqlite"),
    "report verify": ("report", "verify", "{}"),
    "signals": ("signals", "--zone", "DE", "--settings", "{}"),
    "signals check": ("signals", "check", "--zone", "DE", "--settings", "{}"),
    "when": ("when", "--zone", "DE", "--signals", "{}"),
    "assess": ("assess", "--zones", "DE", "--trace", "{}"),
    "backtest": ("backtest", "--zones", "DE", "--trace", "{}"),
    "policy check": ("policy", "check", "{}"),
    "policy test": ("policy", "test", "--data-class", "public", "--namespace", "team-a", "{}"),
    "sweep generate": ("sweep", "generate", "-f", "{}", "-o", "jobs"),
    "chat --score": ("chat", "--score", "{}"),
    "hub run": ("hub", "run", "--fleet-url", "git://127.0.0.1:1/f", "--settings", "{}"),
    "spoke run": ("spoke", "run", "--spoke", "a", "--fleet-url", "git://127.0.0.1:1/f", "--settings", "{}"),
}


@pytest.mark.parametrize("content", ["missing", "folder", "bytes", "a loop of links"])
@pytest.mark.parametrize("command", FILE_COMMANDS)
def test_a_file_that_can_not_be_read_is_named(folder, command, content):
    path = folder / "given"
    if content == "folder":
        path.mkdir()
    elif content == "bytes":
        path.write_bytes(b"\xff\xfe\x00\x80\n")
    elif content == "a loop of links":
        path.symlink_to(path)
    words = [word.format(path) for word in FILE_COMMANDS[command]]
    assert sentence(*words, code=(ExitCode.FAILED, ExitCode.WRONG))
