"""Review without a forge: proposals are branches, and people's yes and no are theirs alone."""

from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from carbonfleet.cli.fleet.review import app
from carbonfleet.fleet import Repository
from carbonfleet.fleet.review import Branches, ProposalLimits, ProposalStage, Propose, Reviews
from carbonfleet.fleet.review.branches import ReviewRefused
from carbonfleet.fleet.review.pull_requests import branch_of
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of

HOUR = timedelta(hours=1)
PAT = ("Pat Person", "pat@example.org")
AGAIN = "it is not proposed again until the job's spec changes"


IN_AN_HOUR = CLOCK.now() + HOUR


def wanted(name="llama", cluster="no-osl-1", **changes):
    return Propose(place(name, cluster, **changes), IN_AN_HOUR)


@pytest.fixture
def reviews(repository):
    return Reviews(repository)


def advance(reviews, *proposes, now=None):
    found = reviews.advance(proposes, now or CLOCK.now())
    return [found[propose.place.id] for propose in proposes]


def test_a_proposal_is_one_branch_with_one_commit(reviews, git_server):
    [proposal] = advance(reviews, wanted())
    assert proposal.stage is ProposalStage.OPEN
    assert git_server.git("rev-list", "--count", f"main..{proposal.branch}") == "1"
    assert git_server.git("diff", "--name-only", f"main...{proposal.branch}") == wanted().place.path
    assert wanted().place.path not in git_server.files()


def test_a_branchs_name_is_safe_and_short():
    long = place("a" * 63, namespace="n" * 63)
    assert branch_of(Propose(long, IN_AN_HOUR)).startswith("carbon/" + "n" * 63 + ".")
    assert len(branch_of(Propose(long, IN_AN_HOUR))) <= 100


def test_a_proposal_is_found_before_it_is_made_again(reviews, git_server, tmp_path):
    [first] = advance(reviews, wanted())
    anew = Reviews(Repository(quick_settings(git_server.url, tmp_path / "anew"), CLOCK))
    [again] = advance(anew, wanted(reason="Other"))
    assert (again.stage, again.commit) == (ProposalStage.OPEN, first.commit)


def test_other_commits_on_main_leave_a_proposal_alone(reviews, repository):
    [first] = advance(reviews, wanted())
    repository.publish([place("qwen")])
    [again] = advance(reviews, wanted())
    assert again.commit == first.commit


def test_a_better_place_rewrites_the_hubs_own_commit(reviews, git_server):
    advance(reviews, wanted())
    [again] = advance(reviews, wanted(cluster="ca-qc-1"))
    assert again.stage is ProposalStage.OPEN
    assert git_server.git("diff", "--name-only", f"main...{again.branch}") == "clusters/ca-qc-1/jobs/ml/llama.yaml"
    assert git_server.git("rev-list", "--count", f"main..{again.branch}") == "1"


def test_a_branch_that_a_person_pushed_to_is_not_touched(reviews, person, git_server):
    [first] = advance(reviews, wanted())
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{first.branch}")
    person.run("commit", "--quiet", "--allow-empty", "-m", "Look here")
    person.run("push", "--quiet", "origin", f"HEAD:{first.branch}")
    head = git_server.git("rev-parse", first.branch)
    [again] = advance(reviews, wanted(cluster="ca-qc-1"))
    assert again.stage is ProposalStage.HUMAN_EDITED
    reviews.advance([], CLOCK.now())
    assert git_server.git("rev-parse", first.branch) == head


def test_an_approved_proposal_is_merged_once_at_the_commit_that_was_seen(reviews, repository, git_server):
    [proposal] = advance(reviews, wanted())
    repository.publish([place("qwen")])
    Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now())
    assert git_server.git("log", "-1", "--format=%an|%P", "main").endswith(proposal.commit)
    assert set(repository.fetch().placements) == {uid_of("llama"), uid_of("qwen")}
    [after] = advance(reviews, wanted())
    assert after.stage is ProposalStage.MERGED


def test_a_merged_placement_is_known_as_the_hubs_own(reviews, repository, person):
    [proposal] = advance(reviews, wanted())
    Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now())
    person.pull()
    person.run("revert", "--no-edit", "-m", "1", "HEAD")
    person.push_head()
    [after] = advance(reviews, wanted())
    assert (after.stage, after.reason) == (ProposalStage.REFUSED, "RevertedByHuman")


def test_a_rejection_holds_for_the_generation(reviews, repository):
    [proposal] = advance(reviews, wanted())
    branches = Branches(repository)
    branches.reject(branches.read().branches[proposal.branch], PAT, "Too dear this month.")
    for attempt in (1, 2):
        [after] = advance(reviews, wanted(attempt=attempt))
        assert (after.stage, after.message) == (ProposalStage.REJECTED, f"Pat Person: Too dear this month; {AGAIN}")
    [changed] = advance(reviews, wanted(generation=2, attempt=2))
    assert changed.stage is ProposalStage.OPEN


