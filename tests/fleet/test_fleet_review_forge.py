"""Review on a forge, end to end over real Git: one request each, people's word is final, time runs out."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from carbonfleet.cli.fleet.review import app
from carbonfleet.fleet import Repository
from carbonfleet.fleet.review import ForgeSettings, ProposalStage, Propose, Reviews
from carbonfleet.fleet.review.forges.gitea import Gitea
from carbonfleet.fleet.review.forges.github import GitHub
from carbonfleet.fleet.review.forges.gitlab import GitLab
from carbonfleet.fleet.review.pull_requests import (
    FRESH_CHECK,
    HUMAN_EDITED,
    SUPERSEDED,
    ForgeDenied,
    RepositoryAccess,
    branch_of,
)
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of
from fixtures.forge_server import ForgeServer, Injected
from fixtures.hand_clock import HandClock

CLIENTS = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
NOW = CLOCK.now()
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WANTED = Propose(place("llama"), NOW + HOUR)


HAND = HandClock()
"""The forge client's, which goes with the moments at which reviews are advanced."""


class TimedReviews(Reviews):
    """Reviews whose forge client lives at the same moment."""

    def advance(self, wanted, now, **more):
        HAND.set(now)
        return super().advance(wanted, now, **more)


@pytest.fixture(params=CLIENTS)
def forge_server(request, git_server):
    """A forge that shows the served Git repository and merges in it."""
    found = ForgeServer.over(git_server, request.param, CLOCK.now)
    yield found
    found.stop()


@pytest.fixture
def start(forge_server, git_server, tmp_path):
    """Starts a hub's review anew, as after a crash."""

    def started(name="reviewing-hub", around=lambda client: client, **more):
        (tmp_path / "token").write_text(forge_server.token)
        settings = ForgeSettings(forge_server.url, "acme/fleet", tmp_path / "token", pause_seconds=0.001)
        repository = Repository(quick_settings(git_server.url, tmp_path / name, **more), CLOCK)
        return TimedReviews(repository, around(CLIENTS[forge_server.kind](settings, HAND)))

    return started


def advance(reviews, propose=WANTED, now=NOW):
    return reviews.advance([propose], now)[propose.place.id]


def test_a_proposal_becomes_one_request_that_explains_itself(start, forge_server):
    proposal = advance(start())
    [pull] = forge_server.pulls
    assert (proposal.stage, pull.title, pull.labels) == (
        ProposalStage.OPEN,
        "Place ml/llama on no-osl-1",
        ["carbon/placement"],
    )
    assert "| no-osl-1 | Chosen |" in pull.body
    assert "Expected: **60 (52–71) gCO2e** at 31 gCO2e/kWh and 10.00 USD, " in pull.body
    assert "promised to have finished by 2026-01-31T16:00:00Z" in pull.body.replace("\\", "")
    assert "```yaml carbon-placement" in pull.body
    assert str(pull.number) in proposal.url
    assert set(forge_server.statuses) == {
        (proposal.commit, "carbonfleet/policy"),
        (proposal.commit, "carbonfleet/fresh"),
    }


def test_a_hub_killed_after_the_request_was_made_makes_no_second(start, forge_server):
    advance(start())
    again = advance(start("restarted"), replace(WANTED, place=place("llama", reason="Other")))
    assert (again.stage, forge_server.created) == (ProposalStage.OPEN, 1)


def test_a_hub_killed_between_branch_and_request_makes_the_request(start, forge_server):
    forge_server.choose = lambda method, _path: Injected(500) if method == "POST" else None
    reviews = start()
    assert advance(reviews).stage is ProposalStage.HELD
    forge_server.choose = lambda _method, _path: None
    assert advance(start("restarted")).stage is ProposalStage.OPEN
    assert forge_server.created == 1


def test_a_request_made_though_the_answer_was_lost_is_adopted(start, forge_server):
    lost = [Injected(502, None, after=True)]
    forge_server.choose = lambda method, path: (
        lost.pop() if method == "POST" and path.endswith(("/pulls", "/merge_requests")) and lost else None
    )
    reviews = start()
    assert advance(reviews).stage is ProposalStage.HELD
    assert advance(reviews, now=NOW + MINUTE).stage is ProposalStage.OPEN
    assert forge_server.created == 1


