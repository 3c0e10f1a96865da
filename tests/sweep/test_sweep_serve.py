"""From a leaderboard to what serves its best adapters, and the endpoint that they answer at."""

import json
import threading

import pytest
import yaml
from pydantic import SecretStr

from carbonfleet.api import CarbonTrainingJob, JobStatus
from carbonfleet.api.job_status import Phase, PlacementStatus
from carbonfleet.api.report import Checkpoint, Progress
from carbonfleet.api.wire import API_VERSION
from carbonfleet.kube import ours
from carbonfleet.sweep import SWEEP, ChatEndpoint, SweepError, Wishes, best_of
from fixtures.fleet_values import facts_of
from fixtures.git_server import git_server, https_git_server
from fixtures.http_server import HttpServer, QuietHandler

__all__ = ["git_server", "https_git_server"]
NAMESPACE = "serving"
SPEC = {
    "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}, "image": "carbonfleet/lora:0.1.0"}
    | {"modelRevision": "v1.5"},
    "resources": {"duration": "1h"},
    "residency": {"dataClass": "public"},
}
LOSSES = {"first": 1.0, "second": 1.25, "third": 1.5, "fourth": 1.75, "worst": 2.0}
ELSEWHERE = {"second": "ca-qc-1"}
BUCKET = {"third": "s3://bucket/third"}


def finished(name, loss, cluster, place=None):
    """The status of a job that has succeeded."""
    return JobStatus(
        phase=Phase.SUCCEEDED,
        cluster=cluster,
        attempt=1,
        progress=Progress(step=60, total_steps=60, validation_loss=loss),
        last_good_checkpoint=Checkpoint(uri=place, step=60) if place else None,
        placement=PlacementStatus(
            cluster=cluster,
            pool="a100",
            attempt=1,
            placement_id="abcdefgh",
            start="2026-01-01T00:00:00Z",
            path=f"clusters/{cluster}/jobs/{NAMESPACE}/{name}.yaml",
        ),
    )


@pytest.fixture(scope="module")
def sweep(hub, kube):
    """Five jobs that have succeeded on two clusters, one that runs; the sweep's name."""
    assert hub.kubectl("create", "namespace", NAMESPACE).returncode == 0
    for name, loss in LOSSES.items():
        put(kube, name, finished(name, loss, ELSEWHERE.get(name, "no-osl-1"), BUCKET.get(name)))
    put(kube, "runs", JobStatus(phase=Phase.RUNNING, progress=Progress(step=1, total_steps=2, validation_loss=0.5)))
    return "best"


def put(kube, name, status):
    labels = {SWEEP: "best"}
    body = {"apiVersion": API_VERSION, "kind": "CarbonTrainingJob", "metadata": {"name": name, "labels": labels}}
    kube.create(ours("carbontrainingjobs", NAMESPACE), body | {"spec": SPEC})
    kube.patch(ours("carbontrainingjobs", NAMESPACE, name, "status"), {"status": status.to_wire()})


@pytest.fixture
def jobs(kube, sweep):
    return [CarbonTrainingJob.model_validate(body) for body in kube.list(ours("carbontrainingjobs", NAMESPACE))[0]]


def names(best):
    return [one.name for one in best.serving.adapters]


def test_the_best_are_those_that_the_bests_cluster_can_read(jobs):
    best = best_of(jobs, Wishes("best", count=3))
    assert names(best) == ["first", "third", "fourth"]
    assert best.elsewhere == ("second",)
    assert (best.serving.cluster, best.serving.pool, best.serving.revision) == ("no-osl-1", "a100", "v1.5")
    uid = next(job.metadata.uid for job in jobs if job.metadata.name == "first")
    assert [one.place for one in best.serving.adapters[:2]] == [f"/checkpoints/{uid}", "s3://bucket/third"]


def test_another_cluster_serves_its_own_and_what_lies_in_an_object_store(jobs):
    best = best_of(jobs, Wishes("best", count=3, cluster="ca-qc-1"))
    assert names(best) == ["second", "third"]
    assert best.elsewhere == ("first",)


def test_a_cluster_where_nothing_was_trained_needs_a_pool(jobs):
    with pytest.raises(SweepError, match="say with --pool"):
        best_of(jobs, Wishes("best", cluster="us-oh-1"))
    assert names(best_of(jobs, Wishes("best", cluster="us-oh-1", pool="a100"))) == ["third"]


