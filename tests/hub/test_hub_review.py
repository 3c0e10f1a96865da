"""Reviewed placements from the job's object to the forge and back: what people do there, and when."""

import random
import time

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import ANNOTATION
from fixtures.forge_server import Injected
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

LATE_COMMENT = "Superseded: the hours it was made for have passed."


@pytest.fixture
def desk(request, hub_api, tmp_path):
    """A hub and a forge, GitHub where a test does not name another."""
    made = ReviewedHub.open(tmp_path / "stack", hub_api, getattr(request, "param", "github"))
    yield made
    made.close()


every_forge = pytest.mark.parametrize("desk", ["github", "gitlab", "gitea"], indirect=True)


def test_a_merged_proposal_runs_once(desk):
    pull = desk.propose("asked")
    assert desk.phase("asked") is Phase.PROPOSED
    assert condition(desk.stack.job("asked"), "Approved").message.endswith(str(pull.number))
    assert desk.stack.placements("asked") == []
    desk.merge(pull)
    desk.step()
    assert desk.reason("asked") == "Merged"
    desk.step(times=4)
    assert desk.phase("asked") is Phase.SUCCEEDED
    desk.stack.assert_run_once_in(desk.connections.ledger, "asked")
    assert desk.forge.created == 1


def test_a_closed_proposal_is_rejected_until_the_spec_changes(desk):
    pull = desk.propose("refused")
    desk.forge.close(pull)
    desk.step(minutes=1)
    assert desk.phase("refused") is Phase.REJECTED
    desk.restart()
    desk.step(times=3, hours=1)
    assert (desk.phase("refused"), desk.forge.created) == (Phase.REJECTED, 1)
    desk.stack.patch_spec("refused", {"resources": {"duration": "45m"}})
    desk.step(times=2, minutes=1)
    assert (desk.phase("refused"), desk.forge.created) == (Phase.PROPOSED, 2)


def test_a_proposal_whose_time_passed_is_closed_with_one_word_and_made_anew(desk):
    first = desk.propose("slow")
    desk.step(times=3, hours=2, minutes=1)
    assert (first.state, first.said) == ("closed", [LATE_COMMENT])
    assert desk.forge.statuses[first.sha, "carbonfleet/fresh"] in {"failure", "failed"}
    assert desk.pull("slow").state == "open"
    assert (desk.phase("slow"), desk.forge.created) == (Phase.PROPOSED, 2)
    desk.merge(desk.pull("slow"))
    desk.step(times=5)
    desk.stack.assert_run_once_in(desk.connections.ledger, "slow")


@every_forge
def test_what_was_merged_after_its_time_is_taken_back_and_made_anew(desk):
    stale = desk.propose("late", behaviour="hold-first")
    desk.clock.forward(hours=3)
    desk.merge(stale)
    desk.step()
    assert (desk.phase("late"), desk.reason("late")) == (Phase.WAITING, "Superseded")
    desk.step(times=4)
    assert desk.stack.changes("late") == ["place 1", "remove 1"]
    assert (desk.phase("late"), desk.forge.created) == (Phase.PROPOSED, 2)
    desk.merge(desk.pull("late"))
    desk.step(times=5)
    assert desk.phase("late") is Phase.SUCCEEDED
    assert desk.stack.changes("late") == ["place 1", "remove 1", "place 2", "remove 2"]
    assert desk.stack.spokes.violations == []


def test_a_hub_that_was_down_while_it_was_merged_in_time_lets_it_run(desk):
    pull = desk.propose("down")
    desk.clock.forward(hours=1)
    desk.merge(pull)
    desk.restart()
    desk.step(hours=3)
    assert desk.reason("down") == "Merged"
    desk.step(times=4)
    desk.stack.assert_run_once_in(desk.connections.ledger, "down")


def test_a_hub_that_was_down_while_it_was_merged_too_late_takes_it_back(desk):
    stale = desk.propose("both", behaviour="hold-first")
    desk.clock.forward(hours=3)
    desk.merge(stale)
    desk.restart()
    desk.stack.spokes.look()
    desk.step(times=5)
    assert desk.stack.changes("both") == ["place 1", "remove 1"]
    assert (desk.phase("both"), desk.forge.created) == (Phase.PROPOSED, 2)


