"""One job from all sides: its stage, its attempt, and whose words count."""

import pytest
from hub_values import body, placement, report, view

from carbonfleet.hub.observe.job_state import Stage, Views, may_try_again

DELETED = {"deletionTimestamp": "2026-01-31T12:00:00Z"}
RUNNING = {"phase": "Running", "attempt": 1, "observedGeneration": 1}


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        (view(), Stage.QUEUED),
        (view(placed=placement()), Stage.LIVE),
        (view(placed=placement(), said=report()), Stage.LIVE),
        (view(placed=placement(), said=report("Unknown")), Stage.LIVE),
        (view(placed=placement(), said=report("Succeeded")), Stage.ENDED),
        (view(placed=placement(attempt=2), said=report("Stopped", attempt=1)), Stage.LIVE),
        (view({"phase": "Succeeded"}), Stage.DONE),
        (view({"phase": "Failed", "observedGeneration": 1}), Stage.DONE),
        (view({"phase": "Failed", "observedGeneration": 1}, generation=2), Stage.QUEUED),
        (view({"phase": "Rejected", "observedGeneration": 1}), Stage.DONE),
        (view({"phase": "Waiting", "attempt": 1}, said=report("Stopped")), Stage.QUEUED),
        (view(RUNNING, said=report("Succeeded")), Stage.ENDED),
        (view(RUNNING, said=report("Stopped")), Stage.QUEUED),
        (view(placed=placement(), **DELETED), Stage.LEAVING),
    ],
)
def test_the_stage_follows_from_spec_git_and_report(given, stage):
    assert given.stage is stage


def test_a_new_replace_annotation_queues_a_rejected_job_again():
    rejected = {"phase": "Rejected", "observedGeneration": 1, "replaced": "one"}
    assert view(rejected, annotations={"carbonfleet.dev/replace": "one"}).stage is Stage.DONE
    assert view(rejected, annotations={"carbonfleet.dev/replace": "two"}).stage is Stage.QUEUED


def test_an_invalid_spec_is_told_with_its_field():
    broken = body()
    broken["spec"]["resources"]["duration"] = "soon"
    found = Views().of([broken], {}, {})[0]
    assert found.stage is Stage.INVALID
    assert "spec.resources.duration" in found.problem


def test_the_last_attempt_is_the_highest_that_anybody_knows_of():
    assert view({"attempt": 1}, placed=placement(attempt=2), said=report(attempt=3)).last_attempt == 3


def test_attempts_that_are_stopped_or_refused_are_followed_by_others_but_not_for_ever():
    assert may_try_again(report("Stopped"))
    assert may_try_again(report("Refused"))
    assert not may_try_again(report("Failed"))
    assert not may_try_again(report("Stopped", attempt=20))


def test_a_job_is_parsed_again_only_when_it_changed():
    views, first = Views(), body()
    before = views.of([first], {}, {})[0].job
    assert views.of([first], {}, {})[0].job is before
    assert views.of([first | {"metadata": first["metadata"] | {"resourceVersion": "8"}}], {}, {})[0].job is not before
