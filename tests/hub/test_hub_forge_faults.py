"""What a forge and those who write there may do to proposals, and whom it may not harm."""

import pytest

from carbonfleet.api.job_status import Phase
from fixtures.forge_server import Injected, Pull
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

every_forge = pytest.mark.parametrize("hub", ["github", "gitlab", "gitea"], indirect=True)
LIMITED = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}


def branches(hub: ReviewedHub) -> list[str]:
    """The branches beside main."""
    names = hub.stack.git.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()
    return [name for name in names if name != "main"]


def update_branch(hub: ReviewedHub, pull: Pull, how: str = "merge") -> str:
    """What "Update branch" does at a forge after main has moved, by merge or by rebase; the branch's new head."""
    hub.stack.change("A note", lambda work: (work / "NOTES.md").write_text(pull.branch))
    person = hub.stack.git.checkout(f"update-{pull.number}")
    person.run("checkout", "--quiet", "-b", "proposal", f"origin/{pull.branch}")
    said = ("-m", f"Merge branch 'main' into {pull.branch}") if how == "merge" else ()
    person.run(how, "--quiet", "origin/main", *said)
    person.run("push", "--quiet", "--force", "origin", f"HEAD:{pull.branch}")
    return person.run("rev-parse", "HEAD")


def test_a_missing_token_file_holds_up_proposals_alone(hub):
    hub.propose("asked")
    token = hub.stack.root / "token"
    text = token.read_text()
    token.unlink()
    hub.stack.submit("plain", behaviour="hold")
    hub.step(times=2, minutes=11)
    assert hub.phase("plain") is Phase.RUNNING
    assert hub.reason("asked") == "ForgeDenied"
    assert "token" in condition(hub.stack.job("asked"), "Approved").message
    hub.stack.delete("plain")
    hub.step(times=3, minutes=11)
    assert (hub.phase("plain"), hub.stack.placements("plain")) == (None, [])
    token.write_text(text)
    hub.step(minutes=11)
    assert (hub.phase("asked"), hub.forge.created) == (Phase.PROPOSED, 1)


@every_forge
@pytest.mark.parametrize("headers", [{}, {"X-RateLimit-Remaining": "4321", "X-RateLimit-Reset": "1"}], ids=["", "hour"])
def test_a_secondary_rate_limit_is_waited_out_for_longer_each_time(hub, headers):
    hub.forge.choose = lambda method, _path: Injected(403, LIMITED, headers) if method == "POST" else None
    hub.stack.submit("asked", review="required")
    asked = []
    for seconds in (0, 59, 31, 119, 61):
        before = len(hub.forge.requests)
        hub.step(seconds=seconds)
        asked.append(any(request.startswith("POST") for request in hub.forge.requests[before:]))
    assert asked == [True, False, True, False, True]
    assert hub.reason("asked") == "ForgeRateLimited"


@every_forge
def test_a_limit_on_one_write_is_no_limit_on_git(hub):
    pull = hub.propose("asked")
    hub.forge.choose = lambda method, _path: Injected(429, {"message": "slow down"}) if method != "GET" else None
    hub.stack.submit("next", review="required")
    hub.step(minutes=1)
    hub.merge(pull)
    hub.stack.submit("plain")
    hub.step(times=4, minutes=1)
    assert {hub.phase("asked"), hub.phase("plain")} == {Phase.SUCCEEDED}
    assert hub.reason("next") == "ForgeRateLimited"


@every_forge
def test_a_repository_that_moved_is_named_with_its_new_place(hub):
    pull = hub.propose("asked")
    there = "https://api.github.test/repositories/123/pulls"
    hub.forge.choose = lambda _method, _path: Injected(301, {"message": "Moved Permanently"}, {"Location": there})
    hub.step(minutes=11)
    assert there in condition(hub.stack.job("asked"), "Approved").message
    hub.merge(pull)
    hub.step(times=4, minutes=1)
    assert hub.phase("asked") is Phase.SUCCEEDED


