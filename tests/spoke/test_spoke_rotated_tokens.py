"""The agent's way to the hub while its kubeconfig and token are replaced beside it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonfleet.kube import TOKEN_SECONDS, Kube, KubeError
from fixtures.http_server import HttpServer, QuietHandler


class Api:
    """An API server that takes one token, and keeps which were shown to it."""

    def __init__(self, name: str, token: str) -> None:
        self.token, self.shown = token, []
        api = self

        class Handler(QuietHandler):
            def respond(self) -> None:
                api.shown.append(self.headers.get("Authorization", ""))
                allowed = api.shown[-1] == f"Bearer {api.token}"
                content = json.dumps({"api": name} if allowed else {"reason": "Unauthorized"}).encode()
                self.answer(200 if allowed else 401, content)

        self.server = HttpServer(Handler)
        self.url = self.server.url

    def close(self) -> None:
        self.server.close()


class Timer:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api("first", "old")
    yield made
    made.close()


@pytest.fixture
def other_api() -> Iterator[Api]:
    made = Api("second", "new")
    yield made
    made.close()


def write(file: Path, url: str, **user: object) -> Path:
    """Put a kubeconfig in the place of the one that is there, in one step."""
    content = {
        "current-context": "hub",
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "agent"}}],
        "clusters": [{"name": "hub", "cluster": {"server": url}}],
        "users": [{"name": "agent", "user": user}],
    }
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    return fresh.replace(file)


def renew_by_token_file(file: Path, url: str, token: str) -> Path:
    (file.parent / "token").write_text(f"{token}\n")
    return file if file.exists() else write(file, url, tokenFile="token")


def renew_by_kubeconfig(file: Path, url: str, token: str) -> Path:
    return write(file, url, token=token)


@pytest.mark.parametrize("renew", [renew_by_token_file, renew_by_kubeconfig])
def test_a_token_that_is_replaced_is_used_after_token_seconds(api, tmp_path, renew):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(renew(file, api.url, "old"), timer)
    quick = kube.within(5)
    assert (kube.get("/version"), quick.get("/version")) == ({"api": "first"}, {"api": "first"})
    renew(file, api.url, "new")
    api.token = "new"
    timer.seconds += TOKEN_SECONDS - 1
    with pytest.raises(KubeError) as caught:
        kube.get("/version")
    assert caught.value.status == 401
    timer.seconds += 1
    assert (kube.get("/version"), quick.get("/version")) == ({"api": "first"}, {"api": "first"})
    assert api.shown == ["Bearer old"] * 3 + ["Bearer new"] * 2


@pytest.mark.parametrize("renew", [renew_by_token_file, renew_by_kubeconfig])
def test_credentials_handed_to_others_are_those_of_the_moment(api, tmp_path, renew):
    file = tmp_path / "kubeconfig"
    kube = Kube.connect(renew(file, api.url, "old"), Timer())
    assert kube.credentials()["token"] == "old"
    renew(file, api.url, "new")
    assert kube.credentials()["token"] == "new"


def test_a_kubeconfig_that_names_another_server_leads_there(api, other_api, tmp_path):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(write(file, api.url, token="old"), timer)
    assert kube.get("/version") == {"api": "first"}
    write(file, other_api.url, token="new")
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "second"}
    assert (kube.url, api.shown, other_api.shown) == (other_api.url, ["Bearer old"], ["Bearer new"])


@pytest.mark.parametrize("broken", ["", "{", "[]", "users: [{user: 1}]", "users: 3", None])
def test_a_kubeconfig_that_is_broken_for_a_while_ends_nothing(api, tmp_path, broken):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(write(file, api.url, token="old"), timer)
    file.unlink() if broken is None else file.write_text(broken)
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "first"}
    write(file, api.url, token="new")
    api.token = "new"
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "first"}


def test_a_program_that_gives_tokens_is_not_run_again_while_nothing_changed(api, tmp_path):
    timer, runs, script = Timer(), tmp_path / "runs", tmp_path / "give.py"
    given = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "old"},
    }
    script.write_text(f"open({str(runs)!r}, 'a').write('run ')\nprint({json.dumps(given)!r})\n")
    program = {
        "apiVersion": given["apiVersion"],
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    kube = Kube.connect(write(tmp_path / "kubeconfig", api.url, exec=program), timer)
    for _ in range(3):
        assert kube.get("/version") == {"api": "first"}
        timer.seconds += TOKEN_SECONDS
    assert runs.read_text() == "run "