def test_closing_is_a_no_that_sticks(start, forge_server, git_server):
    reviews = start()
    first = advance(reviews)
    forge_server.close(forge_server.pulls[0])
    assert advance(reviews, now=NOW + MINUTE).stage is ProposalStage.REJECTED
    assert git_server.git("branch", "--list", first.branch) == ""
    for attempt in (1, 2):
        retried = replace(WANTED, place=place("llama", attempt=attempt))
        assert advance(start(f"restarted-{attempt}"), retried, NOW + MINUTE).stage is ProposalStage.REJECTED
    assert forge_server.created == 1


def test_closing_and_deleting_the_branch_is_a_no_as_well(start, forge_server, git_server):
    first = advance(start())
    forge_server.close(forge_server.pulls[0])
    git_server.git("update-ref", "-d", f"refs/heads/{first.branch}")
    assert advance(start("restarted"), now=NOW + MINUTE).stage is ProposalStage.REJECTED
    assert forge_server.created == 1


def test_a_persons_merge_is_seen_on_the_main_branch(start, forge_server, repository):
    reviews = start()
    advance(reviews)
    forge_server.do_merge(forge_server.pulls[0])
    assert advance(reviews, now=NOW + MINUTE).stage is ProposalStage.MERGED
    assert set(repository.fetch().placements) == {uid_of("llama")}


@pytest.fixture
def approve(forge_server, git_server, tmp_path):
    """What a person runs: `carbonfleet review approve` against the forge."""

    def run(proposal):
        token = tmp_path / "token-of-pat"
        token.write_text(forge_server.token)
        place = ["--forge", forge_server.kind, "--forge-api", forge_server.url, "--forge-repository", "acme/fleet"]
        place += ["--forge-token-file", str(token), "--fleet-url", git_server.url, "--at", proposal.commit]
        return CliRunner().invoke(app, ["approve", proposal.branch, *place])

    return run


def test_people_merge_what_they_looked_at_on_the_forge_and_once(start, forge_server, repository, approve):
    proposal = advance(start())
    for _ in range(3):
        done = approve(proposal)
        assert (done.exit_code, proposal.url in done.output.replace("\n", "")) == (0, True), done.output
    assert forge_server.merges == 1
    assert set(repository.fetch().placements) == {uid_of("llama")}


def test_the_forge_s_no_is_people_s_answer(start, forge_server, approve):
    proposal = advance(start())
    forge_server.choose = lambda _method, path: Injected(403, {"message": "owners"}) if "/merge" in path[-7:] else None
    refused = approve(proposal)
    assert (refused.exit_code, forge_server.merges) == (2, 0)
    assert "was not merged" in refused.output.replace("\n", " ")


@pytest.mark.parametrize("forge_server", ["github", "gitea"], indirect=True)
@pytest.mark.parametrize("method", ["squash", "rebase"])
def test_where_the_forge_takes_no_merge_commits_a_method_that_it_takes_is_used(start, forge_server, approve, method):
    proposal = advance(start())
    forge_server.merge_methods = {method}
    assert (approve(proposal).exit_code, forge_server.merges) == (0, 1)


@pytest.mark.parametrize("forge_server", ["github", "gitea"], indirect=True)
def test_a_forge_that_takes_no_method_is_told_as_such(start, forge_server, approve):
    proposal = advance(start())
    forge_server.merge_methods = set()
    refused = approve(proposal)
    assert (refused.exit_code, forge_server.merges) == (2, 0)
    assert "not allowed" in refused.output.replace("\n", " ")


def test_a_hub_killed_after_the_merge_finds_it(start, forge_server, approve):
    proposal = advance(start())
    approve(proposal)
    assert advance(start("restarted"), now=NOW + MINUTE).stage is ProposalStage.MERGED
    assert (forge_server.created, forge_server.merges) == (1, 1)


