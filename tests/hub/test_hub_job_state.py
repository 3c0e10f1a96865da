"""One job from all sides: its stage, its attempt, and whose words count."""

import pytest
from hub_values import body, placement, report, state

from carbonfleet.hub.observe import JobStage, may_try_again
from carbonfleet.hub.observe.job_state import JobStates

DELETED = {"deletionTimestamp": "2026-01-31T12:00:00Z"}
RUNNING = {"phase": "Running", "attempt": 1, "observedGeneration": 1}


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        (state(), JobStage.QUEUED),
        (state(placed=placement()), JobStage.LIVE),
        (state(placed=placement(), said=report()), JobStage.LIVE),
        (state(placed=placement(), said=report("Unknown")), JobStage.LIVE),
        (state(placed=placement(), said=report("Succeeded")), JobStage.ENDED),
        (state(placed=placement(attempt=2), said=report("Stopped", attempt=1)), JobStage.LIVE),
        (state({"phase": "Succeeded"}), JobStage.DONE),
        (state({"phase": "Failed", "observedGeneration": 1}), JobStage.DONE),
        (state({"phase": "Failed", "observedGeneration": 1}, generation=2), JobStage.QUEUED),
        (state({"phase": "Rejected", "observedGeneration": 1}), JobStage.DONE),
        (state({"phase": "Waiting", "attempt": 1}, said=report("Stopped")), JobStage.QUEUED),
        (state(RUNNING, said=report("Succeeded")), JobStage.ENDED),
        (state(RUNNING, said=report("Stopped")), JobStage.QUEUED),
        (state(placed=placement(), **DELETED), JobStage.LEAVING),
    ],
)
def test_the_stage_follows_from_spec_git_and_report(given, stage):
    assert given.stage is stage


def test_a_new_replace_annotation_queues_a_rejected_job_again():
    rejected = {"phase": "Rejected", "observedGeneration": 1, "replaced": "one"}
    assert state(rejected, annotations={"carbonfleet.dev/replace": "one"}).stage is JobStage.DONE
    assert state(rejected, annotations={"carbonfleet.dev/replace": "two"}).stage is JobStage.QUEUED


def test_an_invalid_spec_is_told_with_its_field_until_it_is_corrected():
    broken = body()
    broken["spec"]["resources"]["duration"] = "soon"
    states = JobStates()
    found = states.of([broken], {}, {})[0]
    assert found.stage is JobStage.INVALID
    assert "spec.resources.duration" in found.problem
    assert states.of([body(generation=2, resourceVersion="8")], {}, {})[0].stage is JobStage.QUEUED


def test_the_last_attempt_is_the_highest_that_anybody_knows_of():
    assert state({"attempt": 1}, placed=placement(attempt=2), said=report(attempt=3)).last_attempt == 3


def test_attempts_that_are_stopped_or_refused_are_followed_by_others_but_not_for_ever():
    assert may_try_again(report("Stopped"))
    assert may_try_again(report("Refused"))
    assert not may_try_again(report("Failed"))
    assert not may_try_again(report("Stopped", attempt=20))


def test_a_job_is_parsed_again_only_when_it_changed():
    states, first = JobStates(), body()
    before = states.of([first], {}, {})[0].job
    assert states.of([first], {}, {})[0].job is before
    assert states.of([first | {"metadata": first["metadata"] | {"resourceVersion": "8"}}], {}, {})[0].job is not before
