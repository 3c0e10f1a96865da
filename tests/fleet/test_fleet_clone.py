"""The clone on disk heals and stays small."""

import pygit2
import pytest

from carbonfleet.fleet import Repository
from carbonfleet.fleet.clone import commit_at, compact
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of

REF = "refs/remotes/origin/main"


def hub(git_server, tmp_path):
    return Repository(quick_settings(git_server.url, tmp_path / "hub"), CLOCK)


def test_a_ref_whose_commit_was_lost_is_fetched_anew(git_server, tmp_path):
    hub(git_server, tmp_path).publish([place("llama")])
    (tmp_path / "hub" / REF).write_text("1" * 40 + "\n")
    assert set(hub(git_server, tmp_path).fetch().placements) == {uid_of("llama")}


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
