"""However a forge merges a proposal, it runs once, is known as merged, and nothing is proposed a second time."""

import pytest

from carbonfleet.api.job_status import Phase
from fixtures.forge_server import Pull, merged_tree
from fixtures.git_server import GitServer
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

every_forge = pytest.mark.parametrize("hub", ["github", "gitlab", "gitea"], indirect=True)
AUTHOR = {"GIT_AUTHOR_NAME": "carbonfleet hub", "GIT_AUTHOR_EMAIL": "hub@carbonfleet.dev"}


def squash(git: GitServer, pull: Pull, tip: str, date: dict[str, str]) -> str:
    """One commit in the person's name, with the request's title alone: the hub's lines are lost."""
    return git.git("commit-tree", merged_tree(git, pull, tip), "-p", tip, "-m", f"{pull.title} (#1)", **date)


def squash_with_lines(git: GitServer, pull: Pull, tip: str, date: dict[str, str]) -> str:
    """The hub's message is kept, and followed by a paragraph of the forge's own."""
    kept = git.git("log", "-1", "--format=%B", pull.branch).strip()
    message = f"{kept}\n\nCo-authored-by: carbonfleet hub <hub@carbonfleet.dev>\nReviewed-on: https://x/1"
    return git.git("commit-tree", merged_tree(git, pull, tip), "-p", tip, "-m", message, **date)


def rebase(git: GitServer, pull: Pull, tip: str, date: dict[str, str]) -> str:
    """The hub's commit again, on main, committed by the forge."""
    message = git.git("log", "-1", "--format=%B", pull.branch)
    return git.git("commit-tree", merged_tree(git, pull, tip), "-p", tip, "-m", message, **AUTHOR, **date)


def fast_forward(git: GitServer, pull: Pull, _tip: str, _date: dict[str, str]) -> str:
    """The hub's commit itself."""
    return git.git("rev-parse", pull.branch)


def with_a_rebased_merge(git: GitServer, pull: Pull, tip: str, date: dict[str, str]) -> str:
    """Semi-linear history: rebased first, then merged (GitLab's and Gitea's rebase-merge)."""
    rebased, subject = rebase(git, pull, tip, date), f"Merge branch '{pull.branch}' into 'main'"
    return git.git("commit-tree", f"{rebased}^{{tree}}", "-p", tip, "-p", rebased, "-m", subject, **date)


WAYS = {each.__name__: each for each in (squash, squash_with_lines, rebase, fast_forward, with_a_rebased_merge)}


@every_forge
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("deletes", [False, True], ids=["", "and deletes the branch"])
def test_a_proposal_that_is_merged_in_any_way_runs_once(hub: ReviewedHub, way, deletes):
    hub.forge.way = way
    pull = hub.propose("asked")
    hub.merge(pull)
    if deletes:
        hub.stack.git.git("branch", "-D", pull.branch)
    hub.step(times=5, minutes=1)
    assert (hub.phase("asked"), hub.forge.created) == (Phase.SUCCEEDED, 1)
    assert hub.stack.git.git("branch", "--list", "carbon*/*") == ""
    assert [start[:2] for start in hub.stack.spokes.starts] == [("asked", 1)]
    assert [entry.attempt for entry in hub.connections.ledger.entries()] == [1]
    assert (hub.stack.placements("asked"), hub.stack.spokes.violations) == ([], [])


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name != "fast_forward"])
def test_a_proposal_that_is_merged_too_late_in_any_way_is_taken_back(hub: ReviewedHub, way):
    """But for a fast-forward, which writes no commit that could say when it was."""
    hub.forge.way = way
    pull = hub.propose("late", behaviour="hold-first")
    hub.clock.forward(hours=3)
    hub.merge(pull)
    hub.step(times=4, minutes=1)
    assert (hub.phase("late"), hub.forge.created) == (Phase.PROPOSED, 2)
    assert hub.stack.changes("late").count("remove 1") == 1
    assert hub.stack.spokes.violations == []


@every_forge
def test_a_proposal_in_a_merge_queue_waits_and_then_runs_once(hub: ReviewedHub):
    """The queue builds its commit on a branch of its own; main is set to that once the checks have passed there."""
    pull, git = hub.propose("asked"), hub.stack.git
    queued, tip = f"gh-readonly-queue/main/pr-{pull.number}", git.git("rev-parse", "main")
    commit = git.git("commit-tree", merged_tree(git, pull, tip), "-p", tip, "-p", pull.branch, "-m", "Merge 1")
    git.git("branch", queued, commit)
    hub.step(times=2, minutes=1)
    assert (hub.phase("asked"), pull.state, hub.forge.created) == (Phase.PROPOSED, "open", 1)
    hub.forge.way = lambda _git, _pull, _tip, _date: commit
    hub.merge(pull)
    git.git("branch", "-D", queued)
    git.git("branch", "-D", pull.branch)
    hub.step(times=4, minutes=1)
    assert (hub.phase("asked"), hub.forge.created) == (Phase.SUCCEEDED, 1)


@every_forge
def test_a_merge_that_is_seen_before_main_has_it_is_waited_for(hub: ReviewedHub):
    pull = hub.propose("asked")
    merge, hub.forge.on_merge = hub.forge.on_merge, lambda _pull: None
    hub.merge(pull)
    hub.step(times=2, minutes=11)
    assert "merged" in condition(hub.stack.job("asked"), "Approved").message
    merge(pull)
    hub.step(times=4, minutes=1)
    assert (hub.phase("asked"), hub.forge.created) == (Phase.SUCCEEDED, 1)
