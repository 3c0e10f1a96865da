"""Each forge by its own shapes and quirks: every reply has one meaning, and nothing is done twice."""

import random

import pytest

from carbonfleet.fleet.review import ForgeSettings
from carbonfleet.fleet.review.forges.gitea import Gitea
from carbonfleet.fleet.review.forges.github import GitHub
from carbonfleet.fleet.review.forges.gitlab import GitLab
from carbonfleet.fleet.review.pull_requests import (
    COMMENT_MARK,
    ForgeDenied,
    ForgeError,
    ForgeRateLimited,
    Mergeable,
    MergeOutcome,
    PullState,
)
from fixtures.fleet_values import CLOCK
from fixtures.forge_server import ForgeServer, Injected
from fixtures.hand_clock import HandClock

CLIENTS = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
BRANCH = "carbon/ml.llama/abcdefgh"
SHA = "a" * 40


@pytest.fixture(params=CLIENTS)
def server(request):
    found = ForgeServer(request.param)
    yield found
    found.stop()


@pytest.fixture
def forge(server, tmp_path):
    return client(server, tmp_path)


def client(server, tmp_path, token=None, clock=CLOCK):
    (tmp_path / "token").write_text(f"{token or server.token}\n")
    settings = ForgeSettings(server.url, "acme/fleet", tmp_path / "token", pause_seconds=0.001)
    return CLIENTS[server.kind](settings, clock)


def ready(forge):
    """A request whose mergeability the forge has worked out."""
    request = forge.create(BRANCH, "Place it", "Because.")
    forge.read(request.number)
    return request


def test_a_request_is_made_once(server, forge):
    first = forge.create(BRANCH, "Place it", "Because.")
    assert forge.create(BRANCH, "Place it", "Because.") == forge.find(BRANCH)
    assert (first.state, first.branch, first.head_sha, server.created) == (PullState.OPEN, BRANCH, SHA, 1)


def test_a_request_that_another_made_meanwhile_is_adopted(server, forge):
    """It appears between looking and creating."""
    asked = []

    def choose(method, _path):
        asked.append(method)
        if method == "POST":
            server.add(BRANCH, "Theirs", "")
        return

    server.choose = choose
    assert forge.create(BRANCH, "Mine", "").title == "Theirs"


def test_nobody_has_asked_for_a_branch_yet(forge):
    assert forge.find(BRANCH) is None


def test_an_open_request_counts_before_a_closed_one(server, forge):
    server.close(server.add(BRANCH, "Old", ""))
    server.add(BRANCH, "New", "")
    assert forge.find(BRANCH).title == "New"


def test_closed_is_not_merged_though_there_is_a_merge_commit(server, forge):
    server.close(server.add(BRANCH, "No", ""))
    found = forge.find(BRANCH)
    assert (found.state, found.merge_sha, found.rejected) == (PullState.CLOSED, "", True)


def test_a_request_is_edited_and_labelled(server, forge):
    request = forge.create(BRANCH, "Place it", "Because.")
    forge.edit(request.number, "Better", "Line\nLine")
    forge.add_label(request.number, "carbon/placement")
    forge.add_label(request.number, "carbon/placement")
    found = forge.find(BRANCH)
    assert (found.title, found.body.replace("\r\n", "\n")) == ("Better", "Line\nLine")
    assert found.labels == {"carbon/placement"}


def test_the_hub_has_one_comment_and_changes_it_in_place(server, forge):
    request = forge.create(BRANCH, "Place it", "Because.")
    server.pulls[0].comments.append("Looks good.")
    for text in ("Decided anew.", "Decided anew.", "Superseded."):
        forge.say(request.number, text)
    assert server.pulls[0].said == ["Looks good.", "Superseded."]
    assert server.comment_edits == 1


def test_a_comment_that_is_not_ours_to_change_is_left_alone(server, forge):
    request = forge.create(BRANCH, "Place it", "Because.")
    server.pulls[0].comments.append(f"{COMMENT_MARK}\nI am the hub.")
    server.choose = lambda method, _path: Injected(403) if method in {"PATCH", "PUT"} else None
    forge.say(request.number, "Superseded.")
    assert server.pulls[0].said == ["I am the hub.", "Superseded."]


def test_the_same_status_twice_is_no_error(server, forge):
    for _ in range(2):
        forge.set_status(SHA, "carbonfleet/fresh", ok=True, description="Good until noon.")
    forge.set_status(SHA, "carbonfleet/fresh", ok=False, description="Too late.")
    assert server.statuses == {(SHA, "carbonfleet/fresh"): "failed" if server.kind == "gitlab" else "failure"}