def test_many_late_merges_are_taken_back_though_git_takes_nothing_at_first(desk):
    stale = [desk.propose(f"late-{number}", behaviour="hold-first") for number in range(6)]
    desk.clock.forward(hours=3)
    for pull in stale:
        desk.merge(pull)
    desk.stack.git.hook("pre-receive", "exit 1")
    desk.step(times=3, minutes=1)
    assert {desk.reason(f"late-{number}") for number in range(6)} == {"Superseded"}
    assert {desk.phase(f"late-{number}") for number in range(6)} == {Phase.WAITING}
    desk.stack.git.unhook("pre-receive")
    desk.step(times=3, minutes=1)
    assert [desk.stack.placements(f"late-{number}") for number in range(6)] == [[]] * 6


@pytest.mark.parametrize("push", [("commit",), ("commit", "--amend")])
def test_a_branch_that_a_person_pushed_to_is_never_touched_again(desk, push):
    pull = desk.propose("mine")
    pushed = push_to(pull, desk, *push)
    desk.step(minutes=1)
    assert (desk.phase("mine"), desk.reason("mine")) == (Phase.REJECTED, "HumanEdited")
    desk.step(times=2, hours=3)
    assert desk.stack.git.git("rev-parse", pull.branch) == pushed
    said = ["Somebody pushed to this branch, so the hub leaves it to you."]
    assert (pull.state, pull.said, desk.forge.created) == ("open", said, 1)


def test_what_a_person_changed_in_a_proposal_and_merged_runs_as_changed(desk):
    pull = desk.propose("theirs")
    push_to(pull, desk, "commit")
    desk.step(minutes=1)
    desk.merge(pull)
    desk.step(times=5, minutes=1)
    assert desk.phase("theirs") is Phase.SUCCEEDED
    desk.stack.assert_run_once_in(desk.connections.ledger, "theirs")
    assert desk.forge.created == 1


def push_to(pull, desk, *how: str) -> str:
    """A person changes the proposed file and pushes; the commit."""
    person = desk.stack.git.checkout()
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{pull.branch}")
    [file] = (person.path / "clusters/no-osl-1/jobs" / desk.stack.namespace).iterdir()
    file.write_text(file.read_text() + "# looked at\n")
    said = ("--no-edit",) if "--amend" in how else ("-m", "Look here")
    person.run(*how, "--quiet", "--all", *said)
    person.run("push", "--quiet", "--force", "origin", f"HEAD:{pull.branch}")
    return person.run("rev-parse", "HEAD")


@pytest.mark.parametrize("keeps_the_files", [True, False])
def test_a_rewritten_main_branch_is_left_as_it_is(desk, keeps_the_files):
    pull = desk.propose("rewritten", behaviour="hold")
    before = desk.stack.git.git("rev-parse", "main")
    desk.merge(pull)
    desk.step()
    tree = "main^{tree}" if keeps_the_files else f"{before}^{{tree}}"
    dates = {"GIT_COMMITTER_DATE": desk.clock.forward(hours=9).isoformat()}
    emptied = desk.stack.git.git("commit-tree", f"{before}^{{tree}}", "-m", "Begin anew", **dates)
    orphan = desk.stack.git.git("commit-tree", tree, "-p", emptied, "-m", "Go on", **dates)
    desk.stack.git.git("update-ref", "refs/heads/main", orphan)
    desk.step(times=4, minutes=1)
    assert desk.stack.git.git("rev-parse", "main") == orphan
    wanted = (Phase.RUNNING, "Pushed") if keeps_the_files else (Phase.REJECTED, "RevertedByHuman")
    assert (desk.phase("rewritten"), desk.reason("rewritten", "Committed")) == wanted
    assert len(desk.stack.spokes.starts) == 1


def test_a_merged_placement_that_a_person_takes_away_stays_away(desk):
    desk.merge(desk.propose("undone", behaviour="hold"))
    desk.step()
    [file] = desk.stack.placements("undone")
    desk.stack.remove("Not now", file)
    desk.step(times=3, minutes=1)
    assert desk.reason("undone", "Committed") == "RevertedByHuman"
    assert (desk.stack.placements("undone"), desk.forge.created) == ([], 1)
    desk.stack.annotate("undone", ANNOTATION.REPLACE, "please")
    desk.step(times=3)
    assert (desk.phase("undone"), desk.forge.created) == (Phase.PROPOSED, 2)


