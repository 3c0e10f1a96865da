"""Whatever a valid job asks for, planning takes little memory, and other jobs are planned as without it."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from carbonfleet.api.job import JobSpec
from carbonfleet.placement import Assumptions, Incumbent, Outcome, QueuedJob, Reservation, explain, plan
from carbonfleet.placement.inputs.capacity import Capacity, CapacityRuns
from fixtures.placement_world import HOUR, NOON, Explained, job, spoke, world

MIB = 2**20
ZONES = ("NO-NO1", "CA-QC", "US-MIDA-PJM")
TEN_YEARS = {
    "resources": {"duration": "3650d"},
    "schedule": {"maxDelay": "0s", "interruptible": {"maxPauses": 100, "minimumRun": "1h", "overhead": "24h"}},
}
LONGEST = {
    "resources": {"duration": "29d"},
    "schedule": {"maxDelay": "3650d", "interruptible": {"maxPauses": 100, "minimumRun": "15m", "overhead": "1m"}},
}
UNBROKEN = {"resources": {"duration": "29d"}, "schedule": {"maxDelay": "3650d"}}
NAMES = {
    "workload": {"model": "acme/base", "dataset": {"name": "acme/data"}},
    "residency": {"dataClass": "public"},
}


def asking(spec, **queued):
    """A queued job of a spec as people write it."""
    return QueuedJob("uid-extreme", "ml", "extreme", JobSpec.model_validate(merged(NAMES, spec)), NOON, **queued)


def merged(one, other):
    """Two nested mappings as one."""
    both = one | other
    return both | {key: merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}


def fleet(spokes, extreme, reservations=()):
    """So many spokes, ordinary jobs, and an extreme one."""
    random = np.random.default_rng(1)
    zones = [ZONES[number] if number < len(ZONES) else f"AA-{number}" for number in range(spokes)]
    grids = {zone: 20 + 400 * random.random(14 * 24) for zone in zones}
    hourly = {"prices_by_hour": [{"from_hour": 6, "to_hour": 18, "usd_per_gpu_hour": 3.0}]}
    spot = {"spot_usd_per_gpu_hour": 0.5, "spot_reclaims_per_hour": 1.0}
    kinds = ({}, spot | {"overhead": "10m"}, hourly | {"gpu_type": "H100"})
    places = [spoke(f"s{n}", zone, gpus=60, store=f"s{n}", **kinds[n % 3]) for n, zone in enumerate(zones)]
    interruptible = {"overhead": "5m", "minimum_run": "1h", "max_pauses": 3}
    ordinary = [
        job("plain", hours=3),
        job("gated", hours=2, schedule={"max_intensity_grams_per_kwh": 100}),
        job("cut", hours=3, schedule={"max_delay": "36h", "interruptible": interruptible}),
    ]
    return world([extreme, *ordinary], places, grids, assumptions=Assumptions(), reservations=reservations)


def planned_within(mib, snapshot, now=NOON):
    """The decisions by name, with words for the extreme job, made within so much memory."""
    tracemalloc.start()
    try:
        planned = plan(snapshot, now)
        decisions = {decision.name: decision for decision in planned}
        decisions["extreme"] = Explained(decisions["extreme"], explain(planned, decisions["extreme"]))
        assert decisions["extreme"].message
        assert tracemalloc.get_traced_memory()[1] / MIB < mib
    finally:
        tracemalloc.stop()
    return decisions


def placed(decisions):
    """What people see of the ordinary jobs."""
    return {name: (found.outcome, found.window) for name, found in decisions.items() if name != "extreme"}


def without_it(snapshot, now=NOON):
    """What becomes of the ordinary jobs where there is no other."""
    return placed({decision.name: decision for decision in plan(replace(snapshot, jobs=snapshot.jobs[1:]), now)})


def test_a_run_of_ten_years_is_told_that_it_is_too_long_and_lengthens_no_other_search():
    snapshot = fleet(100, asking(TEN_YEARS))
    decisions = planned_within(64, snapshot)
    assert (decisions["extreme"].outcome, decisions["extreme"].reason) == (Outcome.BLOCKED, "NoFeasibleCluster")
    assert {candidate.reason for candidate in decisions["extreme"].candidates} == {"RunTooLong"}
    assert decisions["extreme"].message == (
        "No spoke can take the job: all 100 spokes are too slow. "
        "The run would take more than 30 days here; use faster GPUs or split it."
    )
    assert placed(decisions) == without_it(snapshot)


@pytest.mark.parametrize("spec", [LONGEST, UNBROKEN], ids=["in parts", "in one piece"])
def test_the_longest_run_within_the_longest_delay_is_planned_in_bounded_memory(spec):
    decisions = planned_within(420, fleet(100, asking(spec)))
    assert decisions["extreme"].outcome in (Outcome.START, Outcome.WAIT)


@pytest.mark.parametrize("spec", [LONGEST, UNBROKEN], ids=["in parts", "in one piece"])
def test_what_would_take_too_much_planning_is_refused_before_it_takes_any(spec):
    snapshot = fleet(300, asking(spec))
    decisions = planned_within(512, snapshot)
    assert (decisions["extreme"].outcome, decisions["extreme"].reason) == (Outcome.BLOCKED, "PlanTooLarge")
    assert decisions["extreme"].message.startswith("The job looks 43.0 days ahead, its wait and its run together")
    assert decisions["extreme"].message.endswith("Shorten its maxDelay or its duration.")
    assert placed(decisions) == without_it(snapshot)


def test_a_job_as_large_as_the_bound_says_is_planned():
    allowed = {"resources": {"duration": "15d"}, "schedule": {"maxDelay": "10d"}}
    assert planned_within(512, fleet(200, asking(allowed)))["extreme"].outcome is not Outcome.BLOCKED


def test_what_is_under_way_is_decided_on_whatever_it_takes():
    running = Incumbent("s0", "main", NOON - HOUR, running=True, since=NOON - HOUR)
    held = Reservation("uid-extreme", "ml", "s0", "main", 1, NOON - HOUR, NOON + timedelta(days=29))
    decisions = planned_within(1024, fleet(150, asking(LONGEST, incumbent=running), (held,)))
    assert decisions["extreme"].outcome in (Outcome.KEEP, Outcome.PAUSE, Outcome.MOVE)


def test_a_namespace_asks_for_so_much_planning_at_once_and_the_rest_of_its_jobs_are_told():
    queue = [replace(asking(LONGEST), uid=f"uid-{n:03}", name=f"long-{n:03}") for n in range(60)]
    snapshot = fleet(100, queue[0])
    other = replace(asking(LONGEST), uid="uid-other", namespace="other", name="other")
    planned = plan(replace(snapshot, jobs=(*queue, *snapshot.jobs[1:], other)), NOON)
    reasons = {decision.name: decision.reason for decision in planned}
    told = [name for name, reason in reasons.items() if reason == "NamespacePlanTooLarge"]
    assert told == [f"long-{n:03}" for n in range(60 - len(told), 60)]
    assert 0 < len(told) < 30
    assert {"other", "plain"}.isdisjoint(told)


def test_numbers_of_gpus_that_no_pool_has_count_as_one():
    capacity = Capacity(np.array([[8, 3, 8, 0], [2, 2, 8, 8]], dtype=np.int64))
    room = CapacityRuns(capacity, np.arange(1, 4097), 8)
    asked = np.array([1, 3, 8, 9, 4096])
    rows = np.array([0, 1, 1, 1, 1])
    assert room.level_count == 9
    assert room.runs_of(rows, asked).tolist() == capacity.runs(rows, asked).tolist()


def scalars(schema, whole):
    """Values of a JSON Schema: of numbers and times the least, the greatest and one between, or nothing."""
    if "$ref" in schema:
        return scalars(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    if "anyOf" in schema:
        return scalars(next(option for option in schema["anyOf"] if option.get("type") != "null"), whole)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return st.fixed_dictionaries(
                {},
                optional={
                    name: found
                    for name, field in schema["properties"].items()
                    if (found := scalars(field, whole)) is not None
                },
            )
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1e-9)
            most = schema.get("maximum", schema.get("exclusiveMaximum", 1e12) * (1 - 1e-9))
            middle = max(least, (max(least, 1e-3) * most) ** 0.5)
            kind = int if schema["type"] == "integer" else float
            return st.sampled_from(sorted({kind(least), kind(middle), kind(most)}))
        case "string" if schema.get("format") == "date-time":
            moments = (
                NOON + HOUR,
                NOON + timedelta(days=20),
                datetime(1970, 1, 1, tzinfo=UTC),
                datetime(2999, 1, 1, tzinfo=UTC),
            )
            return st.sampled_from([moment.isoformat() for moment in moments])
        case "string" if "(d|h|m|s)" in schema.get("pattern", ""):
            return st.sampled_from(["1s", "10m", "1h", "26h", "29d", "3650d"])
    return None


SCHEMA = JobSpec.model_json_schema()
AGAINST_EACH_OTHER = (
    ("earlyStopping",),  # a plan knows nothing of it
    ("schedule", "deadline"),
    ("schedule", "maxIntensityPercentile"),
    ("workload", "training", "steps"),
    ("schedule", "interruptible", "minimumRun"),
    ("resources", "duration"),
)


@st.composite
def extremes(draw):
    """A valid spec with any of its numbers, durations and times at an end of what is allowed."""
    spec = merged(merged(NAMES, {"resources": {"duration": "5h"}}), draw(scalars(SCHEMA, SCHEMA)))
    types = draw(st.lists(st.sampled_from(["A100", "H100", "L4", "T4"]), unique=True))
    option = scalars(SCHEMA["$defs"]["HardwareOption"], SCHEMA)
    asked = [{"gpus": 1, "duration": "5h"} | draw(option) | {"gpuType": name} for name in types]
    spec["resources"] |= {"options": asked} if asked else {}
    for *groups, name in AGAINST_EACH_OTHER:
        try:
            return JobSpec.model_validate(spec)
        except ValidationError:
            holder = spec
            for group in groups:
                holder = holder.get(group) or {}
            holder.pop(name, None)
            spec["resources"].setdefault("duration", "29d")
    return JobSpec.model_validate(spec)


@st.composite
def queued(draw):
    """Such a job that waits, runs or is paused, with its reservation."""
    begun = draw(st.sampled_from([None, "running", "paused"]))
    since = NOON - timedelta(days=3)
    incumbent = begun and Incumbent(
        "s0", "main", since, begun == "running", begun == "paused", since, draw(st.sampled_from([0, 3, 100]))
    )
    found = QueuedJob(
        "uid-extreme",
        "ml",
        "extreme",
        draw(extremes()),
        draw(st.sampled_from([NOON, NOON - timedelta(days=300), datetime(1970, 1, 1, tzinfo=UTC)])),
        remaining_fraction=draw(st.sampled_from([1.0, 0.5, 1e-9])),
        incumbent=incumbent,
    )
    held = Reservation(found.uid, "ml", "s0", "main", found.spec.resources.gpus, since, NOON + timedelta(days=9))
    return found, (held,) if begun == "running" else ()


@settings(max_examples=60)
@given(extreme=queued())
def test_any_valid_job_is_planned_in_bounded_memory_and_the_others_as_without_it(extreme):
    queued, reservations = extreme
    snapshot = fleet(3, queued, reservations)
    assert placed(planned_within(96, snapshot)) == without_it(snapshot)