def test_a_merge_happens_at_the_commit_that_was_seen(server, forge):
    request = ready(forge)
    assert forge.merge(request.number, "f" * 40, "Merge").outcome is MergeOutcome.HEAD_MOVED
    assert server.merges == 0
    merged = forge.merge(request.number, SHA, "Merge")
    assert (merged.outcome, merged.detail) == (MergeOutcome.MERGED, "b" * 40)
    assert forge.read(request.number).state is PullState.MERGED


def test_a_second_merge_finds_the_first(server, forge):
    request = ready(forge)
    forge.merge(request.number, SHA, "Merge")
    assert forge.merge(request.number, SHA, "Merge").outcome is MergeOutcome.ALREADY_MERGED
    assert server.merges == 1


def test_a_merge_whose_answer_was_lost_is_found(server, forge):
    request = ready(forge)
    lost = [Injected(0, after=True, drop=True)]
    server.choose = lambda method, path: lost.pop() if path.endswith("/merge") and method != "GET" and lost else None
    with pytest.raises(ForgeError):
        forge.merge(request.number, SHA, "Merge")
    assert forge.merge(request.number, SHA, "Merge").outcome is MergeOutcome.ALREADY_MERGED
    assert server.merges == 1


def test_a_closed_request_is_gone(server, forge):
    request = ready(forge)
    server.close(server.pulls[0])
    assert forge.merge(request.number, SHA, "Merge").outcome is MergeOutcome.GONE


def test_closing_what_is_merged_or_gone_is_no_error(server, forge):
    request = ready(forge)
    forge.merge(request.number, SHA, "Merge")
    forge.close(request.number)
    assert forge.read(request.number).state is PullState.MERGED


MERGE_REPLIES = [
    ("github", 405, {"message": "Base branch was modified. Review and try the merge again."}, MergeOutcome.BASE_MOVED),
    ("github", 405, {"message": "Pull Request is not mergeable"}, MergeOutcome.NOT_READY),
    ("github", 405, {"message": "No", "errors": "a string, not a list"}, MergeOutcome.NOT_READY),
    ("github", 409, {"message": "Head branch was modified."}, MergeOutcome.HEAD_MOVED),
    ("github", 403, {"message": "Resource not accessible by integration"}, MergeOutcome.FORBIDDEN),
    ("github", 404, {"message": "Not Found"}, MergeOutcome.GONE),
    ("github", 422, {"message": "Validation Failed"}, MergeOutcome.NOT_READY),
    ("gitlab", 405, {"message": "405 Method Not Allowed"}, MergeOutcome.NOT_READY),
    ("gitlab", 406, {"message": "Branch cannot be merged"}, MergeOutcome.CONFLICT),
    ("gitlab", 409, {"message": "SHA does not match HEAD of source branch"}, MergeOutcome.HEAD_MOVED),
    ("gitlab", 422, {"message": "Branch cannot be merged"}, MergeOutcome.NOT_READY),
    ("gitlab", 403, {"message": "403 Forbidden"}, MergeOutcome.FORBIDDEN),
    ("gitea", 405, {"message": "Please try again later"}, MergeOutcome.BASE_MOVED),
    ("gitea", 405, {"message": "User not allowed to merge PR"}, MergeOutcome.NOT_READY),
    ("gitea", 409, {"message": "head out of date"}, MergeOutcome.HEAD_MOVED),
    ("gitea", 409, {"message": "merge push out of date"}, MergeOutcome.BASE_MOVED),
    ("gitea", 409, {"message": "merge conflict"}, MergeOutcome.CONFLICT),
    ("gitea", 423, {"message": "locked"}, MergeOutcome.NOT_READY),
    ("gitea", 404, {"message": "not found"}, MergeOutcome.GONE),
    ("gitea", 201, None, MergeOutcome.SCHEDULED),
]


@pytest.mark.parametrize(("kind", "status", "body", "outcome"), MERGE_REPLIES)
def test_a_merges_reply_has_one_meaning(tmp_path, kind, status, body, outcome):
    server = ForgeServer(kind)
    try:
        forge = client(server, tmp_path)
        request = ready(forge)
        merging = ("PUT", "POST")
        server.choose = lambda method, path: (
            Injected(status, body) if method in merging and path.endswith("/merge") else None
        )
        assert forge.merge(request.number, SHA, "Merge").outcome is outcome
        assert server.merges == 0
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("mergeable", Mergeable.YES),
        ("checking", Mergeable.UNKNOWN),
        ("need_rebase", Mergeable.BEHIND),
        ("conflict", Mergeable.CONFLICT),
        ("not_approved", Mergeable.BLOCKED),
        ("a_status_of_next_year", Mergeable.BLOCKED),
        ("not_open", Mergeable.NO),
    ],
)
def test_an_unknown_status_of_gitlab_never_means_ready(status, wanted):
    from carbonfleet.fleet.review.forges.gitlab import _mergeable

    assert _mergeable(status) is wanted


