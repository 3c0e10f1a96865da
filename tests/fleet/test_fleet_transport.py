"""Servers that refuse, vanish or want a token: each failure has one meaning, and none loses a placement."""

import os
import socket
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from carbonfleet.fleet import (
    AccessDenied,
    AlreadyThere,
    Committed,
    FleetError,
    PushContended,
    PushForbidden,
    Repository,
    RepositoryInvalid,
    RepositorySettings,
    RepositoryUnreachable,
)
from carbonfleet.fleet.errors import Failure, classify
from fixtures.fleet_values import CLOCK, place, quick_settings


def hub(url, directory, tries=3, sleep=time.sleep, **more):
    return Repository(quick_settings(url, directory, tries, **more), CLOCK, sleep=sleep)


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        (
            "cannot push because a reference that you are trying to update on the remote contains commits that "
            "are not present locally.",
            Failure.MOVED,
        ),
        ("failed to update ref", Failure.MOVED),
        ("! [rejected] main -> main (fetch first)", Failure.MOVED),
        ("! [rejected] main -> main (non-fast-forward)", Failure.MOVED),
        ("cannot lock ref 'refs/heads/main': is at 1 but expected 2", Failure.MOVED),
        ("remote: incorrect old value provided", Failure.MOVED),
        ("failed to lock", Failure.MOVED),
        ("Unable to create '/srv/x.git/refs/heads/main.lock': File exists", Failure.MOVED),
        ("pre-receive hook declined", Failure.FORBIDDEN),
        ("protected branch hook declined", Failure.FORBIDDEN),
        ("GH006: Protected branch update failed", Failure.FORBIDDEN),
        ("GH013: Repository rule violations found", Failure.FORBIDDEN),
        ("You are not allowed to push code to protected branches on this project.", Failure.FORBIDDEN),
        ("unexpected http status code: 401", Failure.DENIED),
        ("unexpected http status code: 403", Failure.DENIED),
        ("Host key verification failed.", Failure.DENIED),
        ("Permission denied (publickey).", Failure.DENIED),
        ("unexpected http status code: 429", Failure.UNREACHABLE),
        ("unexpected http status code: 502", Failure.UNREACHABLE),
        ("Connection reset by peer", Failure.UNREACHABLE),
        ("some words that no server said before", Failure.UNREACHABLE),
    ],
)
def test_a_servers_words_have_one_meaning(message, failure):
    assert classify(message) is failure


@pytest.mark.parametrize("url", ["file:///srv/fleet.git", "/srv/fleet.git", "./fleet.git", "ext::sh -c id", "https://"])
def test_an_address_that_loses_commits_or_runs_commands_is_refused(url, tmp_path):
    with pytest.raises(ValidationError):
        RepositorySettings(url=url, directory=tmp_path)


def test_file_addresses_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ValidationError, match="two writers there lose each other's commits"):
        RepositorySettings(url="file:///srv/fleet.git", directory=tmp_path)


def test_a_password_in_the_address_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="take it out and give it as the token"):
        RepositorySettings(url="https://me:secret@example.org/fleet.git", directory=tmp_path)


def test_a_token_is_never_shown(tmp_path):
    settings = RepositorySettings(url="https://example.org/x", directory=tmp_path, token=SecretStr("hush-hush"))
    assert "hush-hush" not in f"{settings!r} {settings}"


def test_a_hooks_refusal_is_forbidden_and_says_what_the_hook_said(git_server, tmp_path):
    git_server.hook("pre-receive", "echo 'Only on weekdays.' >&2; exit 1")
    with pytest.raises(PushForbidden, match=r"pre-receive hook declined.*Only on weekdays.*review: required"):
        hub(git_server.url, tmp_path / "hub").publish([place("llama")])


def test_after_a_refusal_the_same_intents_can_be_published(git_server, tmp_path):
    git_server.hook("pre-receive", "exit 1")
    repository = hub(git_server.url, tmp_path / "hub")
    with pytest.raises(PushForbidden):
        repository.publish([place("llama")])
    git_server.unhook("pre-receive")
    assert repository.publish([place("llama")]).results == {place("llama").id: Committed(repository.known().commit)}


def test_a_hook_that_always_loses_the_race_ends_as_contended(git_server, tmp_path):
    """The update hook moves the branch under every push, as a busy writer would."""
    git_server.hook("pre-receive", MOVE_THE_BRANCH)
    waits = []
    repository = hub(git_server.url, tmp_path / "hub", tries=4, sleep=waits.append)
    with pytest.raises(PushContended, match="trying again later"):
        repository.publish([place("llama")])
    assert len(waits) == 3


MOVE_THE_BRANCH = """
unset GIT_QUARANTINE_PATH
export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x
old=$(git rev-parse main)
new=$(echo busy | git commit-tree "main^{tree}" -p main)
printf '%s' "$new" > refs/heads/main
exit 0
"""


def test_a_server_that_is_down_is_unreachable(git_server, tmp_path):
    repository = hub(git_server.url, tmp_path / "hub")
    repository.fetch()
    git_server.stop()
    with pytest.raises(RepositoryUnreachable):
        repository.fetch()
    with pytest.raises(RepositoryUnreachable):
        repository.publish([place("llama")])


def test_a_server_that_comes_back_gets_everything(git_server, tmp_path):
    started = []

    def sleep(_seconds):
        if not started:
            git_server.start()
            started.append(True)

    repository = hub(git_server.url, tmp_path / "hub", sleep=sleep)
    repository.fetch()
    git_server.stop()
    published = repository.publish([place("llama")])
    assert isinstance(published.results[place("llama").id], Committed)


