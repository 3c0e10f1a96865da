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
def hub(request, hub_api, tmp_path):
    """A hub and a forge, GitHub where a test does not name another."""
    made = ReviewedHub.open(tmp_path / "stack", hub_api, getattr(request, "param", "github"))
    yield made
    made.close()


every_forge = pytest.mark.parametrize("hub", ["github", "gitlab", "gitea"], indirect=True)


def test_a_merged_proposal_runs_once(hub):
    pull = hub.propose("asked")
    assert hub.phase("asked") is Phase.PROPOSED
    assert condition(hub.stack.job("asked"), "Approved").message.endswith(str(pull.number))
    assert hub.stack.placements("asked") == []
    hub.merge(pull)
    hub.step()
    assert hub.reason("asked") == "Merged"
    hub.step(times=4)
    assert hub.phase("asked") is Phase.SUCCEEDED
    hub.stack.assert_run_once_in(hub.connections.ledger, "asked")
    assert hub.forge.created == 1


def test_a_closed_proposal_is_rejected_until_the_spec_changes(hub):
    pull = hub.propose("refused")
    hub.forge.close(pull)
    hub.step(minutes=1)
    assert hub.phase("refused") is Phase.REJECTED
    hub.restart()
    hub.step(times=3, hours=1)
    assert (hub.phase("refused"), hub.forge.created) == (Phase.REJECTED, 1)
    hub.stack.patch_spec("refused", {"resources": {"duration": "45m"}})
    hub.step(times=2, minutes=1)
    assert (hub.phase("refused"), hub.forge.created) == (Phase.PROPOSED, 2)


def test_a_proposal_whose_time_passed_is_closed_with_one_word_and_made_anew(hub):
    first = hub.propose("slow")
    hub.step(times=3, hours=2, minutes=1)
    assert (first.state, first.said) == ("closed", [LATE_COMMENT])
    assert hub.forge.statuses[first.sha, "carbonfleet/fresh"] in {"failure", "failed"}
    assert hub.pull("slow").state == "open"
    assert (hub.phase("slow"), hub.forge.created) == (Phase.PROPOSED, 2)
    hub.merge(hub.pull("slow"))
    hub.step(times=5)
    hub.stack.assert_run_once_in(hub.connections.ledger, "slow")


@every_forge
def test_what_was_merged_after_its_time_is_taken_back_and_made_anew(hub):
    stale = hub.propose("late", behaviour="hold-first")
    hub.clock.forward(hours=3)
    hub.merge(stale)
    hub.step()
    assert (hub.phase("late"), hub.reason("late")) == (Phase.WAITING, "Superseded")
    hub.step(times=4)
    assert hub.stack.changes("late") == ["place 1", "remove 1"]
    assert (hub.phase("late"), hub.forge.created) == (Phase.PROPOSED, 2)
    hub.merge(hub.pull("late"))
    hub.step(times=5)
    assert hub.phase("late") is Phase.SUCCEEDED
    assert hub.stack.changes("late") == ["place 1", "remove 1", "place 2", "remove 2"]
    assert hub.stack.spokes.violations == []


def test_a_hub_that_was_down_while_it_was_merged_in_time_lets_it_run(hub):
    pull = hub.propose("down")
    hub.clock.forward(hours=1)
    hub.merge(pull)
    hub.restart()
    hub.step(hours=3)
    assert hub.reason("down") == "Merged"
    hub.step(times=4)
    hub.stack.assert_run_once_in(hub.connections.ledger, "down")


def test_a_hub_that_was_down_while_it_was_merged_too_late_takes_it_back(hub):
    stale = hub.propose("both", behaviour="hold-first")
    hub.clock.forward(hours=3)
    hub.merge(stale)
    hub.restart()
    hub.stack.spokes.look()
    hub.step(times=5)
    assert hub.stack.changes("both") == ["place 1", "remove 1"]
    assert (hub.phase("both"), hub.forge.created) == (Phase.PROPOSED, 2)