@pytest.mark.parametrize(
    ("injected", "error"),
    [
        (Injected(429, {"message": "slow"}, {"Retry-After": "7"}), ForgeRateLimited),
        (Injected(403, {"message": "secondary"}, {"Retry-After": "7"}), ForgeRateLimited),
        (Injected(403, {"message": "spent"}, {"X-RateLimit-Remaining": "0"}), ForgeRateLimited),
        (Injected(403, {"message": "no"}), ForgeDenied),
        (Injected(500, {"message": "oops"}), ForgeError),
        (Injected(200, "not what was promised"), ForgeError),
        (Injected(200, {"number": None}), ForgeError),
        (Injected(302, None, {"Location": "https://evil.example.org/"}), ForgeError),
        (Injected(0, drop=True), ForgeError),
    ],
)
def test_a_failing_forge_is_one_of_our_errors(server, forge, injected, error):
    forge.create(BRANCH, "Place it", "Because.")
    server.choose = lambda _method, _path: injected
    with pytest.raises(error):
        forge.read(1)


def test_a_wrong_token_is_denied_and_not_shown(server, tmp_path):
    with pytest.raises(ForgeDenied) as caught:
        client(server, tmp_path, token="wrong-token").find(BRANCH)
    assert "wrong-token" not in str(caught.value)


def test_what_has_not_changed_is_not_sent_again(server, forge):
    ready(forge)
    first = forge.read(1)
    answers = []
    server.choose = lambda _method, _path: answers.append(1)
    assert forge.read(1) == first
    assert answers == [1]


SECONDARY = {"message": "You have exceeded a secondary rate limit."}
HOUR = {"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": "1"}
"""What GitHub says of the hour beside a secondary limit, which it has nothing to do with."""


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "99999"}, 3600, 3600),
        ({"Retry-After": "soon"}, 60, 90),
        ({}, 60, 90),
        (HOUR, 60, 90),
    ],
)
def test_nothing_is_asked_for_as_long_as_a_forge_wants(tmp_path, server, headers, least, most):
    clock = HandClock()
    forge = client(server, tmp_path, clock=clock)
    server.choose = lambda _method, _path: Injected(403, SECONDARY, headers)
    for span, asks in ((0, True), (least - 1, False), (most - least + 1, True)):
        clock.forward(seconds=span)
        before = len(server.requests)
        with pytest.raises(ForgeRateLimited):
            forge.find(BRANCH)
        assert (len(server.requests) > before) is asks


@pytest.mark.parametrize(
    ("api", "repository"), [("http://git.example.org", "a/b"), ("ftp://x", "a/b"), ("https://x", "noslash")]
)
def test_an_address_that_shows_the_token_is_refused(tmp_path, api, repository):
    with pytest.raises(ValueError, match=r"https://|owner/name"):
        ForgeSettings(api, repository, tmp_path)


CHAOS = [
    Injected(500, {"message": "oops"}),
    Injected(502, None),
    Injected(500, {"message": "oops, but done"}, after=True),
    Injected(0, drop=True),
    Injected(0, drop=True, after=True),
    Injected(429, {"message": "slow"}, {"Retry-After": "1"}),
    Injected(403, {"message": "secondary"}, {"Retry-After": "1"}),
    Injected(404, {"message": "Not Found"}),
    Injected(405, {"message": "Base branch was modified"}),
    Injected(405, {"message": "Please try again later"}, after=True),
    Injected(409, {"message": "head out of date"}),
    Injected(409, {"message": "exists"}, after=True),
    Injected(422, {"message": "Validation Failed", "errors": "a string"}),
    Injected(406, {"message": "conflict"}),
    Injected(200, "nonsense"),
    Injected(200, None, after=True),
    Injected(201, {}, after=True),
]


@pytest.mark.parametrize("rounds", [60, pytest.param(10_000, marks=pytest.mark.soak)])
def test_whatever_a_forge_answers_there_is_one_request_and_at_most_one_merge(tmp_path, server, rounds):
    """Sequences of random replies: only our errors come out, and nothing happens twice."""
    dice = random.Random(20260131)
    server.choose = lambda _method, _path: dice.choice(CHAOS) if dice.random() < 0.3 else None
    clock = HandClock()
    forge = client(server, tmp_path, clock=clock)
    for number in range(rounds):
        branch = f"{BRANCH}-{number}"
        before = server.created, server.merges
        for _ in range(6):
            clock.forward(hours=1)
            try:
                request = forge.create(branch, "Place it", "Because.")
                forge.merge(request.number, SHA, "Merge")
            except ForgeError:
                continue
            if next(pull for pull in server.pulls if pull.branch == branch).merged:
                break
        made, merged = server.created - before[0], server.merges - before[1]
        assert made <= 1, f"round {number}: {made} requests"
        assert merged <= 1, f"round {number}: {merged} merges"
        server.pulls = server.pulls[-50:]
