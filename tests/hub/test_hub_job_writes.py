"""Writes to jobs, of which the API refuses some: the others are made, and a sick API is not asked for ever."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client

from carbonfleet.hub.job_writes import MOST_FAILED_IN_ROW, JobWrites
from carbonfleet.hub.observe import JobState, Mirror
from carbonfleet.kube import Kube, KubeError


class RefusingApi(BaseHTTPRequestHandler):
    """Answers writes of jobs whose name begins with `no` as it is told, and takes all others."""

    protocol_version = "HTTP/1.1"
    answer: tuple[int, bytes] = (429, b"{}")
    asked: list[str]

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.split("/")[-2]
        type(self).asked.append(name)
        status, content = self.answer if name.startswith("no") else (200, json.dumps(body(name)).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[RefusingApi]]:
    class Api(RefusingApi):
        asked: list[str] = []  # noqa: RUF012 - of this test alone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Api.url = f"http://127.0.0.1:{server.server_port}"
    yield Api
    server.shutdown()
    server.server_close()


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
    api.answer = answer
    wanted = states("a", "no-1", "b", "c")
    assert writes.each(lambda state: writes.patch_status(state, {}), wanted) == [True, False, True, True]
    assert sorted(api.asked) == ["a", "b", "c", "no-1"]


def test_an_api_that_takes_nothing_is_not_asked_for_each_job(api, writes):
    with pytest.raises(KubeError):
        write_all(writes, *(f"no-{number}" for number in range(100)))
    assert len(api.asked) == MOST_FAILED_IN_ROW + 1


def test_an_api_that_knows_us_no_more_is_asked_once(api, writes):
    api.answer = (401, b"{}")
    with pytest.raises(KubeError):
        write_all(writes, "no-1", "no-2")
    assert api.asked == ["no-1"]
