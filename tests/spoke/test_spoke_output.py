"""What is read from a training's output, and from its log where the output can't be seen."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from carbonfleet.api.report import Checkpoint, Energy, EnergyMethod, Progress, RunLog
from carbonfleet.clock import Clock
from carbonfleet.spoke.runtimes import Findings
from carbonfleet.spoke.runtimes.output import failure_in, findings_in_log, output_place, read_findings, reader_of
from carbonfleet.text import shown
from fixtures.s3_server import KEYS, serving

NUMBERS = {
    "attempt": 2,
    "step": 30,
    "total_steps": 100,
    "train_loss": 1.5,
    "initial_validation_loss": 4.0,
    "validation_loss": 1.75,
    "validations": [[0, 4.0], [15, 2.5], [30, 1.75]],
    "tokens_per_second": 812.5,
    "energy_kwh": 0.25,
    "energy_source": "nvml",
    "checkpoint": {"step": 25, "attempt": 2, "sha256": "a" * 64, "size_bytes": 9},
    "updated_at": "2026-01-31T12:00:10+00:00",
    "warnings": [],
}
LEASE = {"attempt": 2, "holder": "h", "config_digest": "c", "checkpoints": [NUMBERS["checkpoint"]]}
FOUND = Findings(
    Progress(
        step=30,
        total_steps=100,
        train_loss=1.5,
        initial_validation_loss=4.0,
        validation_loss=1.75,
        validations=(
            {"step": 15, "loss": 2.5, "time": "2026-01-31T12:00:10Z"},
            {"step": 30, "loss": 1.75, "time": "2026-01-31T12:00:10Z"},
        ),
        tokens_per_second=812.5,
    ),
    Checkpoint(uri="/store/u", step=25, digest="sha256:" + "a" * 64),
    Energy(method=EnergyMethod.NVML, samples=({"time": "2026-01-31T12:00:10Z", "energy_kwh": 0.25},)),
)
REAL_TIME = Clock()


def reader(**files):
    return lambda name: json.dumps(files[name]).encode() if name in files else None


def test_everything_is_read():
    files = {"progress.json": NUMBERS, "LEASE": LEASE}
    assert read_findings(reader(**files), 2, "/store/u", REAL_TIME) == FOUND


def test_the_log_says_the_same():
    log = f"noise\nLORA_PROGRESS {json.dumps({**NUMBERS, 'step': 20})}\nLORA_PROGRESS {json.dumps(NUMBERS)}\nmore\n"
    heard = RunLog(uri="/store/u/logs/attempt-2.txt", tail="noise\nmore\n")
    assert findings_in_log(log, 2, "/store/u", REAL_TIME) == replace(FOUND, log=heard)


def test_the_last_lines_of_the_log_that_is_kept_are_told_and_where_it_is():
    for text, tail in (
        ("one\n\ntwo\r\n", "one\ntwo\n"),
        (" 1%|\r 50%|#\r100%|##\n", "100%|##\n"),
        ("".join(f"{number}\n" for number in range(100)), "".join(f"{number}\n" for number in range(80, 100))),
        ("".join(f"{letter * 450}\n" for letter in "abc"), f"{'b' * 450}\n{'c' * 450}\n"),
        ("x" * 5000, f"{'x' * 999}\n"),
        ("\x1b[2J\u202e\n", "␛[2J\ufffd\n"),
        ("s3fs said https://me:pass@host/ and Bearer abc\n", "s3fs said https://[hidden]@host/ and Bearer [hidden]\n"),
        (f"noise\nLORA_PROGRESS {json.dumps(NUMBERS)}\nLORA_FAILURE {{}}\n", "noise\n"),
    ):
        files = {"logs/attempt-2.txt": text.encode()}
        found = read_findings(files.get, 2, "/store/u", REAL_TIME)
        assert found.log == RunLog(uri="/store/u/logs/attempt-2.txt", tail=tail)
    assert read_findings({"logs/attempt-1.txt": b"of another\n"}.get, 2, "/store/u", REAL_TIME).log is None


@settings(max_examples=300)
@given(st.binary(max_size=5000) | st.text(max_size=5000).map(str.encode))
def test_whatever_a_training_prints_its_tail_can_be_reported(printed):
    files = {"logs/attempt-2.txt": printed}
    found = read_findings(files.get, 2, "/store/u", REAL_TIME)
    tail = found.log.tail if found.log else ""
    assert len(tail) <= 1000
    assert tail == shown(tail)
    assert "LORA_PROGRESS {" not in tail


def test_each_line_of_the_log_is_a_sample_of_the_meter():
    times = [f"2026-01-31T12:{minute:02}:00+00:00" for minute in (0, 10, 20)]
    lines = [{**NUMBERS, "updated_at": at, "energy_kwh": 0.1 * n} for n, at in enumerate(times)]
    log = "\n".join(f"LORA_PROGRESS {json.dumps(line)}" for line in lines)
    energy = findings_in_log(log, 2, "", REAL_TIME).energy
    assert [sample.energy_kwh for sample in energy.samples] == [0, 0.1, 0.2]
    assert energy.kwh is None, "it still runs"


def test_the_meter_of_a_finished_training_has_counted_the_whole():
    found = read_findings(reader(**{"metrics.json": NUMBERS, "progress.json": NUMBERS}), 2, "", REAL_TIME)
    assert (found.energy.kwh, len(found.energy.samples)) == (0.25, 1)


def test_samples_are_dated_by_the_stacks_clock():
    """A demo's day passes in a minute: a training's ten real seconds are hours of the stack's."""
    real = datetime(2026, 1, 31, 12, tzinfo=UTC)
    fast = Clock(real.timestamp(), datetime(2026, 5, 1, tzinfo=UTC).timestamp(), 1800.0)
    found = read_findings(reader(**{"progress.json": NUMBERS}), 2, "", fast)
    assert found.energy.samples[0].time == datetime(2026, 5, 1, 5, tzinfo=UTC)