def test_many_late_merges_are_taken_back_though_git_takes_nothing_at_first(hub):
    stale = [hub.propose(f"late-{number}", behaviour="hold-first") for number in range(6)]
    hub.clock.forward(hours=3)
    for pull in stale:
        hub.merge(pull)
    hub.stack.git.hook("pre-receive", "exit 1")
    hub.step(times=3, minutes=1)
    assert {hub.reason(f"late-{number}") for number in range(6)} == {"Superseded"}
    assert {hub.phase(f"late-{number}") for number in range(6)} == {Phase.WAITING}
    hub.stack.git.unhook("pre-receive")
    hub.step(times=3, minutes=1)
    assert [hub.stack.placements(f"late-{number}") for number in range(6)] == [[]] * 6


@pytest.mark.parametrize("push", [("commit",), ("commit", "--amend")])
def test_a_branch_that_a_person_pushed_to_is_never_touched_again(hub, push):
    pull = hub.propose("mine")
    pushed = push_to(pull, hub, *push)
    hub.step(minutes=1)
    assert (hub.phase("mine"), hub.reason("mine")) == (Phase.REJECTED, "HumanEdited")
    hub.step(times=2, hours=3)
    assert hub.stack.git.git("rev-parse", pull.branch) == pushed
    said = ["Somebody pushed to this branch, so the hub leaves it to you."]
    assert (pull.state, pull.said, hub.forge.created) == ("open", said, 1)


def test_what_a_person_changed_in_a_proposal_and_merged_runs_as_changed(hub):
    pull = hub.propose("theirs")
    push_to(pull, hub, "commit")
    hub.step(minutes=1)
    hub.merge(pull)
    hub.step(times=5, minutes=1)
    assert hub.phase("theirs") is Phase.SUCCEEDED
    hub.stack.assert_run_once_in(hub.connections.ledger, "theirs")
    assert hub.forge.created == 1


def push_to(pull, hub, *how: str) -> str:
    """A person changes the proposed file and pushes; the commit."""
    person = hub.stack.git.checkout()
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{pull.branch}")
    [file] = (person.path / "clusters/no-osl-1/jobs" / hub.stack.namespace).iterdir()
    file.write_text(file.read_text() + "# looked at\n")
    said = ("--no-edit",) if "--amend" in how else ("-m", "Look here")
    person.run(*how, "--quiet", "--all", *said)
    person.run("push", "--quiet", "--force", "origin", f"HEAD:{pull.branch}")
    return person.run("rev-parse", "HEAD")


@pytest.mark.parametrize("keeps_the_files", [True, False])
def test_a_rewritten_main_branch_is_left_as_it_is(hub, keeps_the_files):
    pull = hub.propose("rewritten", behaviour="hold")
    before = hub.stack.git.git("rev-parse", "main")
    hub.merge(pull)
    hub.step()
    tree = "main^{tree}" if keeps_the_files else f"{before}^{{tree}}"
    dates = {"GIT_COMMITTER_DATE": hub.clock.forward(hours=9).isoformat()}
    emptied = hub.stack.git.git("commit-tree", f"{before}^{{tree}}", "-m", "Begin anew", **dates)
    orphan = hub.stack.git.git("commit-tree", tree, "-p", emptied, "-m", "Go on", **dates)
    hub.stack.git.git("update-ref", "refs/heads/main", orphan)
    hub.step(times=4, minutes=1)
    assert hub.stack.git.git("rev-parse", "main") == orphan
    wanted = (Phase.RUNNING, "Pushed") if keeps_the_files else (Phase.REJECTED, "RevertedByHuman")
    assert (hub.phase("rewritten"), hub.reason("rewritten", "Committed")) == wanted
    assert len(hub.stack.spokes.starts) == 1


def test_a_merged_placement_that_a_person_takes_away_stays_away(hub):
    hub.merge(hub.propose("undone", behaviour="hold"))
    hub.step()
    [file] = hub.stack.placements("undone")
    hub.stack.remove("Not now", file)
    hub.step(times=3, minutes=1)
    assert hub.reason("undone", "Committed") == "RevertedByHuman"
    assert (hub.stack.placements("undone"), hub.forge.created) == ([], 1)
    hub.stack.annotate("undone", ANNOTATION.REPLACE, "please")
    hub.step(times=3)
    assert (hub.phase("undone"), hub.forge.created) == (Phase.PROPOSED, 2)


