"""Servers, clones and branches that are not as they should be: each is named, healed or left unread."""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ConfigLevel

from carbonfleet.fleet import FleetError, Repository, RepositoryInvalid
from carbonfleet.fleet.review import Branches
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of
from fixtures.git_server import GitServer, git
from fixtures.http_server import HttpServer, QuietHandler


def hub(server: GitServer, directory, **more) -> Repository:
    return Repository(quick_settings(server.url, directory, 2, **more), CLOCK)


class Thief:
    """A server that asks for a password: its address, the requests it had, and the passwords it was given."""

    def __init__(self, address: str) -> None:
        self.asked: list[str] = []
        self.given: list[str] = []
        thief = self

        class Handler(QuietHandler):
            def respond(self) -> None:
                thief.asked.append(self.path)
                if said := self.headers.get("Authorization"):
                    thief.given.append(base64.b64decode(said.split()[1]).decode())
                self.answer(401, headers={"WWW-Authenticate": 'Basic realm="git"'})

        self.server = HttpServer(Handler, address)
        self.url = self.server.url


@pytest.fixture
def thief() -> Iterator[Thief]:
    """On another host."""
    yield from running(Thief("127.0.0.2"))


@pytest.fixture
def neighbour() -> Iterator[Thief]:
    """On the repository's host, at another port."""
    yield from running(Thief("127.0.0.1"))


def running(thief: Thief) -> Iterator[Thief]:
    with thief.server:
        yield thief


def moved_to(thief: Thief) -> HttpServer:
    """A repository's server that says that it moved to the thief's."""

    class Moved(QuietHandler):
        def respond(self) -> None:
            self.answer(301, headers={"Location": thief.url + self.path})

    return HttpServer(Moved)


@pytest.fixture
def personal_git_config(tmp_path) -> Iterator[Path]:
    """The Git configuration of whoever runs the hub, for the length of a test."""
    before = pygit2.settings.search_path[ConfigLevel.GLOBAL]
    pygit2.settings.search_path[ConfigLevel.GLOBAL] = str(tmp_path)
    yield tmp_path / ".gitconfig"
    pygit2.settings.search_path[ConfigLevel.GLOBAL] = before


WORK = {"fetch": Repository.fetch, "publish": lambda repository: repository.publish([place("llama")])}


def refused(url: str, tmp_path: Path, work: str, **more: object) -> str:
    """What the hub says of a repository that it can't work with, at which it would use a token."""
    (tmp_path / "token").write_text("SECRET-TOKEN")
    repository = Repository(
        quick_settings(url, tmp_path / "hub", tries=1, token_file=tmp_path / "token", **more), CLOCK
    )
    with pytest.raises(FleetError) as caught:
        WORK[work](repository)
    assert "SECRET-TOKEN" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("where", ["thief", "neighbour"], ids=["another host", "another port"])
def test_a_token_goes_to_no_origin_that_a_redirect_names(request, tmp_path, where, work):
    thief = request.getfixturevalue(where)
    with moved_to(thief) as server:
        said = refused(f"{server.url}/fleet.git", tmp_path, work)
    assert thief.given == []
    assert "redirect" in said


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("where", ["thief", "neighbour"], ids=["another host", "another port"])
def test_a_token_that_one_server_took_goes_to_no_other(request, tmp_path, where, scheme, work):
    thief, server = request.getfixturevalue(where), request.getfixturevalue(f"{scheme}_git_server")
    server.moved_to, server.token = thief.url, "SECRET-TOKEN"
    said = refused(server.url, tmp_path, work, ca_file=getattr(server, "authority", None))
    assert thief.given == []
    assert "redirect" in said


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("setting", ["insteadOf", "pushInsteadOf"])
@pytest.mark.parametrize("whose", ["the person's", "the clone's"])
def test_a_token_goes_to_no_address_that_a_git_configuration_names(
    http_git_server, thief, personal_git_config, tmp_path, whose, setting, work
):
    origin = http_git_server.url.removesuffix("/fleet.git")
    pygit2.init_repository(str(tmp_path / "hub"), bare=True)
    file = personal_git_config if whose == "the person's" else tmp_path / "hub" / "config"
    with file.open("a") as config:
        config.write(f'[url "{thief.url}"]\n\t{setting} = {origin}\n')
    http_git_server.token = "SECRET-TOKEN"
    if (setting, work) == ("pushInsteadOf", "fetch"):
        (tmp_path / "token").write_text("SECRET-TOKEN")
        settings = quick_settings(http_git_server.url, tmp_path / "hub", tries=1, token_file=tmp_path / "token")
        assert Repository(settings, CLOCK).fetch().placements == {}
    else:
        said = refused(http_git_server.url, tmp_path, work)
        assert f"the token is for {origin}, and a redirect or a Git configuration " in said
        assert said.count(thief.url) == 1
    assert thief.given == []


def test_a_submodule_is_not_asked_for(http_git_server, thief, tmp_path):
    commit = http_git_server.git("rev-parse", "main")
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", str(http_git_server.repository), str(work))
    server = moved_to(thief)
    (work / ".gitmodules").write_text(f'[submodule "other"]\n\tpath = other\n\turl = {server.url}/other.git\n')
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{commit},other")
    git(work, "add", ".gitmodules")
    git(work, "commit", "--quiet", "-m", "Add a submodule")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    (tmp_path / "token").write_text("let-me-in")
    settings = quick_settings(http_git_server.url, tmp_path / "hub", token_file=tmp_path / "token")
    repository = Repository(settings, CLOCK)
    with server:
        repository.fetch()
        repository.publish([place("llama")])
        assert set(repository.fetch().placements) == {uid_of("llama")}
    assert (thief.asked, thief.given) == ([], [])


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