def test_what_differs_in_base_or_residency_is_not_served_together(jobs):
    for change, says in (
        ({"workload": SPEC["workload"] | {"model": "acme/other"}}, "acme/other"),
        ({"workload": SPEC["workload"] | {"modelRevision": "v2"}}, "acme/base@v2"),
        ({"residency": {"dataClass": "personal"}}, "another residency"),
    ):
        [last] = [job for job in jobs if job.metadata.name == "fourth"]
        spec = type(last.spec).model_validate(SPEC | change)
        other = last.model_copy(update={"spec": spec})
        with pytest.raises(SweepError, match=says):
            best_of([job for job in jobs if job is not last] + [other], Wishes("best"))


def test_before_any_job_has_succeeded_there_is_nothing_to_serve(jobs):
    with pytest.raises(SweepError, match="no job has succeeded yet"):
        best_of([job for job in jobs if job.metadata.name == "runs"], Wishes("best"))


def serve(command, hub, *arguments):
    return command("serve", "--sweep", "best", "--kubeconfig", hub.kubeconfig, *arguments)


def test_it_is_printed_for_who_wants_to_look_first(hub, command, sweep):
    done = serve(command, hub, "--best", "2", "-o", "-")
    assert done.exit_code == 0, done.output
    found = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert list(json.loads(found["ConfigMap"]["data"]["adapters.json"])) == ["first", "third"]
    assert found["Service"]["metadata"]["name"] == "serve-best"
    assert "second did better, but no-osl-1 can't read" in done.stderr


def test_it_scales_by_the_zone_of_its_cluster_and_sleeps_out_of_use(hub, command, kube, sweep):
    spec = facts_of("no-osl-1").to_wire()
    body = {"apiVersion": API_VERSION, "kind": "SpokeCluster", "metadata": {"name": "no-osl-1"}, "spec": spec}
    scaled = ("-o", "-", "--best", "1", "--max", "4", "--carbon-cap")
    assert "name it with --zone" in serve(command, hub, *scaled).output
    kube.create(ours("spokeclusters"), body)
    done = serve(command, hub, *scaled, "--sleep", "--used", "Mon-Fri 08:00-18:00 Europe/Berlin")
    assert done.exit_code == 0, done.output
    found = {document["kind"]: document["spec"] for document in yaml.safe_load_all(done.stdout) if "spec" in document}
    assert found["ScaledObject"]["triggers"][2]["metadata"]["url"].endswith("/carbon/v1/zones/NO-NO1")
    assert found["SleepInfo"]["wakeUpAt"] == "07:45"
    assert "secret generic carbonfleet-carbon --from-file=token=TOKEN_FILE" in done.stderr
    assert "asleep for 116.75 of 168 hours a week" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--carbon-cap",), "--carbon-cap needs --max"),
        (("--max", "4"), "are for --carbon-cap"),
        (("--min", "0", "--max", "4", "--carbon-cap"), "--load-query"),
        (("--max", "4", "--carbon-cap", "--zone", "de"), "--zone must be"),
        (("--max", "4", "--carbon-cap", "--carbon-url", "http://hub.example/carbon/v1"), "in plain text"),
        (("--sleep",), "--used 'Mon-Fri"),
        (("--used", "daily 08:00-18:00"), "--used is for --sleep"),
        (("--sleep", "--used", "always"), "--used must be like"),
        (("--sleep", "--used", "daily 08:00-18:00", "--wake-lead", "15"), "--wake-lead: a duration has a unit"),
    ],
)
def test_scaling_and_sleep_that_cant_be_meant_end_before_the_hub_is_asked(command, tmp_path, arguments, says):
    out = tmp_path / "out.yaml"
    where = ("--kubeconfig", str(tmp_path / "none"), "-o", str(out))
    done = command("serve", "--sweep", "best", *where, *arguments)
    assert done.exit_code == 2
    assert says in done.output
    assert not out.exists()


def test_it_goes_to_git_with_the_image_that_was_asked_for(hub, command, sweep, git_server):
    image = "vllm/vllm-openai@sha256:" + "c" * 64
    written = ("--image", image, "--fleet-url", git_server.url, "--author", "Pat Person <pat@example.org>")
    done = serve(command, hub, *written)
    assert done.exit_code == 0, done.output
    assert "carbonfleet chat -m first" in done.output
    content = git_server.git("show", f"main:serving/no-osl-1/{NAMESPACE}/best.yaml")
    assert image in content
    before = git_server.commits()
    assert "already in serving/no-osl-1" in serve(command, hub, *written).output
    assert git_server.commits() == before


