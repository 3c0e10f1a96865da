"""A Prometheus query as the meter, and the ways in which a Prometheus answers."""

import json
import threading
from urllib.parse import parse_qs, urlsplit

import lora_runs as runs
import pytest
from workloads.lora.energy import Count, open_meter
from workloads.lora.energy.prometheus import prometheus, query_of, value_in

from fixtures.http_server import HttpServer, QuietHandler

QUERY = "sum(kepler_pod_joules_total{pod_name=$pod, namespace=$namespace})"
GPU = "604ac76c-d9cf-fef3-62e9-d92044ab6e52"


class Hand:
    """A clock moved by hand."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Prometheus(QuietHandler):
    """Answers instant queries with what stands in `says`: a value, an answer as a whole, or a status."""

    def respond(self):
        self.server.asked.append(parse_qs(urlsplit(self.path).query)["query"][0])
        says = self.server.says
        if isinstance(says, int):
            self.answer(says, b'{"status":"error","errorType":"unavailable","error":"starting"}')
        else:
            self.answer(200, json.dumps(vector(says) if isinstance(says, str) else says).encode())


def vector(*values: str) -> dict:
    """As Prometheus answers: one sample for each series."""
    series = [{"metric": {"instance": f"node-{n}"}, "value": [1769860800.123, each]} for n, each in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


@pytest.fixture
def server():
    with HttpServer(Prometheus) as made:
        made.says, made.asked = "0", []
        yield made


def meter_of(server, clock=None, **settings):
    """The meter of such a server, read by hand."""
    said = {"LORA_METER_URL": server.url, "LORA_METER_QUERY": "joules_total", **settings}
    return prometheus(said, GPU, clock or Hand())


def counted(server, *answers, every=15, **settings) -> list[tuple[float, float] | None]:
    """What the meter counts as one answer after the other comes, each so many seconds later: joules, and estimated."""
    clock, found = Hand(), []
    meter = meter_of(server, clock, **settings)
    for says in answers:
        server.says = says
        meter.sample()
        count = meter.count()
        found.append(count and tuple(round(kwh * 3_600_000, 6) for kwh in (count.kwh, count.estimated_kwh)))
        clock.seconds += every
    return found


def test_a_counter_counts_from_where_it_began(server):
    assert counted(server, "1e6", "1003000", "1006000") == [(0, 0), (3000, 0), (6000, 0)]


def test_a_gauge_is_integrated(server):
    found = counted(server, "200", "300", LORA_METER_UNIT="watts")
    assert found == [(0, 0), (250 * 15, 0)]


@pytest.mark.parametrize(
    ("unit", "step"), [("microjoules", "3e9"), ("joules", "3000"), ("wh", "0.8333333333"), ("kwh", "0.00083333333333")]
)
def test_counters_have_units(server, unit, step):
    assert counted(server, "0", step, LORA_METER_UNIT=unit)[1] == (pytest.approx(3000), 0)


@pytest.mark.parametrize(
    ("unit", "reading"), [("microwatts", "2e8"), ("milliwatts", "2e5"), ("watts", "200"), ("kilowatts", "0.2")]
)
def test_gauges_have_units(server, unit, reading):
    assert counted(server, reading, reading, LORA_METER_UNIT=unit)[1] == (pytest.approx(3000), 0)


ODD = {
    "not a number": "NaN",
    "infinity": "+Inf",
    "words": "many",
    "no series": vector(),
    "many series": vector("3", "4"),
    "unavailable": 503,
    "unauthorised": 401,
    "a range": {"status": "success", "data": {"resultType": "matrix", "result": []}},
    "an error": {"status": "error", "errorType": "bad_data", "error": "parse error"},
    "a number that is no text": {"status": "success", "data": {"resultType": "scalar", "result": [1, 3]}},
    "a list": [],
    "nothing": {},
    "a leap": "1e15",
    "below zero": "-8900",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_is_filled_and_what_comes_after_it_counts(server, odd):
    assert counted(server, "0", "3000", odd, "9000", "12000") == [
        (0, 0),
        (3000, 0),
        (6000, 3000),
        (9000, 0),
        (12_000, 0),
    ]


def test_an_exporter_that_began_anew_is_counted_from_there(server):
    assert counted(server, "9e6", "9003000", "100", "3100") == [(0, 0), (3000, 0), (6000, 3000), (9000, 3000)]


def test_a_server_that_comes_up_late_counts_from_there_with_the_time_before_filled(server):
    assert counted(server, 503, 503, "5", "3005") == [None, None, None, (9000, 6000)]


def test_an_answer_without_end_is_cut_off(server):
    server.says = vector("7" * 5_000_000)
    meter = meter_of(server)
    meter.sample()
    assert meter.count() is None


def test_a_scalar_is_a_value_too():
    assert value_in(json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "42"]}})) == 42


def test_placeholders_stand_for_whole_literals(server):
    said = {"LORA_METER_NAMESPACE": "team-a", "LORA_METER_POD": "job-1-gpu"}
    meter_of(server, LORA_METER_QUERY=QUERY, **said).sample()
    assert server.asked == ['sum(kepler_pod_joules_total{pod_name="job-1-gpu", namespace="team-a"})']


def test_the_job_is_the_last_part_of_its_output_and_the_gpu_the_one_that_trains():
    said = {"LORA_OUTPUT": "s3://bucket/jobs/4a1b2c3d/", "LORA_METER_QUERY": "x{job=$job,gpu=$gpu}"}
    assert query_of(said, GPU) == f'x{{job="4a1b2c3d",gpu="GPU-{GPU}"}}'


@pytest.mark.parametrize("name", ['a"} or up{x="', "a\\", "a\nb", "a\x00b", "ü", "\udcff", "$pod"])
def test_no_value_ends_its_literal(name):
    [literal] = [query_of({"LORA_METER_QUERY": "$node", "LORA_METER_NODE": name}, None)]
    assert literal[0] == literal[-1] == '"'
    assert json.loads(literal) == name.replace("\udcff", "?")
    assert "\n" not in literal


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LORA_METER_UNIT": "calories"}, "LORA_METER_UNIT 'calories' is none of microjoules, joules, wh, kwh, "),
        ({"LORA_METER_COVERS": "all"}, "LORA_METER_COVERS 'all' is neither machine nor gpus"),
        ({"LORA_METER_QUERY": "x{a=$host}"}, "LORA_METER_QUERY: nothing is known for $host"),
        ({"LORA_METER_QUERY": "x{a=$namespace}"}, "LORA_METER_QUERY: nothing is known for $namespace"),
        ({"LORA_METER_QUERY": ""}, "LORA_METER_QUERY is empty"),
        ({"LORA_METER_URL": "file:///etc/passwd"}, "LORA_METER_URL must be http:// or https://, a host"),
        ({"LORA_METER_URL": "http://host/?query=x"}, "LORA_METER_URL must be http:// or https://, a host"),
        ({"LORA_METER_URL": "http://me:secret@host"}, "LORA_METER_URL must be http:// or https://, a host"),
        ({"LORA_METER_MAX_WATTS": "-1"}, "LORA_METER_MAX_WATTS '-1' must be more than 0"),
        ({"LORA_METER_MAX_WATTS": "nan"}, "LORA_METER_MAX_WATTS 'nan' must be more than 0"),
    ],
    ids=str,
)
def test_a_setting_that_is_none_is_named_and_nothing_is_measured(monkeypatch, settings, told):
    for name, value in {"LORA_METER_URL": "http://127.0.0.1:1", "LORA_METER_QUERY": "up", **settings}.items():
        monkeypatch.setenv(name, value)
    meter = open_meter(None, first_on_node=True)
    assert (meter.source, meter.count()) == (None, None)
    assert meter.fault.startswith(f"energy is not measured: {told}")
    assert "secret" not in meter.fault


def test_a_machine_is_read_by_one_of_its_workers_and_a_gpu_by_its_own(monkeypatch, server):
    monkeypatch.setenv("LORA_METER_URL", server.url)
    monkeypatch.setenv("LORA_METER_QUERY", "joules_total")
    first, second = open_meter(GPU, first_on_node=True), open_meter(GPU, first_on_node=False)
    assert (first.count(), first.covers_host, second.source) == (Count(0.0), True, None)
    monkeypatch.setenv("LORA_METER_QUERY", "joules_total{gpu=$gpu}")
    monkeypatch.setenv("LORA_METER_COVERS", "gpus")
    own = open_meter(GPU, first_on_node=False)
    assert (own.count(), own.covers_host) == (Count(0.0), False)
    for meter in (first, own):
        meter.close()


def test_a_run_is_measured_by_it(server, tmp_path):
    server.says = "100"
    run = runs.start(
        runs.tiny(4), tmp_path / "job", LORA_METER_URL=server.url, LORA_METER_QUERY="plug_joules_total{job=$job}"
    )
    assert run.wait() == 0
    told = runs.metrics(tmp_path / "job")
    assert (told["energy_kwh"], told["energy_source"], told["energy_covers_host"]) == (0, "prometheus", True)
    assert set(server.asked) == {'plug_joules_total{job="job"}'}


def test_a_server_that_never_answers_holds_no_run_up(tmp_path):
    class Silent(QuietHandler):
        def respond(self):
            self.server.over.wait(60)

    with HttpServer(Silent) as server:
        server.over = threading.Event()
        run = runs.start(runs.tiny(4), tmp_path / "job", LORA_METER_URL=server.url, LORA_METER_QUERY="up")
        assert run.wait() == 0
        server.over.set()
    told = runs.metrics(tmp_path / "job")
    assert (told["energy_kwh"], told["energy_source"]) == (None, None)
