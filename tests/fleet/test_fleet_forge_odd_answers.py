"""Whatever JSON a forge answers, its client answers in kind or raises one of our errors."""

from contextlib import suppress
from itertools import cycle

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from carbonfleet.fleet.review import ForgeSettings
from carbonfleet.fleet.review.forges.gitea import Gitea
from carbonfleet.fleet.review.forges.github import GitHub
from carbonfleet.fleet.review.forges.gitlab import GitLab
from carbonfleet.fleet.review.pull_requests import ForgeError, MergeResult, PullRequest
from fixtures.forge_server import ForgeServer, Injected
from fixtures.hand_clock import HandClock

CLIENTS = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
BRANCH, SHA = "carbon/ml.llama/abcdefgh", "a" * 40
REPOSITORY = {"repo": {"full_name": "acme/fleet"}, "ref": BRANCH, "sha": SHA}
PULL = {
    "number": 1,
    "iid": 1,
    "html_url": "https://x",
    "web_url": "https://x",
    "state": "open",
    "head": REPOSITORY,
    "base": REPOSITORY,
    "source_branch": BRANCH,
    "sha": SHA,
    "source_project_id": 1,
    "target_project_id": 1,
    "detailed_merge_status": "mergeable",
    "mergeable": True,
    "mergeable_state": "clean",
    "merged": False,
    "labels": [],
    "id": 1,
    "name": "superseded",
    "body": "",
    "title": "",
}
ODD = [
    None,
    True,
    0,
    -1,
    1e999,
    10**400,
    "",
    "x",
    "\ud800",
    "opened",
    "merged",
    [],
    [[]],
    {},
    {"full_name": []},
    [None],
]
odd = st.sampled_from(ODD) | st.text(max_size=5) | st.integers() | st.floats()
bodies = st.one_of(
    odd,
    st.tuples(st.sampled_from([*PULL]), odd).map(lambda change: PULL | {change[0]: change[1]}),
    st.tuples(st.sampled_from([*REPOSITORY]), odd).map(
        lambda change: PULL | {"head": REPOSITORY | {change[0]: change[1]}}
    ),
    st.dictionaries(st.sampled_from([*PULL]), odd, max_size=6),
)
answers = st.tuples(
    st.sampled_from([200, 200, 200, 201, 204, 302, 400, 404, 405, 406, 409, 412, 418, 422, 451]),
    bodies | st.lists(bodies, max_size=3),
)
CALLS = (
    ("find", (BRANCH,), (PullRequest, type(None))),
    ("read", (1,), PullRequest),
    ("create", (BRANCH, "Place it", "Because."), PullRequest),
    ("edit", (1, "Place it", "Because."), type(None)),
    ("add_label", (1, "superseded"), type(None)),
    ("say", (1, "Hello."), type(None)),
    ("set_status", (SHA, "carbonfleet/policy"), type(None)),
    ("merge", (1, SHA, "Merge"), MergeResult),
    ("close", (1,), type(None)),
)


@pytest.fixture(scope="module", params=CLIENTS)
def server(request):
    found = ForgeServer(request.param)
    yield found
    found.stop()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(answers, min_size=1, max_size=4), st.sampled_from(CALLS))
@example([(200, [PULL | {"number": 1e999, "iid": 1e999}])], CALLS[0])
@example([(200, PULL | {"number": 1e999, "iid": 1e999})], CALLS[1])
def test_whatever_a_forge_answers_is_an_answer_or_a_forge_error(server, tmp_path, said, call):
    (tmp_path / "token").write_text(server.token)
    forge = CLIENTS[server.kind](
        ForgeSettings(server.url, "acme/fleet", tmp_path / "token", pause_seconds=0.001), HandClock()
    )
    remaining = cycle(said)
    server.choose = lambda _method, _path: Injected(*next(remaining))
    name, given_, kinds = call
    more = {"ok": True, "description": "fine"} if name == "set_status" else {}
    with suppress(ForgeError):
        assert isinstance(getattr(forge, name)(*given_, **more), kinds)