def test_a_forge_that_is_down_for_an_hour_loses_nothing_and_is_not_stormed(hub):
    hub.forge.choose = lambda _method, _path: Injected(503)
    hub.stack.submit("patient", review="required")
    for _ in range(6):
        hub.step(minutes=10)
    assert hub.reason("patient") == "ForgeUnreachable"
    assert len(hub.forge.requests) <= 6 * 4
    hub.forge.choose = lambda _method, _path: None
    hub.step(minutes=2)
    assert (hub.phase("patient"), hub.forge.created) == (Phase.PROPOSED, 1)
    hub.merge(hub.pull("patient"))
    hub.step(times=5)
    hub.stack.assert_run_once_in(hub.connections.ledger, "patient")


def test_a_merge_while_the_forge_is_down_is_seen_in_git_alone(hub):
    pull = hub.propose("seen")
    hub.forge.choose = lambda _method, _path: Injected(503)
    hub.merge(pull)
    hub.step(times=5)
    hub.stack.assert_run_once_in(hub.connections.ledger, "seen")


def test_a_job_deleted_while_the_forge_is_down_has_its_proposal_closed_after(hub):
    pull = hub.propose("dropped")
    hub.forge.choose = lambda _method, _path: Injected(503)
    hub.stack.delete("dropped")
    hub.step(times=3, minutes=1)
    assert hub.stack.body("dropped") is None
    hub.forge.choose = lambda _method, _path: None
    hub.step(minutes=1)
    assert (pull.state, pull.said) == ("closed", ["Superseded: it is not wanted any more."])
    assert hub.stack.git.git("branch", "--list", "carbon/*") == ""


def test_no_more_than_six_proposals_are_opened_in_an_hour(hub):
    for number in range(9):
        hub.stack.submit(f"many-{number}", review="required")
    hub.step(times=3)
    assert hub.forge.created == 6
    assert sorted(hub.reason(f"many-{n}") for n in range(9)) == ["AwaitingReview"] * 6 + ["TooManyProposals"] * 3
    hub.step(times=2, minutes=61)
    assert hub.forge.created == 9


def test_a_forge_that_limits_us_is_left_alone_until_it_says(hub):
    hub.forge.choose = lambda _method, _path: Injected(429, None, {"Retry-After": "600"})
    hub.stack.submit("limited", review="required")
    hub.step()
    hub.forge.requests.clear()
    hub.forge.choose = lambda _method, _path: None
    hub.step(times=3, minutes=5)
    assert (hub.reason("limited"), hub.forge.requests) == ("ForgeRateLimited", [])
    hub.step(minutes=6)
    assert hub.phase("limited") is Phase.PROPOSED


@pytest.mark.soak
def test_hints_at_random_end_where_polling_alone_ends(hub_api, tmp_path):
    first = time.time_ns()
    ends = {}
    for seed in (None, *range(first, first + 5)):
        hub = ReviewedHub.open(tmp_path / str(seed), hub_api, "github")
        try:
            ends[seed] = days_work(hub, random.Random(seed) if seed else None)
        finally:
            hub.close()
    assert [seed for seed, end in ends.items() if end != ends[None]] == []


def days_work(hub: ReviewedHub, chance: random.Random | None) -> object:
    """People merge, close, forget and come too late; where each job and pull request ends."""

    def wait(times: int = 1, **forward: float) -> None:
        for _ in range(times):
            if chance is not None and chance.random() < 0.6:
                hub.cycle.hint()
            hub.step(**forward)

    pulls = {name: hub.propose(name) for name in ("merged", "closed", "late", "open")}
    hub.merge(pulls["merged"])
    hub.forge.close(pulls["closed"])
    wait(3, minutes=20)
    hub.clock.forward(hours=2)
    hub.merge(pulls["late"])
    wait(6, minutes=1)
    phases = {name: hub.phase(name) for name in pulls}
    changes = {name: hub.stack.changes(name) for name in pulls}
    shown = [(pull.branch.split("/")[1].split(".")[1], pull.state, pull.merged) for pull in hub.forge.pulls]
    return phases, changes, shown, [pull.said for pull in hub.forge.pulls], hub.forge.merges
