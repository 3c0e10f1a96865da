"""The clone on disk heals and stays small."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pygit2
import pytest

from carbonfleet.fleet import Repository, RepositoryInvalid
from carbonfleet.fleet.git import commit_at, compact, occupy
from fixtures.damaged_clone import DAMAGES, damage, files_of
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of

REF = "refs/remotes/origin/main"
HOLDER = """
import sys, time
from pathlib import Path
from carbonfleet.fleet.git.clone import occupy, open_clone
directory = Path(sys.argv[1])
occupy(directory)
git = open_clone(directory)
with git.transaction() as transaction:
    transaction.lock_ref(sys.argv[2])
    (directory / "objects/pack/pack_git2_k1ll3d").write_bytes(b"PACK")
    print("held", flush=True)
    time.sleep(600)
"""


def hub(git_server, tmp_path):
    return Repository(quick_settings(git_server.url, tmp_path / "hub"), CLOCK)


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that is in the middle of moving the clone's branch."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "hub"), REF], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()


def test_what_a_killed_process_left_locked_and_half_written_is_cleared(git_server, tmp_path, holder):
    holder.kill()
    holder.wait(timeout=60)
    assert (tmp_path / "hub" / f"{REF}.lock").exists()
    repository = hub(git_server, tmp_path)
    repository.publish([place("llama")])
    assert set(repository.fetch().placements) == {uid_of("llama")}
    assert not list((tmp_path / "hub").rglob("*.lock"))
    assert not list((tmp_path / "hub/objects/pack").glob("pack_git2_*"))


def test_a_clone_that_another_process_uses_is_left_to_it(git_server, tmp_path, holder):
    with pytest.raises(RepositoryInvalid, match="another process uses the clone"):
        occupy(tmp_path / "hub", seconds=0.1)
    assert (tmp_path / "hub" / f"{REF}.lock").exists()


@pytest.mark.parametrize("text", ["", "1234", "\0" * 41])
def test_a_ref_that_was_written_in_part_is_fetched_anew(git_server, tmp_path, text):
    hub(git_server, tmp_path).publish([place("llama")])
    (tmp_path / "hub" / REF).write_text(text)
    assert set(hub(git_server, tmp_path).fetch().placements) == {uid_of("llama")}


def test_a_ref_whose_commit_was_lost_is_fetched_anew(git_server, tmp_path):
    hub(git_server, tmp_path).publish([place("llama")])
    (tmp_path / "hub" / REF).write_text("1" * 40 + "\n")
    assert set(hub(git_server, tmp_path).fetch().placements) == {uid_of("llama")}


SAMPLES = [3, pytest.param(40, marks=pytest.mark.soak)]


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_clone_with_any_file_damaged_is_as_good_as_new(git_server, tmp_path, kind, samples):
    settings, chance = quick_settings(git_server.url, tmp_path / "hub"), Random(kind)
    for number in range(5):  # each fetch leaves a pack, each commit of its own loose objects
        Repository(quick_settings(git_server.url, tmp_path / "other"), CLOCK).publish([place(f"other-{number}")])
        hub(git_server, tmp_path).publish([place(f"llama-{number}")])
    shutil.copytree(settings.directory, tmp_path / "whole")
    known = len(hub(git_server, tmp_path).fetch().placements)
    for round_, number in enumerate(chance.sample(range(len(files_of(settings.directory))), samples)):
        shutil.rmtree(settings.directory)
        shutil.copytree(tmp_path / "whole", settings.directory)
        damage(files_of(settings.directory)[number], kind, chance)
        Repository(quick_settings(git_server.url, tmp_path / "other"), CLOCK).publish([place(f"new-{round_}")])
        repository = hub(git_server, tmp_path)
        assert len(repository.fetch().placements) == known + 2 * round_ + 1
        repository.publish([place(f"qwen-{round_}")])
        assert len(repository.fetch().placements) == known + 2 * round_ + 2
        del repository  # which holds the clone
        gc.collect()


def test_many_objects_are_joined_and_still_read(tmp_path):
    git = pygit2.init_repository(str(tmp_path / "clone"), bare=True)
    tree = git.TreeBuilder()
    for number in range(9000):
        tree.insert(f"f{number}", git.create_blob(b"%d" % number), 0o100644)
    author = pygit2.Signature("a", "a@a", 0, 0)
    commit = git.create_commit(REF, author, author, "all", tree.write(), [])
    compact(tmp_path / "clone")
    assert len(list((tmp_path / "clone/objects/pack").glob("*.pack"))) == 1
    assert not list((tmp_path / "clone/objects/17").glob("*"))
    again = pygit2.Repository(str(tmp_path / "clone"))
    assert commit_at(again, REF) == commit
    assert len(again[commit].tree) == 9000


def test_few_objects_are_left_as_they_are(tmp_path):
    git = pygit2.init_repository(str(tmp_path / "clone"), bare=True)
    git.create_blob(b"one")
    compact(tmp_path / "clone")
    assert not list((tmp_path / "clone/objects/pack").glob("*.pack"))


@pytest.mark.parametrize("bomb", [b"[" * 400_000, b"- " * 400_000, b"{a: " * 200_000, b"a" * 2_000_000])
def test_a_file_that_would_end_the_process_is_a_problem_like_any_other(repository, person, bomb):
    (person.pull() / "policies/bomb.yaml").write_bytes(bomb)
    folder = person.path / "clusters/no-osl-1/jobs/ml"
    folder.mkdir(parents=True)
    (folder / "bomb.yaml").write_bytes(bomb)
    person.push("Be mean")
    tip = repository.fetch()
    assert len(tip.policies.problems) == 1
    assert set(tip.problems) == {"clusters/no-osl-1/jobs/ml/bomb.yaml"}


def test_aliases_in_a_policy_are_refused_with_their_line(repository, person):
    (person.pull() / "policies/lol.yaml").write_text("a: &a [x]\nb: [*a, *a]\n")
    person.push("Laugh")
    assert repository.fetch().policies.problems == ("policies/lol.yaml:2: aliases (*name) are not allowed",)