def test_the_first_step_is_told_in_the_stacks_time():
    numbers = {**NUMBERS, "started_at": "2026-01-31T12:00:00+00:00", "first_step_seconds": 12.0}
    found = read_findings(reader(**{"progress.json": numbers}), 2, "", REAL_TIME).progress
    assert found.first_step_time == datetime(2026, 1, 31, 12, 0, 12, tzinfo=UTC)


def test_an_earlier_attempts_progress_is_not_this_ones_but_its_checkpoint_is():
    found = read_findings(reader(**{"progress.json": NUMBERS, "LEASE": LEASE}), 3, "/store/u", REAL_TIME)
    assert found == Findings(checkpoint=FOUND.checkpoint)


def test_only_this_attempts_marker_says_that_it_is_done():
    done = reader(DONE={"attempt": 2})
    assert read_findings(done, 2, "", REAL_TIME).is_done
    assert not read_findings(done, 3, "", REAL_TIME).is_done


def test_without_a_meter_the_energy_is_an_estimate_for_the_hub_to_make():
    unmeasured = {**NUMBERS, "energy_kwh": None, "energy_source": None}
    found = read_findings(reader(**{"metrics.json": unmeasured}), 2, "", REAL_TIME)
    assert found.energy == Energy(method=EnergyMethod.ESTIMATE)


def test_what_a_training_warns_of_is_found_in_its_output_and_in_its_log():
    warned = {**NUMBERS, "warnings": ["skipped one", "skipped another"]}
    text = json.dumps(warned)
    seen = read_findings(lambda name: text.encode() if name == "progress.json" else None, 2, "", REAL_TIME)
    heard = findings_in_log(f"LORA_PROGRESS {text}\n", 2, "", REAL_TIME)
    assert seen.warning == heard.warning == "skipped one; skipped another"


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b"null", b'{"attempt": "x"}', b'{"attempt": 9, "step": -1}', b"\xff\xfe", b"7"]
)
def test_junk_is_no_news(junk):
    assert read_findings(lambda name: None if "logs/" in name else junk, 2, "/store/u", REAL_TIME) == Findings()


@pytest.mark.parametrize("odd", [float("nan"), float("-inf"), -8900.0, "much", [], {}], ids=repr)
@pytest.mark.parametrize(
    "figure", ["train_loss", "energy_kwh", "host_energy_kwh", "energy_estimated_share", "energy_source"]
)
def test_a_figure_that_is_none_costs_itself_alone(figure, odd):
    told = {**NUMBERS, "host_energy_kwh": 0.1, "energy_estimated_share": 0.5}

    def found(said):
        text = json.dumps(said).encode()
        return read_findings(lambda name: text if name == "progress.json" else None, 2, "", REAL_TIME)

    if figure != "train_loss" or odd != -8900.0:
        assert found({**told, figure: odd}) == found({**told, figure: None})
    assert found({**told, figure: odd}).progress.step == told["step"]