def test_who_looked_before_is_told_of_a_change_in_one_comment(start, forge_server):
    reviews = start()
    first = advance(reviews)
    for minutes, cluster in ((1, "ca-qc-1"), (2, "us-oh-1"), (3, "us-oh-1")):
        later = advance(reviews, replace(WANTED, place=place("llama", cluster)), NOW + minutes * MINUTE)
    [pull] = forge_server.pulls
    [said] = pull.said
    assert said.startswith("Decided anew: Place ml/llama on us-oh-1, start 2026-01-31T12:00:00Z.")
    assert later.commit[:10] in said
    assert (first.url, forge_server.comment_edits) == (later.url, 1)


def test_a_head_that_moved_is_not_merged(start, forge_server, approve):
    reviews = start()
    seen = advance(reviews)
    advance(reviews, replace(WANTED, place=place("llama", "ca-qc-1")), NOW + MINUTE)
    refused = approve(seen)
    assert (refused.exit_code, forge_server.merges) == (2, 0)
    assert "look at it again" in refused.output.replace("\n", " ")


def test_a_passed_window_fails_fresh_closes_once_and_is_proposed_anew(start, forge_server, git_server):
    reviews = start()
    first = advance(reviews)
    later = NOW + 2 * HOUR
    assert advance(reviews, now=later).stage is ProposalStage.SUPERSEDED
    [pull] = forge_server.pulls
    assert forge_server.statuses[first.commit, FRESH_CHECK] in {"failure", "failed"}
    assert (pull.state, pull.said) == ("closed", ["Superseded: the hours it was made for have passed."])
    assert SUPERSEDED in pull.labels
    anew = advance(start("restarted"), replace(WANTED, expires_at=later + HOUR), later)
    assert (anew.stage, forge_server.created) == (ProposalStage.OPEN, 2)


def test_a_branch_that_a_person_pushed_to_is_labelled_and_left_alone(start, forge_server, git_server, person):
    reviews = start()
    first = advance(reviews)
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{first.branch}")
    person.run("commit", "--quiet", "--allow-empty", "-m", "Look here")
    person.run("push", "--quiet", "origin", f"HEAD:{first.branch}")
    later = advance(reviews, replace(WANTED, place=place("llama", "ca-qc-1")), NOW + MINUTE)
    assert later.stage is ProposalStage.HUMAN_EDITED
    assert HUMAN_EDITED in forge_server.pulls[0].labels
    assert git_server.git("log", "-1", "--format=%s", first.branch) == "Look here"


def push_a_change(person, branch, text=None):
    """What people push to a proposal: a commit without changes, or the file with another text."""
    person.run("fetch", "--quiet", "origin")
    person.run("checkout", "--quiet", "-B", "mine", f"origin/{branch}")
    if text is not None:
        (person.path / "clusters/no-osl-1/jobs/ml/llama.yaml").write_text(text)
    person.run("commit", "--quiet", "--all", "--allow-empty", "-m", "Look here")
    person.run("push", "--quiet", "origin", f"HEAD:{branch}")
    return person.run("rev-parse", "HEAD")


def checks(forge_server, head):
    found = {context: state for (sha, context), state in forge_server.statuses.items() if sha == head}
    return found.get("carbonfleet/policy"), found.get("carbonfleet/fresh")


def test_every_head_of_a_branch_that_people_push_to_has_its_checks(start, forge_server, git_server, person):
    reviews = start()
    first, job = advance(reviews), {uid_of("llama"): 1}
    good = git_server.git("show", f"{first.branch}:clusters/no-osl-1/jobs/ml/llama.yaml")
    no = "failed" if forge_server.kind == "gitlab" else "failure"
    for text, wanted in ((None, "success"), (None, "success"), ("no placement", no)):
        head = push_a_change(person, first.branch, text)
        reviews.advance([], NOW, hint=True, jobs=job)
        assert checks(forge_server, head) == (wanted, wanted)
    head = push_a_change(person, first.branch, good)
    for now, fresh in ((NOW + MINUTE, "success"), (WANTED.expires_at, no)):
        reviews.advance([], now, jobs=job)
        assert checks(forge_server, head) == ("success", fresh)
    assert forge_server.pulls[0].state == "open"