def test_a_push_whose_answer_was_lost_is_found_by_its_id(git_server, tmp_path):
    """The server takes the commit and dies before it says so."""
    git_server.hook("post-receive", "kill -9 $PPID")
    repository = hub(git_server.url, tmp_path / "hub")
    before = git_server.commits()
    published = repository.publish([place("llama")])
    assert isinstance(published.results[place("llama").id], (AlreadyThere, Committed))
    assert git_server.commits() == before + 1


def test_a_missing_branch_says_what_to_do(git_server, tmp_path):
    with pytest.raises(RepositoryInvalid, match="push the seed"):
        hub(git_server.url, tmp_path / "hub", branch="elsewhere").fetch()


def test_a_missing_repository_is_denied(git_server, tmp_path):
    with pytest.raises(AccessDenied):
        hub(git_server.url.replace("fleet.git", "other.git"), tmp_path / "hub").fetch()


def test_a_directory_with_other_things_is_left_alone(git_server, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RepositoryInvalid, match="holds other things"):
        hub(git_server.url, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_clone_that_a_crash_broke_is_made_anew(git_server, tmp_path):
    hub(git_server.url, tmp_path / "hub").publish([place("llama")])
    (tmp_path / "hub" / "HEAD").write_text("")
    assert len(hub(git_server.url, tmp_path / "hub").fetch().placements) == 1


def test_http_with_the_token_reads_and_writes(http_git_server, tmp_path):
    repository = hub(http_git_server.url, tmp_path / "hub", token="let-me-in")
    intent = place("llama")
    assert isinstance(repository.publish([intent]).results[intent.id], Committed)
    assert intent.path in http_git_server.files()


def test_a_token_file_is_read_anew_each_time(http_git_server, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    repository = hub(http_git_server.url, tmp_path / "hub", token_file=token)
    with pytest.raises(AccessDenied):
        repository.fetch()
    token.write_text("let-me-in\n")
    assert repository.fetch().clusters


def test_https_trusts_only_what_it_is_told_to(https_git_server, tmp_path):
    with pytest.raises(AccessDenied, match="certificate"):
        hub(https_git_server.url, tmp_path / "stranger", token="let-me-in").fetch()
    known = hub(https_git_server.url, tmp_path / "hub", token="let-me-in", ca_file=https_git_server.authority)
    assert isinstance(known.publish([place("llama")]).results[place("llama").id], Committed)


def test_a_command_trusts_the_certificate_that_it_is_given(https_git_server, tmp_path):
    (tmp_path / "token").write_text("let-me-in")
    options = ["--fleet-url", https_git_server.url, "--fleet-token-file", str(tmp_path / "token")]

    def listed(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "carbonfleet", "review", "list", *options, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    assert "certificate" in listed().stderr
    done = listed("--ca-file", str(https_git_server.authority))
    assert (done.returncode, done.stdout.strip()) == (0, "No proposal is open."), done.stderr


@pytest.mark.parametrize("token", [None, "wrong"])
def test_http_without_the_right_token_is_denied_and_never_shown(http_git_server, tmp_path, token):
    with pytest.raises(AccessDenied) as caught:
        hub(http_git_server.url, tmp_path / "hub", token=token).fetch()
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, AccessDenied), (404, AccessDenied), (429, RepositoryUnreachable), (503, RepositoryUnreachable)],
)
def test_an_http_status_ends_as_the_listed_error(http_git_server, tmp_path, status, error):
    http_git_server.answer_instead = status
    with pytest.raises(error):
        hub(http_git_server.url, tmp_path / "hub", token="let-me-in").publish([place("llama")])


def test_a_server_that_never_answers_is_given_up_in_time(silent_server, tmp_path):
    settings = quick_settings(silent_server, tmp_path / "hub", tries=1).model_copy(
        update={"timeout": timedelta(seconds=1)}
    )
    with pytest.raises(RepositoryUnreachable):  # or else it would hang here
        Repository(settings, CLOCK).fetch()


@pytest.fixture
def silent_server():
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"git://127.0.0.1:{listener.getsockname()[1]}/fleet.git"


@pytest.fixture
def stand_in_ssh(tmp_path, git_server, monkeypatch):
    """A program named ssh, first on PATH, that notes its arguments and runs the command on this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"open({str(tmp_path / 'ssh.log')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "os.execvp('sh', ['sh', '-c', sys.argv[-1]])\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "ssh.log"


def test_ssh_asks_nobody_and_trusts_only_the_pinned_host_keys(stand_in_ssh: Path, git_server, tmp_path):
    known_hosts = tmp_path / "known hosts"
    known_hosts.write_text("")
    url = f"ssh://git@git.example.org{git_server.repository}"
    repository = hub(url, tmp_path / "hub", known_hosts=known_hosts, ssh_key=tmp_path / "id")
    intent = place("llama")
    assert isinstance(repository.publish([intent]).results[intent.id], Committed)
    assert intent.path in git_server.files()
    for line in stand_in_ssh.read_text().splitlines():
        assert "StrictHostKeyChecking=yes" in line
        assert "BatchMode=yes" in line
        assert f"UserKnownHostsFile={known_hosts}" in line


def test_ssh_writers_contend_like_any_others(stand_in_ssh, git_server, tmp_path, person):
    repository = hub(f"ssh://git@git.example.org{git_server.repository}", tmp_path / "hub")
    repository.fetch()
    (person.path / "NOTES.md").write_text("meanwhile")
    person.push("Leave a note")
    published = repository.publish([place("llama")])
    assert isinstance(published.results[place("llama").id], Committed)
    assert published.tries == 2


def test_ssh_without_ssh_says_so(git_server, tmp_path):
    with pytest.raises(FleetError):
        hub("ssh://git@127.0.0.1:1/fleet.git", tmp_path / "hub", tries=1).fetch()