def test_a_refused_status_holds_up_no_other_proposal(hub):
    first, second = hub.propose("aaa"), hub.propose("bbb")
    hub.step(minutes=1)
    body = {"message": "This SHA and context has reached the maximum number of statuses."}
    hub.forge.choose = lambda _method, path: Injected(422, body) if path.endswith(f"/statuses/{first.sha}") else None
    hub.stack.delete("aaa")
    hub.stack.delete("bbb")
    hub.step(times=3, minutes=6)
    assert (second.state, second.said) == ("closed", ["Superseded: the job was deleted."])
    assert branches(hub) == [first.branch]


def test_a_token_that_may_not_label_takes_its_proposals_back_all_the_same(hub):
    denied = Injected(403, {"message": "Resource not accessible by personal access token"})
    hub.forge.choose = lambda method, path: denied if method != "GET" and path.endswith("/labels") else None
    pull = hub.propose("asked")
    hub.step(minutes=1)
    assert hub.phase("asked") is Phase.PROPOSED
    hub.stack.delete("asked")
    hub.step(times=2, minutes=6)
    assert (pull.state, branches(hub)) == ("closed", [])


@every_forge
def test_a_request_from_a_fork_is_left_alone(hub):
    ours = hub.propose("asked")
    fork = hub.forge.add_from_fork(ours.branch, "my own thing")
    hub.step(minutes=11)
    assert (fork.title, fork.body, fork.labels, fork.said) == ("my own thing", "from a fork", [], [])
    fork.state = "closed"
    hub.step(minutes=11)
    assert (hub.phase("asked"), ours.state) == (Phase.PROPOSED, "open")
    hub.forge.add_from_fork(ours.branch, "once more")
    hub.step(times=3, hours=2, minutes=1)
    assert (ours.state, hub.forge.pulls[2].state) == ("closed", "open")
    assert (hub.phase("asked"), hub.pull("asked").source) == (Phase.PROPOSED, "acme/fleet")


@every_forge
def test_a_closed_request_from_a_fork_is_no_no(hub):
    pull = hub.propose("asked")
    hub.forge.add_from_fork(pull.branch, "my own thing", state="closed")
    hub.step(times=3, hours=2, minutes=1)
    assert hub.phase("asked") is Phase.PROPOSED


@pytest.mark.parametrize("hub", ["gitlab"], indirect=True)
def test_what_people_write_in_a_request_stays(hub):
    pull = hub.propose("asked")
    pull.title = f"Draft: {pull.title}"
    pull.body += "\n\n- [x] looked at by the privacy team"
    hub.step(minutes=11)
    assert pull.title == f"Draft: Place {hub.stack.namespace}/asked on no-osl-1"
    assert pull.body.endswith("- [x] looked at by the privacy team")


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_a_branch_that_was_updated_is_still_the_hub_s_proposal(hub, how):
    pull = hub.propose("asked")
    head = update_branch(hub, pull, how)
    hub.step(minutes=1)
    assert (hub.phase("asked"), pull.labels) == (Phase.PROPOSED, ["carbon/placement"])
    states = {context: state for (sha, context), state in hub.forge.statuses.items() if sha == head}
    assert states == {"carbonfleet/policy": "success", "carbonfleet/fresh": "success"}
    hub.step(times=3, hours=2, minutes=5)
    assert (pull.state, hub.forge.created) == ("closed", 2)
    assert hub.forge.statuses[head, "carbonfleet/fresh"] == "failure"


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_an_updated_branch_that_is_merged_runs_once(hub, how):
    pull = hub.propose("asked")
    update_branch(hub, pull, how)
    hub.step(minutes=1)
    hub.merge(pull)
    hub.step(times=4, minutes=1)
    assert hub.phase("asked") is Phase.SUCCEEDED
    hub.stack.assert_run_once_in(hub.connections.ledger, "asked")


def test_updated_branches_of_jobs_that_are_gone_do_not_fill_the_limit(hub):
    for number in range(3):
        update_branch(hub, hub.propose(f"gone-{number}"))
        hub.step(minutes=1)
        hub.stack.delete(f"gone-{number}")
    hub.step(times=3, minutes=6)
    assert {pull.state for pull in hub.forge.pulls} == {"closed"}
    assert branches(hub) == []


