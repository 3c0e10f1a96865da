"""A move as a proposal: a file beside the clusters, agreed to or refused by people, made or lapsed by the hub."""

from dataclasses import replace
from datetime import timedelta

import pytest
import typer
from typer.testing import CliRunner

from carbonfleet.cli.files.explain import explain
from carbonfleet.cli.fleet.review import app
from carbonfleet.fleet import AlreadyThere, Committed, Lapse, Refused, Remove
from carbonfleet.fleet.check import read_checkout
from carbonfleet.fleet.review import Branches, ProposalStage, Propose, Reviews
from carbonfleet.fleet.review.branches import ReviewRefused
from carbonfleet.fleet.review.pull_requests import branch_of
from fixtures.fleet_values import CLOCK, place, uid_of

SOON = CLOCK.now() + timedelta(hours=1)
PAT = ("Pat Person", "pat@example.org")
explain_app = typer.Typer()
explain_app.command()(explain)
FILE = "moves/ml/llama.yaml"


@pytest.fixture
def live(repository):
    """The job's first attempt, on the branch in Ohio."""
    repository.publish([place("llama", "us-oh-1")])
    return repository.fetch().placements[uid_of("llama")]


@pytest.fixture
def reviews(repository):
    return Reviews(repository)


def move(live, cluster="no-osl-1", **more):
    return Propose(place("llama", cluster, attempt=live.attempt + 1), SOON, leaves=live, **more)


def advance(reviews, *proposes, **more):
    found = reviews.advance(proposes, CLOCK.now(), **more)
    return [found[propose.place.id] for propose in proposes]


def agreed(reviews, repository, live):
    """The tip on which the move is agreed to."""
    [proposal] = advance(reviews, move(live))
    Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now())
    return repository.fetch()


def test_a_move_is_one_commit_that_leaves_every_cluster_as_it_is(reviews, live, git_server):
    [proposal] = advance(reviews, move(live))
    assert (proposal.stage, proposal.cluster) == (ProposalStage.OPEN, "no-osl-1")
    assert proposal.branch == f"carbon/ml.llama/{move(live).place.id[:8]}-move"
    assert git_server.git("diff", "--name-only", f"main...{proposal.branch}") == FILE
    message = git_server.git("log", "-1", "--format=%B", proposal.branch)
    assert message.startswith("move: ml/llama -> no-osl-1\n")
    assert "CTJ-Change: move\n" in message
    assert "CTJ-From: us-oh-1\n" in message


def test_a_move_that_was_agreed_to_is_on_the_tip_and_nothing_else_is(reviews, repository, live):
    tip = agreed(reviews, repository, live)
    assert tip.placements == {live.uid: live}
    found = tip.moves[live.uid]
    assert (found.path, found.cluster, found.attempt, found.expires_at) == (
        FILE,
        "no-osl-1",
        2,
        SOON.replace(microsecond=0),
    )
    assert tip.problems == {}
    [after] = advance(reviews, move(live))
    assert after.stage is ProposalStage.MERGED


def test_the_next_attempt_takes_the_word_away_and_names_it(reviews, repository, live, git_server):
    tip = agreed(reviews, repository, live)
    word = repository.agreed_in(tip.moves[live.uid])
    assert word == git_server.git("rev-parse", "main")
    repository.publish([Remove(live, "it moves", finished=True)])
    following = replace(move(live).place, approved_in=word)
    assert isinstance(repository.publish([following]).results[following.id], Committed)
    tip = repository.fetch()
    assert (tip.moves, tip.placements[live.uid].approved_in) == ({}, word)
    assert f"CTJ-Approved-In: {word}" in git_server.git("log", "-1", "--format=%B", "main")


def test_an_attempt_is_not_stopped_on_a_word_that_was_taken_back(reviews, repository, live, person):
    agreed(reviews, repository, live)
    person.pull()
    (person.path / FILE).unlink()
    person.push("Not now")
    stop = Remove(live, "it moves", finished=True, to=replace(move(live).place, approved_in="a" * 40))
    assert repository.publish([stop]).results[stop.id].reason == "ApprovalWithdrawn"
    assert repository.fetch().placements == {live.uid: live}


def test_an_attempt_is_not_placed_on_a_word_that_was_taken_back(reviews, repository, live, person):
    tip = agreed(reviews, repository, live)
    word = repository.agreed_in(tip.moves[live.uid])
    repository.publish([Remove(live, "it moves", finished=True)])
    person.pull()
    (person.path / FILE).unlink()
    person.push("Not now")
    following = replace(move(live).place, approved_in=word)
    result = repository.publish([following]).results[following.id]
    assert isinstance(result, Refused)
    assert result.reason == "ApprovalWithdrawn"


