"""What people write, read by the models: durations, times, names, and what is refused in which words."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from carbonfleet.api import CarbonTrainingJob, ClusterFacts, FleetPolicy, GpuPool, JobSpec
from carbonfleet.api.schedule import CarbonTrainingSchedule
from carbonfleet.api.wire import Duration, Time, format_duration, format_time, parse_duration, wire_name

EXAMPLES = Path(__file__).parents[2] / "crds" / "examples"
DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "workload": {"model": "org/model", "dataset": {"name": "org/data"}},
        "resources": {"duration": "2h"},
        "residency": {"dataClass": "public"},
    } | changes


def problems(model: type, data: object) -> dict[str, str]:
    """What the model says, by the path of the field."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


@given(st.integers(0, 10**8))
def test_a_duration_written_is_the_duration_read(seconds):
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90m", 5400), ("1h30m", 5400), ("2d", 172_800), ("1d2h3m4s", 93_784)],
)
def test_durations_are_days_hours_minutes_and_seconds(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (3, "a duration has a unit: write 3h for hours, 3m for minutes or 3s for seconds"),
        ("180", "a duration has a unit: write 180h for hours, 180m for minutes or 180s for seconds"),
        ("3 hours", "write 3h"),
        (" 3 h", "write 3h"),
        ("1h\n", "write 1h"),
        ("1.5h", "write 1h30m"),
        ("90 min", "write 1h30m"),
        ("1 day, 2 hours", "write 26h"),
        ("1w", "write 168h"),
        ("1h1h1h1h1h", "write 5h"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_meant(text, says):
    with pytest.raises(ValidationError) as caught:
        DURATION.validate_python(text)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {says}"]


@pytest.mark.parametrize(
    "text", ["", "h", "-1h", "two hours", "3 months", "10000d", "9" * 5000, "\uff13h", True, 1.5, None]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValidationError, match="write a duration like 90m, 24h or 1h30m"):
        DURATION.validate_python(text)


@pytest.mark.parametrize("text", ["999999d", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+02:00"])
def test_no_duration_or_time_is_so_large_that_a_sum_overflows(text):
    kind: TypeAdapter[Any] = TypeAdapter(Duration if text.endswith("d") else Time)
    with pytest.raises(ValidationError, match=r"write a duration|must lie in the years 1970 to 2999"):
        kind.validate_python(text)


def test_times_become_utc_and_are_written_with_a_z():
    moment = TypeAdapter(Time).validate_python("2026-01-31T13:00:00+01:00")
    assert moment == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert format_time(moment) == "2026-01-31T12:00:00Z"


def test_a_time_without_a_zone_is_refused():
    found = problems(JobSpec, spec(schedule={"deadline": "2026-01-31T12:00:00"}))
    assert list(found) == ["schedule.deadline"]


@pytest.mark.parametrize(
    ("field", "name"),
    [("grams_co2e", "gramsCo2e"), ("max_delay", "maxDelay"), ("baseline_grams_co2e", "baselineGramsCo2e")],
)
def test_names_outside_are_camel_case(field, name):
    assert wire_name(field) == name


def test_a_spec_goes_out_as_it_came_in():
    job = JobSpec.model_validate(spec(schedule={"maxDelay": "36h", "interruptible": {}}))
    assert JobSpec.model_validate(job.to_wire()) == job
    assert job.to_wire()["schedule"]["maxDelay"] == "36h"


def test_a_misspelt_field_is_refused():
    assert problems(JobSpec, spec(reviw="auto")) == {"reviw": "Extra inputs are not permitted"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_hub_reads_each_example_but_the_invalid_one(path):
    document = yaml.safe_load(path.read_text())
    if path.stem != "invalid":
        model = CarbonTrainingSchedule if document["kind"] == "CarbonTrainingSchedule" else CarbonTrainingJob
        assert model.model_validate(document).metadata.name == path.stem
        return
    found = problems(CarbonTrainingJob, document)
    assert set(found) == {
        "spec.workload.training",
        "spec.resources.duration",
        "spec.residency.allowedJurisdictions.0",
        "spec.schedule",
    }


def facts(text: str) -> dict[str, Any]:
    base = "{name: a, region: b, pools: [{name: p, gpuType: A100, gpus: 1, memoryGib: 80}]}"
    return yaml.safe_load(base) | yaml.safe_load(text)


def test_an_unquoted_norway_says_that_it_needs_quotes():
    found = problems(ClusterFacts, facts("{zone: NO, jurisdictions: [NO, EEA]}"))
    hint = 'Value error, YAML read this as False, not as text: put it in quotes, as in "NO"'
    assert found == {"zone": hint, "jurisdictions.0": hint}


def test_an_unquoted_number_says_that_it_needs_quotes():
    found = problems(GpuPool, {"name": "p", "gpuType": 4090, "gpus": 1, "memoryGib": 24})
    assert "YAML read this as 4090, not as text" in found["gpuType"]


def test_a_quoted_norway_is_norway():
    assert ClusterFacts.model_validate(facts('{zone: "NO", jurisdictions: ["NO", EEA]}')).zone == "NO"


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {
                "schedule": {
                    "earliestStart": "2026-01-02T00:00:00Z",
                    "deadline": "2026-01-02T00:00:00Z",
                }
            },
            "schedule",
            "deadline must be after earliestStart",
        ),
        (
            {"schedule": {"maxIntensityGramsPerKwh": 200, "maxIntensityPercentile": 30}},
            "schedule",
            "give maxIntensityGramsPerKwh or maxIntensityPercentile, not both",
        ),
        (
            {"schedule": {"interruptible": {"minimumRun": "3h"}}},
            "",
            "schedule.interruptible.minimumRun must not be longer than resources.duration",
        ),
        ({"resources": {"duration": "0s"}}, "resources.duration", "must be longer than 0s"),
        (
            {"workload": {"model": "a/../../b", "dataset": {"name": "d"}}},
            "workload.model",
            "must not hold '..'",
        ),
    ],
)
def test_rules_between_fields_name_the_fields(changes, path, message):
    assert problems(JobSpec, spec(**changes)) == {path: f"Value error, {message}"}


@pytest.mark.parametrize("text", ["a b", "$(id)", "`id`", 'a"b', "a'b", "a;b", "a\nb", "&anchor", "-rf", "../x", ""])
@pytest.mark.parametrize("field", ["model", "image"])
def test_no_shell_or_yaml_character_passes_as_a_model_or_image(text, field):
    workload = {"model": "m", "dataset": {"name": "d"}} | {field: text}
    assert list(problems(JobSpec, spec(workload=workload))) == [f"workload.{field}"]


def test_a_policy_must_say_anywhere_in_so_many_words():
    policy = {"metadata": {"name": "p"}, "spec": {"residency": {}}}
    assert "or write anywhere: true" in problems(FleetPolicy, policy)["spec.residency"]


def test_two_pools_of_one_name_are_refused():
    pool = {"name": "p", "gpuType": "A100", "gpus": 1, "memoryGib": 80}
    data = facts('{zone: "NO-NO1", jurisdictions: [EEA]}') | {"pools": [pool, pool]}
    assert problems(ClusterFacts, data) == {"pools": "Value error, two pools have the same name"}


def test_a_pool_that_idles_above_its_peak_is_refused():
    pool = {"name": "p", "gpuType": "A100", "gpus": 1, "memoryGib": 80, "idleWatts": 500, "peakWatts": 400}
    assert problems(GpuPool, pool) == {"": "Value error, idleWatts must not be more than peakWatts"}