@pytest.mark.parametrize(("how", "is_good"), [("commit", True), ("edit", False), ("rebase", False)])
def test_where_the_hub_signs_a_head_whose_file_it_did_not_sign_fails_its_check(
    start, forge_server, git_server, person, tmp_path, how, is_good
):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=120)
    reviews = start(signing_key=key)
    branch = advance(reviews).branch
    if how == "rebase":
        (person.path / "NOTES.md").write_text("Mind the maintenance.\n")
        person.push("Leave a note")
        person.run("fetch", "--quiet", "origin")
        person.run("checkout", "--quiet", "-b", "mine", f"origin/{branch}")
        person.run("rebase", "--quiet", "origin/main")
        person.run("push", "--quiet", "--force", "origin", f"HEAD:{branch}")
        head = person.run("rev-parse", "HEAD")
    else:
        text = git_server.git("show", f"{branch}:clusters/no-osl-1/jobs/ml/llama.yaml")
        head = push_a_change(person, branch, None if how == "commit" else f"{text}\n# looked at\n")
    assert advance(reviews, now=NOW + MINUTE).stage is ProposalStage.HUMAN_EDITED
    no = "failed" if forge_server.kind == "gitlab" else "failure"
    assert checks(forge_server, head)[0] == ("success" if is_good else no)


def test_a_branch_that_people_pushed_to_is_not_fresh_once_its_job_is_gone(start, forge_server, person):
    reviews = start()
    head = push_a_change(person, advance(reviews).branch)
    reviews.advance([], NOW, hint=True, jobs={})
    assert checks(forge_server, head) == ("success", "failed" if forge_server.kind == "gitlab" else "failure")


def test_a_forge_that_is_down_for_an_hour_loses_nothing_and_is_not_stormed(start, forge_server):
    forge_server.choose = lambda _method, _path: Injected(503)
    reviews = start()
    stages = {advance(reviews, replace(WANTED, expires_at=NOW + 9 * HOUR), NOW + n * MINUTE).stage for n in range(10)}
    assert stages == {ProposalStage.HELD}
    # Each cycle asks a few times and gives up until the next.
    assert len(forge_server.requests) <= 10 * 4
    forge_server.choose = lambda _method, _path: None
    found = advance(reviews, replace(WANTED, expires_at=NOW + 9 * HOUR), NOW + HOUR)
    assert (found.stage, forge_server.created) == (ProposalStage.OPEN, 1)


def test_a_forge_that_wants_us_to_wait_is_not_asked_until_then(start, forge_server):
    forge_server.choose = lambda _method, _path: Injected(429, None, {"Retry-After": "120"})
    reviews = start()
    assert advance(reviews).reason == "ForgeRateLimited"
    forge_server.requests.clear()
    forge_server.choose = lambda _method, _path: None
    assert advance(reviews, now=NOW + MINUTE).reason == "ForgeRateLimited"
    assert forge_server.requests == []
    assert advance(reviews, now=NOW + 3 * MINUTE).stage is ProposalStage.OPEN


def test_an_unwanted_request_is_closed_once_the_forge_is_back(start, forge_server):
    reviews = start()
    advance(reviews)
    forge_server.choose = lambda _method, _path: Injected(503)
    reviews.advance([], NOW + MINUTE)
    forge_server.choose = lambda _method, _path: None
    reviews.advance([], NOW + 2 * MINUTE)
    assert forge_server.pulls[0].state == "closed"


def test_an_unchanged_request_is_asked_about_ever_more_rarely(start, forge_server):
    reviews = start()
    long = replace(WANTED, expires_at=NOW + 9 * HOUR)
    advance(reviews, long)
    forge_server.requests.clear()
    for second in range(0, 3600, 5):
        advance_only_polls(reviews, long, NOW + timedelta(seconds=second))
    assert len(forge_server.requests) <= 25
    assert forge_server.status_posts == 2


def advance_only_polls(reviews, propose, now):
    if now.second % 30 == NOW.second % 30:
        advance(reviews, propose, now)