def test_an_attempt_is_placed_on_no_word_for_another_place(reviews, repository, live):
    tip = agreed(reviews, repository, live)
    repository.publish([Remove(live, "it moves", finished=True)])
    other = replace(place("llama", "ca-qc-1", attempt=2), approved_in=repository.agreed_in(tip.moves[live.uid]))
    assert repository.publish([other]).results[other.id].reason == "ApprovalWithdrawn"


def test_a_word_that_can_not_be_kept_lapses_and_the_next_question_has_another_branch(reviews, repository, live):
    tip = agreed(reviews, repository, live)
    lapse = Lapse(tip.moves[live.uid], "it was good until noon")
    assert isinstance(repository.publish([lapse]).results[lapse.id], Committed)
    assert isinstance(repository.publish([lapse]).results[lapse.id], AlreadyThere)
    lapses = repository.lapses(move(live).place.id)
    assert (repository.fetch().moves, lapses) == ({}, 1)
    again = move(live, lapses=lapses)
    assert branch_of(again) == f"{branch_of(move(live))}-2"
    assert [proposal.stage for proposal in advance(reviews, again)] == [ProposalStage.OPEN]


def test_a_no_to_a_move_holds_for_moves_of_the_generation_alone(reviews, repository, live):
    [proposal] = advance(reviews, move(live))
    branches = Branches(repository)
    branches.reject(branches.read().branches[proposal.branch], PAT, "Let it run.")
    [after] = advance(reviews, replace(move(live), lapses=1))
    assert (after.stage, after.message) == (
        ProposalStage.REJECTED,
        "Pat Person: Let it run; it is not proposed again until the job's spec changes",
    )
    repository.publish([Remove(live, "it ended", finished=True)])
    [placed] = advance(reviews, Propose(place("llama", attempt=2), SOON))
    assert placed.stage is ProposalStage.OPEN


def test_a_move_is_not_merged_once_its_attempt_is_over(reviews, repository, live):
    [proposal] = advance(reviews, move(live))
    repository.publish([Remove(live, "it ended", finished=True)])
    with pytest.raises(ReviewRefused, match="attempt 1 of ml/llama is over"):
        Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now())
    [after] = advance(reviews, move(live))
    assert (after.stage, after.reason) == (ProposalStage.REFUSED, "NotInGit")


def test_a_move_on_which_nothing_was_decided_stays_as_it_is(reviews, live, git_server):
    [proposal] = advance(reviews, move(live))
    reviews.advance([], CLOCK.now(), undecided={(live.uid, 2)})
    assert proposal.branch in git_server.git("branch", "--list", "carbon/*")
    reviews.advance([], CLOCK.now(), undecided={(live.uid, 3)})
    assert git_server.git("branch", "--list", "carbon/*") == ""


def test_a_person_s_own_file_is_not_written_over(reviews, live, person):
    (person.path / "moves/ml").mkdir(parents=True)
    (person.path / FILE).write_text("mine: true\n")
    person.push("Keep this here")
    [proposal] = advance(reviews, move(live))
    assert (proposal.stage, proposal.reason) == (ProposalStage.REFUSED, "MovesUnreadable")
    assert f"until this file is mended or taken away: {FILE}:1: " in proposal.message


def test_a_move_against_residency_is_named_by_the_check(reviews, repository, live, git_server):
    [proposal] = advance(reviews, move(live))
    files = {name: git_server.git("show", f"main:{name}").encode() + b"\n" for name in git_server.files()}
    files[FILE] = git_server.git("show", f"{proposal.branch}:{FILE}").encode() + b"\n"
    assert read_checkout(files).problems == ()
    files["policies/default.yaml"] = files["policies/default.yaml"].replace(
        b"{anywhere: true}", b"{clusters: [us-oh-1]}"
    )
    [problem] = read_checkout(files).problems
    assert (problem.path, "may not run here" in problem.message) == (FILE, True)
    files[FILE] = b"mine: true\n"
    assert [found.path for found in read_checkout(files).problems] == [FILE]


def test_people_list_show_and_approve_a_move_from_the_command_line(reviews, live, git_server, repository):
    advance(reviews, move(live))
    person = {"CARBONFLEET_REVIEWER": "Pat Person <pat@example.org>"}

    def run(*arguments):
        return CliRunner().invoke(app, [*arguments, "--fleet-url", git_server.url], env=person)

    assert "ml/llama" in run("list").output
    shown = run("show", "ml.llama").output
    assert shown.startswith("Move ml/llama from us-oh-1 to no-osl-1\n")
    assert "Merging alone stops and starts nothing." in shown
    told = CliRunner().invoke(explain_app, ["-"], input=shown)
    assert told.exit_code == 0
    assert told.output.startswith("The proposal: Start (Placed)\nno-osl-1 has the cleanest electricity")
    assert run("approve", "ml.llama").exit_code == 0
    assert live.uid in repository.fetch().moves