@pytest.mark.parametrize("history", ["updated", "pushed to", "pushed to twice"])
def test_a_rejection_holds_whatever_people_committed_on_top_of_the_proposal(
    reviews, repository, person, git_server, history
):
    [proposal] = advance(reviews, wanted())
    repository.publish([place("qwen")])
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{proposal.branch}")
    if history == "updated":
        person.run("merge", "--quiet", "origin/main", "-m", "Merge branch 'main'")
    for _ in range(history.count("twice") + history.count("pushed")):
        person.run("commit", "--quiet", "--allow-empty", "-m", "Look here")
    person.run("push", "--quiet", "origin", f"HEAD:{proposal.branch}")
    assert run(git_server, "reject", "ml.llama", "--why", "Not now.").exit_code == 0
    [after] = advance(reviews, wanted(attempt=2))
    assert (after.stage, after.message) == (ProposalStage.REJECTED, f"Pat Person: Not now; {AGAIN}")


def signed(propose, hub="one"):
    record = propose.place.record.model_copy(update={"hub": hub})
    return replace(propose, place=replace(propose.place, record=record))


@pytest.mark.parametrize(
    ("hub", "jobs", "stays"),
    [
        ("one", {uid_of("llama"): 1}, True),
        ("one", {uid_of("llama"): 2}, False),
        ("one", {}, False),
        ("one", None, True),
        ("another", {}, True),
        ("", {}, True),
    ],
)
def test_a_rejection_is_forgotten_by_its_own_hub_when_its_job_is_gone_or_changed(
    reviews, repository, git_server, hub, jobs, stays
):
    [proposal] = advance(reviews, signed(wanted()))
    branches = Branches(repository)
    branches.reject(branches.read().branches[proposal.branch], PAT, "Not now.")
    reviews.advance([], CLOCK.now(), hub=hub, jobs=jobs)
    assert bool(git_server.git("branch", "--list", "carbon-rejected/*")) is stays


def test_a_server_that_keeps_its_branches_holds_up_no_other_proposal(reviews, repository, git_server):
    [refused] = advance(reviews, signed(wanted()))
    branches = Branches(repository)
    branches.reject(branches.read().branches[refused.branch], PAT, "Not now.")
    git_server.hook("pre-receive", "while read old new ref; do [ $new != " + "0" * 40 + " ] || exit 1; done")
    [found] = reviews.advance([signed(wanted("qwen"))], CLOCK.now(), hub="one", jobs={uid_of("qwen"): 1}).values()
    assert found.stage is ProposalStage.OPEN


def test_what_a_reviewer_did_not_see_is_not_merged(reviews, repository):
    [seen] = advance(reviews, wanted())
    advance(reviews, wanted(cluster="ca-qc-1"))
    with pytest.raises(ReviewRefused, match="look at it again"):
        Branches(repository).approve(seen.branch, seen.commit, PAT, CLOCK.now())


def test_a_proposal_whose_time_has_passed_is_not_merged(reviews, repository):
    [proposal] = advance(reviews, wanted())
    with pytest.raises(ReviewRefused, match="at the latest"):
        Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now() + 2 * HOUR)


def test_a_proposal_whose_time_has_passed_is_superseded_and_made_anew(reviews, git_server):
    [first] = advance(reviews, wanted())
    later = CLOCK.now() + 2 * HOUR
    [passed] = advance(reviews, wanted(), now=later)
    assert passed.stage is ProposalStage.SUPERSEDED
    assert first.branch not in git_server.git("branch", "--list", "carbon/*")
    [anew] = advance(reviews, replace(wanted(), expires_at=later + HOUR), now=later)
    assert anew.stage is ProposalStage.OPEN


def test_policy_on_the_tip_stands_over_an_approval(reviews, repository, person):
    [proposal] = advance(reviews, wanted())
    person.edit("policies/default.yaml", "{anywhere: true}", "{clusters: [ca-qc-1]}")
    person.push("Stay in Quebec")
    with pytest.raises(ReviewRefused, match="allows clusters ca-qc-1"):
        Branches(repository).approve(proposal.branch, proposal.commit, PAT, CLOCK.now())
    [after] = advance(reviews, wanted())
    assert (after.stage, after.reason) == (ProposalStage.REFUSED, "ResidencyPolicy")


def test_what_is_not_wanted_any_more_is_taken_back(reviews, git_server):
    advance(reviews, wanted())
    reviews.advance([], CLOCK.now())
    assert git_server.git("branch", "--list", "carbon/*") == ""


def test_noise_is_bounded(repository):
    reviews = Reviews(repository, limits=ProposalLimits(an_hour=3, at_once=2))
    stages = [proposal.stage for proposal in advance(reviews, *(wanted(f"job-{n}") for n in range(4)))]
    assert stages.count(ProposalStage.OPEN) <= 3
    held = advance(reviews, *(wanted(f"job-{n}") for n in range(4)))
    assert {proposal.reason for proposal in held if proposal.stage is ProposalStage.HELD} == {"TooManyProposals"}