def test_a_webhook_only_hastens_what_polling_finds(start, forge_server):
    reviews = start()
    advance(reviews)
    forge_server.close(forge_server.pulls[0])
    assert advance(reviews, now=NOW + timedelta(seconds=1)).stage is ProposalStage.OPEN
    hinted = reviews.advance([WANTED], NOW + timedelta(seconds=2), hint=True)[WANTED.place.id]
    assert hinted.stage is ProposalStage.REJECTED


def test_what_is_not_wanted_any_more_is_closed_with_a_word(start, forge_server, git_server):
    reviews = start()
    advance(reviews)
    reviews.advance([], NOW)
    [pull] = forge_server.pulls
    assert (pull.state, pull.said) == ("closed", ["Superseded: it is not wanted any more."])
    assert git_server.git("branch", "--list", "carbon/*") == ""


def test_two_hubs_on_one_forge_close_and_change_none_of_the_other_s_requests(start, forge_server):
    def of(hub):
        found = replace(WANTED, place=place(f"job-{hub}"))
        return replace(found, place=replace(found.place, record=found.place.record.model_copy(update={"hub": hub})))

    hubs = {name: start(name) for name in ("one", "two")}
    for minute in range(3):
        for name, reviews in hubs.items():
            now = NOW + minute * MINUTE
            [found] = reviews.advance([of(name)], now, hub=name, jobs={uid_of(f"job-{name}"): 1}).values()
            assert found.stage is ProposalStage.OPEN
    assert [(pull.state, pull.said) for pull in forge_server.pulls] == [("open", [])] * 2
    hubs["one"].advance([], NOW + 4 * MINUTE, hub="one", jobs={})
    assert [pull.state for pull in forge_server.pulls] == ["closed", "open"]


class FaultyForge:
    """A forge's client with faults of its own, which show with some branches."""

    def __init__(self, forge, faults):
        self.forge, self.faults = forge, faults

    def __getattr__(self, name):
        asked = getattr(self.forge, name)

        def answered(first, *rest, **more):
            if first in self.faults:
                raise self.faults[first]
            return asked(first, *rest, **more)

        return answered


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError(), RecursionError(), UnicodeError("x"), OSError(5)])
def test_whatever_goes_wrong_with_one_proposal_is_told_there_and_tried_again(start, forge_server, error):
    faults = {branch_of(WANTED): error}
    reviews = start(around=lambda client: FaultyForge(client, faults))
    others = [Propose(place(name), NOW + HOUR) for name in ("gemma", "qwen")]
    everything = [WANTED, *others]
    said = reviews.advance(everything, NOW)
    assert [said[each.place.id].stage for each in others] == [ProposalStage.OPEN] * 2
    failed = said[WANTED.place.id]
    assert (failed.stage, failed.reason, failed.message) == (
        ProposalStage.HELD,
        "ProposalFailed",
        "it is tried again each cycle; the hub's log has the fault: please report it",
    )
    faults.clear()
    said = reviews.advance(everything, NOW + MINUTE)
    assert {each.stage for each in said.values()} == {ProposalStage.OPEN}
    assert forge_server.created == 3


def test_a_forge_says_what_the_token_may_do_and_whether_the_branch_has_rules(forge_server, tmp_path):
    (tmp_path / "token").write_text(forge_server.token)
    asked = ForgeSettings(forge_server.url, "acme/fleet", tmp_path / "token", pause_seconds=0.001)
    forge = CLIENTS[forge_server.kind](asked, HAND)
    assert forge.access() == RepositoryAccess(can_write=True, is_protected=True)
    forge_server.may_write = forge_server.is_protected = False
    assert forge.access() == RepositoryAccess(can_write=False, is_protected=False)
    forge_server.may_write, forge_server.scopes = True, ["read_api"]
    assert forge.access().can_write is (forge_server.kind != "gitlab")
    forge_server.choose = lambda _method, _path: Injected(404, {"message": "Not Found"})
    with pytest.raises(ForgeDenied, match="knows no"):
        forge.access()
    forge_server.choose = lambda _method, _path: Injected(200, {"permissions": "all", "protected": "yes"})
    assert forge.access() == RepositoryAccess(can_write=False, is_protected=False)