@pytest.mark.parametrize(
    "wrong",
    [7, "text", [7], [[1]], [[1, 2, 3]], [["1", "x"]], [[-1, 2.0]], [[1, -0.5]], [[1.5, 2.0]], [[True, 2.0]], {"a": 1}],
)
def test_a_validation_that_can_not_be_is_left_out_and_the_rest_is_read(wrong):
    said = {**NUMBERS, "validations": wrong}
    progress = read_findings(reader(**{"progress.json": said}), 2, "/store/u", REAL_TIME).progress
    assert (progress.step, progress.validations) == (30, ())


def test_of_too_many_validations_the_last_are_reported():
    said = {**NUMBERS, "validations": [[step, 2.0] for step in range(1, 200)]}
    progress = read_findings(reader(**{"progress.json": said}), 2, "/store/u", REAL_TIME).progress
    assert [one.step for one in progress.validations] == list(range(100, 200))


def test_the_last_failure_in_a_log_counts():
    lines = [{"reason": "A", "message": "first"}, {"reason": "UnknownModel", "message": "no such model"}]
    log = "\n".join(f"LORA_FAILURE {json.dumps(line)}" for line in lines) + "\n"
    assert failure_in(log).reason == "UnknownModel"
    assert failure_in("LORA_FAILURE {broken}") is None
    assert failure_in('LORA_FAILURE {"reason": "not camel case!"}') is None


def test_a_place_to_save_in_is_the_store_s3_or_within_a_folder_that_is_allowed(tmp_path):
    store, shared = tmp_path / "store", tmp_path / "shared"
    (tmp_path / "link").symlink_to(shared)
    expected = {
        "": store / "uid-1",
        "/checkpoints/uid-1": store / "uid-1",
        "s3://bucket/uid-1": "s3://bucket/uid-1",
        f"{shared}/team/uid-1": shared / "team/uid-1",
        f"file://{shared}/uid-1": shared / "uid-1",
        f"{tmp_path}/link/uid-1": shared / "uid-1",
        f"{store}/uid-1": store / "uid-1",
    }
    assert {uri: output_place(store, [shared], uri, "uid-1") for uri in expected} == {
        uri: str(place) for uri, place in expected.items()
    }


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/uid-1",
        "/mnt/uid-1",
        "mnt/uid-1",
        "{root}/sharedx/uid-1",
        "{root}/shared/out/uid-1",
        "{root}/shared/../store-of-others/uid-1",
        "http://127.0.0.1:1/uid-1",
        "gs://bucket/uid-1",
        "memory://uid-1",
        "s3://bucket::file:///etc/uid-1",
        "file://{root}/shared::/etc/uid-1",
        "S3://bucket/uid-1",
    ],
)
def test_any_other_place_is_refused_with_what_to_do(tmp_path, uri):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=r"let the spoke's admin name one that holds it \(the agent's --output-folders"
    ):
        output_place(tmp_path / "store", [shared], uri.format(root=tmp_path), "uid-1")


@pytest.fixture
def bucket():
    with pytest.MonkeyPatch.context() as environment:
        yield from serving(DomainDispatcherApplication(create_backend_app), environment)


def test_an_output_in_an_object_store_is_read_like_a_folder(bucket):
    place = f"{bucket}/uid-1"
    store = fsspec.filesystem("s3")
    for name, value in (("progress.json", NUMBERS), ("LEASE", LEASE), ("DONE", {"attempt": 2})):
        store.pipe_file(f"{place}/{name}", json.dumps(value).encode())
    found = read_findings(reader_of(place), 2, place, REAL_TIME)
    assert (found.progress, found.is_done) == (FOUND.progress, True)
    assert found.checkpoint == Checkpoint(uri=place, step=25, digest="sha256:" + "a" * 64)
    assert read_findings(reader_of(f"{bucket}/uid-2"), 2, "", REAL_TIME) == Findings()


def test_a_store_that_cant_be_seen_is_no_news(monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    for place in ("s3://elsewhere/uid-1", "nonsense://place"):
        assert read_findings(reader_of(place), 2, place, REAL_TIME) == Findings()
