"""Servers, clones and branches that are not as they should be: each is named, healed or left unread."""

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from carbonfleet.fleet import FleetError, Repository, RepositoryInvalid
from carbonfleet.fleet.review import Branches
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of
from fixtures.git_server import GitServer, git


def hub(server: GitServer, directory, **more) -> Repository:
    return Repository(quick_settings(server.url, directory, 2, **more), CLOCK)


def served(handler: type[BaseHTTPRequestHandler], address: str) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def thief() -> Iterator[tuple[str, list[str]]]:
    """A server on another host that asks for a password and keeps what it is given: its address, what it got."""
    given: list[str] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if said := self.headers.get("Authorization"):
                given.append(base64.b64decode(said.split()[1]).decode())
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = served(Thief, "127.0.0.2")
    yield f"http://127.0.0.2:{server.server_port}", given
    server.shutdown()
    server.server_close()


@pytest.fixture
def moved(thief) -> Iterator[str]:
    """The address of a repository whose server says that it moved to the thief's."""

    class Moved(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", thief[0] + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = served(Moved, "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}/fleet.git"
    server.shutdown()
    server.server_close()


WORK = {"fetch": Repository.fetch, "publish": lambda repository: repository.publish([place("llama")])}


@pytest.mark.parametrize("work", WORK)
def test_a_token_goes_to_no_host_that_a_redirect_names(moved, thief, tmp_path, work):
    (tmp_path / "token").write_text("SECRET-TOKEN")
    settings = quick_settings(moved, tmp_path / "hub", tries=1, token_file=tmp_path / "token")
    repository = Repository(settings, CLOCK)
    with pytest.raises(FleetError) as caught:
        WORK[work](repository)
    assert thief[1] == []
    assert "SECRET-TOKEN" not in str(caught.value)
    assert "redirect" in str(caught.value)


def test_a_repository_of_another_hash_is_named_as_such(tmp_path):
    server = GitServer(tmp_path / "server")
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet", "--object-format=sha256", "--initial-branch=main")
    (work / "a").write_text("a")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "Seed")
    shutil.rmtree(server.repository)
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(server.repository))
    server.start()
    try:
        with pytest.raises(RepositoryInvalid, match="only repositories with SHA-1 names can be read"):
            hub(server, tmp_path / "hub").fetch()
    finally:
        server.stop()


def test_branches_that_clash_with_what_the_clone_remembers_are_read(git_server, tmp_path):
    git_server.git("branch", "carbon/notes", "main")
    branches = Branches(hub(git_server, tmp_path / "hub"))
    assert set(branches.read().branches) == {"carbon/notes"}
    git_server.git("branch", "-D", "carbon/notes")
    git_server.git("branch", "carbon/notes/one", "main")
    assert set(branches.read().branches) == {"carbon/notes/one"}
    git_server.git("branch", "-D", "carbon/notes/one")
    git_server.git("branch", "carbon/notes", "main")
    assert set(branches.read().branches) == {"carbon/notes"}


def cut(directory, pattern: str) -> int:
    """Halve every file of the clone that matches; how many there were."""
    files = list(directory.glob(pattern))
    for file in files:
        file.chmod(0o644)
        os.truncate(file, file.stat().st_size // 2)
    return len(files)


@pytest.mark.parametrize(
    ("pattern", "restarted"),
    [
        ("objects/pack/*.pack", True),
        ("objects/pack/*.idx", True),
        ("objects/[0-9a-f][0-9a-f]/*", True),
        ("objects/pack/*.pack", False),
        ("objects/pack/*.idx", False),
    ],
)
def test_a_clone_whose_objects_were_cut_is_made_anew(git_server, tmp_path, pattern, restarted):
    repository = hub(git_server, tmp_path / "hub")
    repository.publish([place("llama")])
    assert cut(tmp_path / "hub", pattern)
    person = git_server.checkout()
    (person.path / "NOTES.md").write_text("x")
    person.push("A note")
    if restarted:
        del repository
        repository = hub(git_server, tmp_path / "hub")
    assert set(repository.fetch().placements) == {uid_of("llama")}
    repository.publish([place("qwen")])
    assert set(repository.fetch().placements) == {uid_of("llama"), uid_of("qwen")}
