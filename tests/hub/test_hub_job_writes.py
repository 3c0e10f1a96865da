"""Writes to jobs, of which the API refuses some: the others are made, and a sick API is not asked for ever."""

import json
from collections.abc import Iterator
from types import SimpleNamespace

import hub_values
import pytest
from kubernetes import client

from carbonfleet.hub.job_writes import MOST_FAILED_IN_ROW, JobWrites
from carbonfleet.hub.observe import JobState, Mirror
from carbonfleet.hub.publish import delete_spent_reports
from carbonfleet.hub.status.events import EventRecorder
from carbonfleet.hub.status.spoke_status import SpokeStatuses
from carbonfleet.kube import Kube, KubeError
from fixtures.http_server import HttpServer, QuietHandler


class RefusingApi(QuietHandler):
    """Answers writes of jobs whose name begins with `no` as it is told, and takes all others."""

    refusal: tuple[int, bytes] = (429, b"{}")
    asked: list[str]

    def respond(self) -> None:
        self.body()
        name = self.path.split("/")[-2]
        type(self).asked.append(name)
        self.answer(*self.refusal if name.startswith("no") else (200, json.dumps(body(name)).encode()))


@pytest.fixture
def api() -> Iterator[type[RefusingApi]]:
    class Api(RefusingApi):
        asked: list[str] = []  # noqa: RUF012 - of this test alone

    with HttpServer(Api) as server:
        Api.url = server.url
        yield Api


@pytest.fixture
def writes(api) -> Iterator[JobWrites]:
    configuration = client.Configuration()
    configuration.host = api.url
    made = JobWrites(Kube(configuration), Mirror())
    yield made
    made.close()


def body(name: str) -> dict:
    return {"metadata": {"namespace": "ml", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}}


def states(*names: str) -> list[JobState]:
    return [JobState(body(name), None, "", None, None) for name in names]


def write_all(writes: JobWrites, *names: str) -> list[bool]:
    return [writes.patch_status(state, {}) for state in states(*names)]


@pytest.mark.parametrize(
    "answer",
    [(429, b'{"reason": "TooManyRequests"}'), (500, b'{"message": "failed calling webhook"}'), (503, b"<html>")],
    ids=["limit", "webhook", "no JSON"],
)
def test_one_write_that_the_api_does_not_take_holds_up_no_other(api, writes, answer):
    api.refusal = answer
    wanted = states("a", "no-1", "b", "c")
    assert writes.each(lambda state: writes.patch_status(state, {}), wanted) == [True, False, True, True]
    assert sorted(api.asked) == ["a", "b", "c", "no-1"]


def test_an_api_that_takes_nothing_is_not_asked_for_each_job(api, writes):
    with pytest.raises(KubeError):
        write_all(writes, *(f"no-{number}" for number in range(100)))
    assert len(api.asked) == MOST_FAILED_IN_ROW + 1


def test_an_api_that_knows_us_no_more_is_asked_once(api, writes):
    api.refusal = (401, b"{}")
    with pytest.raises(KubeError):
        write_all(writes, "no-1", "no-2")
    assert api.asked == ["no-1"]


@pytest.mark.parametrize("refusal", [(429, b"{}"), (500, b"no JSON"), (422, b"[]")], ids=["limit", "fault", "list"])
def test_one_spent_report_that_the_api_does_not_delete_holds_up_no_other(api, refusal):
    class Deleting(api):
        def respond(self) -> None:
            name = self.path.split("/")[-1]
            self.asked.append(name)
            self.answer(*refusal if name.startswith("no") else (200, b"{}"))

    with HttpServer(Deleting) as server:
        configuration = client.Configuration()
        configuration.host = server.url
        spent = tuple(body(name) for name in ("a", "no-1", "b"))
        observation = SimpleNamespace(tip="any", tip_is_fresh=True, spent_reports=spent)
        delete_spent_reports(Kube(configuration), SimpleNamespace(synced=True), observation)
    assert api.asked == ["a", "no-1", "b"]


def test_one_status_of_a_spoke_that_the_api_does_not_take_holds_up_no_other(api, caplog):
    class Writing(api):
        def respond(self) -> None:
            self.body()
            name = self.path.split("/")[-2]
            self.asked.append(name)
            self.answer(*self.refusal if name.startswith("no") else (200, json.dumps(spoke(name)).encode()))

    mirror = Mirror()
    for name in ("a", "no-1", "b"):
        mirror.put("spokeclusters", spoke(name))
    with HttpServer(Writing) as server:
        configuration = client.Configuration()
        configuration.host = server.url
        kube = Kube(configuration)
        events = EventRecorder(kube)
        SpokeStatuses(kube, mirror, events).update(hub_values.observation(tip=hub_values.tip()))
        events.close()
    assert [name for name in api.asked if name in {"a", "no-1", "b"}] == ["a", "no-1", "b"]
    assert any("no-1" in text for text in caplog.messages)


def spoke(name: str) -> dict:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"}, "spec": {}, "status": {}}
