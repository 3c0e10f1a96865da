"""The one-machine stack's Git server: who has no token reads and writes nothing."""

import base64
import socket
import subprocess

import pytest

from carbonfleet.clock import Clock
from carbonfleet.fleet import AccessDenied, Committed, Repository, RepositorySettings
from carbonfleet.local import fleet_server
from carbonfleet.local.ports import free_port
from fixtures.fleet_values import SEED, place

TOKEN = "a-long-token"


@pytest.fixture
def served(tmp_path):
    """The server's port."""
    fleet_server.seed(tmp_path / "git", SEED)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    port = free_port()
    child = fleet_server.server(tmp_path / "git", port, tmp_path / "token", tmp_path / "git.log")
    child.start()
    fleet_server.await_port(child, port)
    yield port
    child.stop()


def repository(served, tmp_path, token, clone="clone"):
    url = f"http://127.0.0.1:{served}/{fleet_server.NAME}"
    return Repository(RepositorySettings(url=url, directory=tmp_path / clone, token=token), Clock())


def test_a_hub_with_the_token_reads_and_writes(served, tmp_path):
    hub, wanted = repository(served, tmp_path, TOKEN), place("llama")
    assert hub.fetch().clusters
    assert isinstance(hub.publish([wanted]).results[wanted.id], Committed)
    assert wanted.path in repository(served, tmp_path, TOKEN, "other").fetch().files


@pytest.mark.parametrize("token", ["", "guessed", TOKEN[:-1]])
def test_another_user_without_the_token_reads_nothing(served, tmp_path, token):
    with pytest.raises(AccessDenied):
        repository(served, tmp_path, token).fetch()


def test_the_git_command_pushes_with_the_token_and_not_without(served, tmp_path):
    def git(*arguments, user=""):
        url = f"http://{user}127.0.0.1:{served}/{fleet_server.NAME}"
        command = ["git", "-c", "user.name=Pat", "-c", "user.email=pat@example.org", *arguments]
        environment = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path)}
        command = [url if part == "URL" else part for part in command]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=120)

    assert git("clone", "URL", "work", user=f"x:{TOKEN}@").returncode == 0
    work = ("-C", "work")
    assert git(*work, "commit", "--allow-empty", "-m", "Change nothing").returncode == 0
    assert git(*work, "push", "URL", "HEAD:main").returncode != 0
    assert git(*work, "push", "URL", "HEAD:main", user=f"x:{TOKEN}@").returncode == 0


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 99999999999",
        "Content-Length: -1",
        "Content-Length: many",
        "Transfer-Encoding: chunked\r\n\r\nfffffffff",
        "Transfer-Encoding: chunked\r\n\r\n-5",
        "Transfer-Encoding: chunked\r\n\r\nzz",
    ],
)
def test_a_body_that_is_none_is_refused(served, head):
    known = base64.b64encode(f"x:{TOKEN}".encode()).decode()
    start = f"POST /{fleet_server.NAME}/git-receive-pack HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {known}\r\n"
    with socket.create_connection(("127.0.0.1", served), timeout=60) as caller:
        caller.sendall(f"{start}{head}\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("word", ["Basic ", "Basic !!", "Bearer x", "Basic " + base64.b64encode(b"no-colon").decode()])
def test_a_word_that_is_no_token_is_denied(served, word):
    with socket.create_connection(("127.0.0.1", served), timeout=60) as caller:
        target = f"/{fleet_server.NAME}/info/refs?service=git-receive-pack"
        caller.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {word}\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 401")