def test_a_git_server_with_an_authority_of_its_own_is_trusted_when_that_is_given(
    hub, command, sweep, https_git_server, tmp_path
):
    (tmp_path / "token").write_text("let-me-in")
    where = ("--fleet-url", https_git_server.url, "--fleet-token-file", str(tmp_path / "token"))
    author = ("--author", "Pat Person <pat@example.org>")
    assert "certificate" in serve(command, hub, *where, *author).output
    done = serve(command, hub, *where, *author, "--ca-file", str(https_git_server.authority))
    assert (done.exit_code, "written to serving/no-osl-1" in done.output) == (0, True), done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say where to write"),
        (("-o", "-", "--image", "x; rm"), "is no image's name"),
        (("-o", "-", "--name", "../up"), "not a lower-case DNS label"),
        (("--cluster", "us-oh-1", "--pool", "h100", "--fleet-url", "{url}"), "no pool h100"),
        (("--fleet-url", "/tmp/repository"), "file:// and paths are refused"),
    ],
)
def test_what_cant_be_served_is_one_clear_line(hub, command, sweep, git_server, arguments, says):
    words = [word.format(url=git_server.url) for word in arguments]
    done = serve(command, hub, "--author", "Pat Person <pat@example.org>", *words)
    assert done.exit_code == 2
    assert says in done.output


class Answers(QuietHandler):
    """Plays an endpoint that gives one answer, as long as the connection, and keeps what it was asked."""

    protocol_version = "HTTP/1.0"

    def respond(self):
        self.server.asked.append((dict(self.headers), self.body()))
        status, kind, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if 300 <= status < 400:
            self.send_header("Location", self.server.elsewhere)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.server.hangs:
            self.server.let_go.wait(120)


@pytest.fixture
def endpoint():
    """A server whose answer a test sets."""
    with HttpServer(Answers) as server:
        server.asked, server.hangs, server.let_go, server.elsewhere = [], False, threading.Event(), ""
        server.url += "/v1"
        yield server
        server.let_go.set()


def event(text):
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def ask(server, key=None, timeout=(60.0, 60.0)):
    asked = [{"role": "user", "content": "hello"}]
    return ChatEndpoint(server.url, key, timeout).chat("a", asked, max_tokens=5)


STREAM = "text/event-stream; charset=utf-8"


def test_pieces_come_as_they_are_sent_and_the_key_goes_in_the_header(endpoint, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    endpoint.answer = (200, STREAM, b": a comment\n\n" + event("one ") + event("two") + b"data: [DONE]\n\n")
    assert list(ask(endpoint, SecretStr("k"))) == ["one ", "two"]
    assert "".join(ask(endpoint)) == "one two"
    [(first, body), (second, _)] = endpoint.asked
    assert (first["Authorization"], second.get("Authorization")) == ("Bearer k", None)
    assert json.loads(body) == {
        "model": "a",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, "text/plain", b"out of\x1b[31m memory"), "answered 500: out of"),
        ((404, "application/json", b'{"error": {"message": "no such model"}}'), "answered 404: no such model"),
        ((302, "text/plain", b""), "answered 302"),
        ((200, "text/html", b"<html>"), "instead of a stream"),
        ((200, STREAM, event("half")), "broke off before its end"),
        ((200, STREAM, b"data: {broken\n\n"), "can't be read"),
        ((200, STREAM, b'data: {"error": {"message": "preempted"}}\n\n'), "gave up"),
        ((200, STREAM, b'data: {"choices": [7]}\n\n'), "can't be read"),
    ],
)
def test_an_answer_that_is_none_says_why(endpoint, answer, says):
    endpoint.answer = answer
    with pytest.raises(SweepError, match=says) as error:
        list(ask(endpoint, SecretStr("the-key")))
    assert "\x1b" not in str(error.value)
    assert "the-key" not in str(error.value)


def test_a_redirect_does_not_take_the_key_along(endpoint):
    endpoint.elsewhere = endpoint.url
    endpoint.answer = (307, "text/plain", b"")
    with pytest.raises(SweepError, match="answered 307"):
        list(ask(endpoint, SecretStr("k")))
    assert len(endpoint.asked) == 1


def test_a_silent_endpoint_is_left_after_the_timeout(endpoint):
    endpoint.answer, endpoint.hangs = (200, STREAM, event("one")), True
    pieces = ask(endpoint, timeout=(60.0, 2.0))
    assert next(pieces) == "one"
    with pytest.raises(SweepError, match="broke off"):
        next(pieces)


def test_an_endpoint_that_is_not_there_is_named():
    with pytest.raises(SweepError, match=r"http://127\.0\.0\.1:9/v1 did not answer"):
        ChatEndpoint("http://127.0.0.1:9/v1").models()


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("ftp://host/v1", None, "is no endpoint"),
        ("http://me:secret@host/v1", None, "is no endpoint"),
        ("http://models.example.org/v1", "k", "in plain text to models.example.org"),
    ],
)
def test_an_address_that_gives_a_key_away_is_refused(url, key, says):
    with pytest.raises(SweepError, match=says):
        ChatEndpoint(url, SecretStr(key) if key else None)