def test_a_forge_that_is_down_for_an_hour_loses_nothing_and_is_not_stormed(desk):
    desk.forge.choose = lambda _method, _path: Injected(503)
    desk.stack.submit("patient", review="required")
    for _ in range(6):
        desk.step(minutes=10)
    assert desk.reason("patient") == "ForgeUnreachable"
    assert len(desk.forge.requests) <= 6 * 4
    desk.forge.choose = lambda _method, _path: None
    desk.step()
    assert (desk.phase("patient"), desk.forge.created) == (Phase.PROPOSED, 1)
    desk.merge(desk.pull("patient"))
    desk.step(times=5)
    desk.stack.assert_run_once_in(desk.connections.ledger, "patient")


def test_a_merge_while_the_forge_is_down_is_seen_in_git_alone(desk):
    pull = desk.propose("seen")
    desk.forge.choose = lambda _method, _path: Injected(503)
    desk.merge(pull)
    desk.step(times=5)
    desk.stack.assert_run_once_in(desk.connections.ledger, "seen")


def test_a_job_deleted_while_the_forge_is_down_has_its_proposal_closed_after(desk):
    pull = desk.propose("dropped")
    desk.forge.choose = lambda _method, _path: Injected(503)
    desk.stack.delete("dropped")
    desk.step(times=3, minutes=1)
    assert desk.stack.body("dropped") is None
    desk.forge.choose = lambda _method, _path: None
    desk.step(minutes=1)
    assert (pull.state, pull.said) == ("closed", ["Superseded: it is not wanted any more."])
    assert desk.stack.git.git("branch", "--list", "carbon/*") == ""


def test_no_more_than_six_proposals_are_opened_in_an_hour(desk):
    for number in range(9):
        desk.stack.submit(f"many-{number}", review="required")
    desk.step(times=3)
    assert desk.forge.created == 6
    assert sorted(desk.reason(f"many-{n}") for n in range(9)) == ["AwaitingReview"] * 6 + ["TooManyProposals"] * 3
    desk.step(times=2, minutes=61)
    assert desk.forge.created == 9


def test_a_forge_that_limits_us_is_left_alone_until_it_says(desk):
    desk.forge.choose = lambda _method, _path: Injected(429, None, {"Retry-After": "600"})
    desk.stack.submit("limited", review="required")
    desk.step()
    desk.forge.requests.clear()
    desk.forge.choose = lambda _method, _path: None
    desk.step(times=3, minutes=5)
    assert (desk.reason("limited"), desk.forge.requests) == ("ForgeRateLimited", [])
    desk.step(minutes=6)
    assert desk.phase("limited") is Phase.PROPOSED


@pytest.mark.soak
def test_hints_at_random_end_where_polling_alone_ends(hub_api, tmp_path):
    first = time.time_ns()
    ends = {}
    for seed in (None, *range(first, first + 5)):
        desk = ReviewedHub.open(tmp_path / str(seed), hub_api, "github")
        try:
            ends[seed] = days_work(desk, random.Random(seed) if seed else None)
        finally:
            desk.close()
    assert [seed for seed, end in ends.items() if end != ends[None]] == []


def days_work(desk: ReviewedHub, chance: random.Random | None) -> object:
    """People merge, close, forget and come too late; where each job and pull request ends."""

    def wait(times: int = 1, **forward: float) -> None:
        for _ in range(times):
            if chance is not None and chance.random() < 0.6:
                desk.cycle.hint()
            desk.step(**forward)

    pulls = {name: desk.propose(name) for name in ("merged", "closed", "late", "open")}
    desk.merge(pulls["merged"])
    desk.forge.close(pulls["closed"])
    wait(3, minutes=20)
    desk.clock.forward(hours=2)
    desk.merge(pulls["late"])
    wait(6, minutes=1)
    phases = {name: desk.phase(name) for name in pulls}
    changes = {name: desk.stack.changes(name) for name in pulls}
    shown = [(pull.branch.split("/")[1].split(".")[1], pull.state, pull.merged) for pull in desk.forge.pulls]
    return phases, changes, shown, [pull.said for pull in desk.forge.pulls], desk.forge.merges
