"""A Kubernetes API that is busy, was compacted, or has lost a namespace: every cycle does all that it should."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from kubernetes import client

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import LONGEST_WAIT_SECONDS, Kube, KubeError, ours, path
from fixtures.http_server import HttpServer, QuietHandler
from fixtures.in_process_hub import NAMESPACE, InProcessHub, open_in_process_hub

JOBS = ours("carbontrainingjobs")


@dataclass
class Api:
    """Answers each request with the next of `answers`, and then as if all were well."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        configuration = client.Configuration()
        configuration.host = self.url
        return Kube(configuration)


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()

    class Handler(QuietHandler):
        def respond(self) -> None:
            self.body()
            made.asked.append(f"{self.command} {self.path}")
            status, headers = made.answers.pop(0) if made.answers else (200, {})
            said = {"reason": "Expired" if status == 410 else ""}
            token = {"continue": "next"} if self.path.endswith("limit=500") else {}
            well = {"items": [{"number": len(made.asked)}], "metadata": {"resourceVersion": "7", **token}}
            self.answer(status, json.dumps(well if status == 200 else said).encode(), headers)

    with HttpServer(Handler) as server:
        made.url = server.url
        yield made


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["get", "patch", "create", "delete"])
def test_a_busy_api_is_asked_again_when_it_says(api, status, method):
    api.answers = [(status, {"Retry-After": "0"})] * 3
    getattr(api.kube, method)("/x", *([{}] if method in ("patch", "create") else []))
    assert len(api.asked) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({"Retry-After": said} for said in (str(LONGEST_WAIT_SECONDS + 1), "-1", "soon", "٣", "9" * 5000)),
        {"Retry-After": "Mon, 30 Nov 2026 12:00:00 GMT"},
    ],
)
def test_an_api_that_says_no_time_or_a_long_one_is_not_waited_for(api, headers):
    headers = {key: value.encode().decode("latin-1") for key, value in headers.items()}
    api.answers = [(429, headers)]
    with pytest.raises(KubeError) as caught:
        api.kube.get("/x")
    assert (caught.value.status, len(api.asked)) == (429, 1)


def test_an_api_that_stays_busy_is_given_up_after_a_while(api):
    api.answers = [(429, {"Retry-After": "0"})] * 50
    with pytest.raises(KubeError):
        api.kube.get("/x")
    assert len(api.asked) == 6


def test_a_request_that_wants_an_answer_in_time_waits_for_no_busy_api(api):
    api.answers = [(429, {"Retry-After": "0"})]
    with pytest.raises(KubeError):
        api.kube.within(3).get("/x")
    assert len(api.asked) == 1


def test_a_list_whose_next_page_was_compacted_away_is_read_at_once(api):
    api.answers = [(200, {}), (410, {})]
    items, version = api.kube.list("/x", labelSelector="a")
    assert api.asked == [
        "GET /x?labelSelector=a&limit=500",
        "GET /x?labelSelector=a&limit=500&continue=next",
        "GET /x?labelSelector=a&limit=0",
    ]
    assert (items, version) == ([{"number": 3}], "7")


def test_a_list_that_is_gone_from_the_first_page_on_is_an_error(api):
    api.answers = [(410, {})]
    with pytest.raises(KubeError):
        api.kube.list("/x")
    assert len(api.asked) == 1


@pytest.fixture
def hub(tmp_path) -> Iterator[InProcessHub]:
    stack = open_in_process_hub(tmp_path)
    yield stack
    stack.close()


def test_a_namespace_that_is_deleted_takes_its_jobs_out_of_git_and_no_others(hub):
    other = path("api/v1", "namespaces", name="others")
    hub.kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": "others"}})
    hub.submit("stays", "hold")
    body = {**hub.kube.get(ours("carbontrainingjobs", NAMESPACE, "stays")), "status": {}}
    hub.spokes.behaviours["goes"] = "hold"
    hub.kube.create(ours("carbontrainingjobs", "others"), {**body, "metadata": {"name": "goes", "namespace": "others"}})
    hub.settle()
    assert {placed.key for placed in hub.connections.repository.fetch().placements.values()} == {
        f"{NAMESPACE}/stays",
        "others/goes",
    }
    hub.kube.delete(other)
    hub.forward(5)
    hub.forward(5)
    left = {placed.key for placed in hub.connections.repository.fetch().placements.values()}
    assert left == {f"{NAMESPACE}/stays"}
    assert [each["metadata"]["name"] for each in hub.kube.list(JOBS)[0]] == ["stays"]
    with pytest.raises(KubeError, match="not found"):
        hub.kube.get(other)
    assert hub.job("stays").status.phase is Phase.RUNNING


def test_a_spoke_whose_namespace_is_deleted_on_the_hub_goes_on_once_it_is_there_again(hub):
    """Its reports are gone: what runs is neither placed again nor called stopped."""
    hub.submit("runs", "hold")
    hub.until("runs", Phase.RUNNING)
    cluster = hub.job("runs").status.cluster
    namespace = path("api/v1", "namespaces", name=f"spoke-{cluster}")
    hub.spokes.silent.add(cluster)
    hub.kube.delete(namespace)
    hub.forward(5)
    assert (hub.job("runs").status.phase, hub.changes("runs")) == (Phase.COMMITTED, ["place 1"])
    hub.kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": f"spoke-{cluster}"}})
    hub.spokes.silent.discard(cluster)
    hub.spokes.finish("runs")
    hub.until("runs", Phase.SUCCEEDED)
    assert hub.changes("runs") == ["place 1", "remove 1"]
    assert len(hub.ledger("runs")) == 1


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_hub_whose_clock_is_six_minutes_off_the_apis_places_and_accounts_all_the_same(hub, minutes):
    hub.clock.forward(minutes=minutes)
    hub.submit("skewed")
    job = hub.until("skewed", Phase.SUCCEEDED)
    [line] = hub.ledger("skewed")
    assert (job.status.attempt, hub.changes("skewed")) == (1, ["place 1", "remove 1"])
    assert line.grams > 0