def test_a_policy_that_forbids_an_updated_branch_fails_its_check(hub):
    pull = hub.propose("asked")
    head = update_branch(hub, pull)
    hub.step(minutes=1)
    hub.stack.edit("Only the US", "policies/default.yaml", "{anywhere: true}", "{jurisdictions: [US]}")
    hub.step(times=2, minutes=1)
    assert "Norway" not in hub.pull("asked").title
    assert hub.pull("asked").title.endswith("on us-oh-1") or hub.forge.statuses[head, "carbonfleet/policy"] == "failure"


def test_a_closed_proposal_says_how_to_have_it_proposed_again(hub):
    pull = hub.propose("asked")
    hub.forge.close(pull)
    hub.step(minutes=1)
    assert (hub.phase("asked"), hub.reason("asked")) == (Phase.REJECTED, "Rejected")
    assert "until the job's spec changes" in condition(hub.stack.job("asked"), "Approved").message


def test_a_request_that_is_opened_again_is_closed_with_the_truth(hub):
    pull = hub.propose("asked")
    hub.forge.close(pull)
    hub.step(minutes=1)
    hub.stack.git.git("update-ref", f"refs/heads/{pull.branch}", pull.sha)
    pull.state = "open"
    hub.step(times=2, minutes=1)
    assert (hub.phase("asked"), pull.state) == (Phase.REJECTED, "closed")
    assert pull.said != ["Superseded: the job has ended."]
    assert "spec changes" in pull.said[0]


def test_what_was_rejected_of_jobs_that_are_gone_does_not_pile_up(hub):
    for number in range(3):
        pull = hub.propose(f"refused-{number}")
        hub.forge.close(pull)
        hub.step(minutes=1)
        hub.stack.delete(f"refused-{number}")
    hub.step(times=2, minutes=1)
    hub.step(times=2, hours=48)
    assert branches(hub) == []


def test_a_proposal_is_made_anew_for_a_job_that_is_made_anew(hub):
    first = hub.propose("asked")
    hub.stack.delete("asked")
    hub.step(minutes=1)
    assert (first.state, first.said) == ("closed", ["Superseded: the job was deleted."])
    second = hub.propose("asked")
    assert (second.number, second.state, hub.phase("asked")) == (2, "open", Phase.PROPOSED)


def test_a_proposal_that_was_merged_after_its_spec_changed_runs_as_it_was_agreed_to(hub):
    pull = hub.propose("asked", behaviour="hold")
    hub.stack.patch_spec("asked", {"resources": {"duration": "90m", "gpus": 2}})
    hub.merge(pull)
    hub.step(times=3, minutes=1)
    assert (hub.phase("asked"), hub.reason("asked", "Accepted")) == (Phase.RUNNING, "ChangedWhileRunning")
    assert (hub.stack.changes("asked"), hub.forge.created) == (["place 1"], 1)
    assert (hub.stack.spokes.starts, hub.stack.spokes.violations) == ([("asked", 1, "no-osl-1")], [])


@pytest.mark.parametrize("reference", ["carbon", "carbon/flow"])
def test_a_branch_in_the_way_of_proposals_is_named(hub, reference):
    if reference != "carbon":
        reference = f"carbon/{hub.stack.namespace}.asked"
    hub.stack.git.git("branch", reference, "main")
    hub.stack.submit("asked", review="required")
    hub.step(times=2, minutes=1)
    assert hub.reason("asked") == "BranchInTheWay"
    assert f" {reference} " in condition(hub.stack.job("asked"), "Approved").message
    hub.stack.git.git("branch", "-D", reference)
    hub.step(minutes=1)
    assert hub.phase("asked") is Phase.PROPOSED


def test_branches_that_clash_with_those_that_were_there_blind_no_review(hub):
    hub.stack.git.git("branch", "carbon/notes", "main")
    pull = hub.propose("asked")
    hub.stack.git.git("branch", "-D", "carbon/notes")
    hub.stack.git.git("branch", "carbon/notes/one", "main")
    hub.step(minutes=1)
    assert hub.phase("asked") is Phase.PROPOSED
    hub.forge.close(pull)
    hub.step(minutes=11)
    assert hub.phase("asked") is Phase.REJECTED