def test_a_job_is_proposed_once_another_proposal_is_closed(repository, git_server):
    reviews = Reviews(repository, limits=ProposalLimits(an_hour=9, at_once=2))
    jobs = [wanted(f"job-{n}") for n in range(3)]
    advance(reviews, *jobs[:2])
    [held] = [each for each in advance(reviews, *jobs) if each.stage is ProposalStage.HELD]
    assert held.message == "2 proposals are open, and 2 is the most: merge or close some"
    closed = git_server.git("branch", "--list", "--format=%(refname:lstrip=3)", "carbon/*").splitlines()[0]
    assert run(git_server, "reject", f"carbon/{closed}", "--why", "Not now.").exit_code == 0
    assert [each.stage for each in advance(reviews, *jobs)].count(ProposalStage.OPEN) == 2


def run(git_server, *arguments):
    return CliRunner().invoke(
        app, [*arguments, "--fleet-url", git_server.url], env={"CARBONFLEET_REVIEWER": "Pat Person <pat@example.org>"}
    )


def test_people_list_show_and_approve_from_the_command_line(reviews, git_server):
    [proposal] = advance(reviews, wanted())
    listed = run(git_server, "list")
    assert listed.exit_code == 0
    assert "ml/llama" in listed.output
    shown = run(git_server, "show", "ml.llama")
    assert proposal.commit in shown.output
    assert "kind: RayJob" in shown.output
    approved = run(git_server, "approve", "ml.llama", "--at", proposal.commit)
    assert (approved.exit_code, "is merged as" in approved.output) == (0, True)
    assert git_server.git("log", "-1", "--format=%an <%ae>", "main") == "Pat Person <pat@example.org>"


def test_people_reject_from_the_command_line(reviews, git_server):
    advance(reviews, wanted())
    assert run(git_server, "reject", "ml.llama", "--why", "Not now.").exit_code == 0
    [after] = advance(reviews, wanted())
    assert (after.stage, after.message) == (ProposalStage.REJECTED, f"Pat Person: Not now; {AGAIN}")
    assert "No proposal is open" in run(git_server, "list").output


def test_an_unknown_proposal_is_one_clear_line(reviews, git_server):
    result = run(git_server, "show", "nothing")
    assert result.exit_code == 2
    assert "is 0 of the 0 open proposals" in result.output


def test_a_proposal_is_never_taken_for_one_whose_name_begins_alike(reviews, git_server):
    [other] = advance(reviews, wanted("llama-2"))
    refused = run(git_server, "reject", "ml.llama", "--why", "Not this one.")
    assert (refused.exit_code, "is 0 of the 1 open proposals" in " ".join(refused.output.split())) == (2, True)
    assert git_server.git("rev-parse", other.branch) == other.commit
    by_more = run(git_server, "reject", other.branch[: len("carbon/ml.llama-2/abc")], "--why", "This one.")
    assert by_more.exit_code == 0


@pytest.mark.parametrize("name", ["ml/llama", "ml.llama", "carbon/ml.llama"])
def test_a_proposal_is_named_by_its_job_in_each_way_of_writing_it(reviews, git_server, name):
    [_, wanted_one] = sorted(advance(reviews, wanted("llama-2"), wanted()), key=lambda each: -len(each.branch))
    shown = run(git_server, "show", name)
    assert (shown.exit_code, f"{wanted_one.branch} at {wanted_one.commit}" in shown.output) == (0, True)


def test_an_exact_name_comes_before_one_that_begins_with_it(reviews, git_server):
    [proposal] = advance(reviews, wanted())
    git_server.git("branch", f"{proposal.branch}-move", proposal.branch)
    for name in (proposal.branch, proposal.branch.removeprefix("carbon/")):
        shown = run(git_server, "show", name)
        assert (shown.exit_code, f"{proposal.branch} at {proposal.commit}" in shown.output) == (0, True), shown.output
    several = run(git_server, "show", proposal.branch[:-1])
    assert "is 2 of the 2 open proposals" in " ".join(several.output.split())


def test_two_hubs_leave_each_other_s_proposals_alone(git_server, tmp_path):
    def hub(name: str) -> Reviews:
        return Reviews(Repository(quick_settings(git_server.url, tmp_path / name), CLOCK))

    hubs = {name: hub(name) for name in ("one", "two")}
    for _ in range(3):
        for name, each in hubs.items():
            [found] = each.advance([signed(wanted(name), hub=name)], CLOCK.now(), hub=name).values()
            assert found.stage is ProposalStage.OPEN
    assert len(git_server.git("branch", "--list", "carbon/*").split()) == 2
    hubs["one"].advance([], CLOCK.now(), hub="one")
    assert [line.split("/")[1] for line in git_server.git("branch", "--list", "carbon/*").split()] == ["ml.two"]
