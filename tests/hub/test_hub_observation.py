"""What one cycle sees: reverts, attempts that may still run, spokes that can't be trusted."""

from datetime import timedelta

import pytest
from hub_values import NOON, UID, observation, placement, report, state, tip

from carbonfleet.api.cluster import ClusterRuntime
from carbonfleet.clock import Clock
from carbonfleet.hub.observe import snapshot_of
from carbonfleet.hub.observe.heartbeats import Heartbeats
from carbonfleet.hub.observe.spokes import spokes_of
from carbonfleet.hub.publish import intents_of, is_stored, may_leave
from carbonfleet.placement.snapshot import Spoke
from fixtures.fleet_values import facts_of

PLACED = {
    "cluster": "no-osl-1",
    "pool": "a100",
    "attempt": 1,
    "placementId": "abcdefgh12345678",
    "start": "2026-01-31T12:00:00Z",
    "path": "clusters/no-osl-1/jobs/ml/train.yaml",
}
RUNNING = {"phase": "Running", "attempt": 1, "observedGeneration": 1, "placement": PLACED}
DELETED = {"deletionTimestamp": "2026-01-31T12:00:00Z"}


def test_a_live_placement_that_is_gone_was_taken_out_by_somebody_else():
    gone = state(RUNNING)
    assert observation(gone).was_reverted(gone)
    assert observation(gone).queued() == []


def test_a_removal_of_our_own_after_the_end_was_written_down_is_no_revert():
    stopped = state(RUNNING | {"phase": "Waiting"}, said=report("Stopped"))
    assert not observation(stopped).was_reverted(stopped)
    assert observation(stopped).queued() == [stopped]


def test_nothing_is_called_reverted_while_the_repository_is_silent():
    gone = state(RUNNING)
    assert not observation(gone, tip_is_fresh=False).was_reverted(gone)


def test_the_replace_annotation_lifts_a_revert_once_the_attempt_has_stopped():
    asked = {"annotations": {"carbonfleet.dev/replace": "1"}}
    rejected = RUNNING | {"phase": "Rejected"}
    running, stopped = state(rejected, said=report(), **asked), state(rejected, said=report("Stopped"), **asked)
    assert observation(running).queued() == []
    assert observation(stopped).queued() == [stopped]


def test_an_attempt_that_nobody_reported_has_stopped_only_where_its_spoke_never_saw_it():
    silent = state(RUNNING | {"phase": "Rejected"}, annotations={"carbonfleet.dev/replace": "1"})
    assert not observation(silent).has_stopped(silent)
    assert observation(silent, unseen=frozenset({UID})).has_stopped(silent)


def test_a_deleted_job_leaves_when_nothing_of_it_stands_or_runs():
    assert may_leave(state(**DELETED), observation())
    assert not may_leave(state(RUNNING, placed=placement(), **DELETED), observation())
    assert not may_leave(state(RUNNING, said=report(), **DELETED), observation())
    assert not may_leave(state(RUNNING, said=report("Unknown"), **DELETED), observation())
    assert may_leave(state(RUNNING, said=report("Stopped"), **DELETED), observation())
    assert not may_leave(state(RUNNING, said=report("Stopped"), **DELETED), observation(tip_is_fresh=False))


def test_git_forgets_an_attempt_only_after_its_end_stands_in_the_status():
    ended = state(RUNNING, placed=placement(), said=report("Succeeded"))
    stored = state(RUNNING | {"phase": "Succeeded"}, placed=placement(), said=report("Succeeded"))
    assert not is_stored(ended)
    assert intents_of(observation(ended), {}, {}) == []
    (removal,) = intents_of(observation(stored), {}, {})
    assert (removal.id, removal.finished) == (placement().placement_id, True)


def test_a_deletion_that_a_person_confirmed_is_not_guarded():
    deleted = state(RUNNING, placed=placement(), said=report(), **DELETED)
    asked = {"annotations": {"carbonfleet.dev/confirm-deletion": "yes"}}
    confirmed = state(RUNNING, placed=placement(), said=report(), **DELETED, **asked)
    assert [intent.finished for intent in intents_of(observation(deleted), {}, {})] == [False]
    assert [intent.finished for intent in intents_of(observation(confirmed), {}, {})] == [True]


def test_an_overtaken_attempt_is_removed_and_a_person_s_copy_is_not():
    late, early = placement(attempt=2), placement(attempt=1, cluster="ca-qc-1")
    seen = state(RUNNING | {"attempt": 2}, placed=late)
    assert [i.id for i in intents_of(observation(seen, tip=tip(late, early)), {}, {})] == [early.placement_id]
    copy = placement(attempt=2, cluster="us-oh-1")
    assert intents_of(observation(seen, tip=tip(late, copy)), {}, {}) == []


def test_nothing_is_wanted_of_a_repository_that_does_not_answer():
    stored = state(RUNNING | {"phase": "Succeeded"}, placed=placement(), said=report("Succeeded"))
    assert intents_of(observation(stored, tip_is_fresh=False), {}, {}) == []


def spoke_body(facts, **status):
    """A SpokeCluster's object."""
    return {"metadata": {"name": facts.name, "uid": facts.name}, "spec": facts.to_wire(), "status": status}


def heard(minutes_ago):
    """A heartbeat."""
    return {"heartbeatTime": f"{NOON - timedelta(minutes=minutes_ago):%Y-%m-%dT%H:%M:%SZ}"}


def test_a_spoke_is_healthy_while_it_is_heard_and_says_why_it_is_not():
    facts = facts_of("no-osl-1")
    grace = timedelta(minutes=5)

    def reason(*bodies, **declared) -> str:
        now = tip(clusters={facts.name: facts.model_copy(update=declared)})
        return spokes_of(now, bodies, Heartbeats(Clock()).hear(bodies, NOON), NOON, grace)[0].reason

    assert reason(spoke_body(facts, **heard(4))) == ""
    assert reason(spoke_body(facts, **heard(6))) == "Unreachable"
    assert reason(spoke_body(facts, **heard(-30))) == "Unreachable"
    assert reason(spoke_body(facts)) == "NeverJoined"
    assert reason() == "NeverJoined"
    assert reason(spoke_body(facts, heartbeatTime="soon")) == "Invalid"
    assert reason(spoke_body(facts, **heard(0)), maintenance=True) == "Maintenance"
    assert reason(spoke_body(facts, **heard(0))) == ""
    assert reason(spoke_body(facts, **heard(0), runtimeProblem="it is down")) == "RuntimeUnreachable"


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        (ClusterRuntime.RAY, "Ray unreachable: nothing answers at :8265; see that the Ray head runs"),
        (
            ClusterRuntime.KUBERAY,
            "The spoke's API unreachable: nothing answers at :8265; see that the spoke's API runs",
        ),
    ],
)
def test_a_spoke_whose_runtime_does_not_answer_says_so(runtime, says):
    facts = facts_of("no-osl-1").model_copy(update={"runtime": runtime})
    body = spoke_body(facts, **heard(0), runtimeProblem="nothing answers at :8265.")
    beats = Heartbeats(Clock()).hear([body], NOON)
    (found,) = spokes_of(tip(clusters={facts.name: facts}), [body], beats, NOON, timedelta(minutes=5))
    assert (found.healthy, found.reason, found.message) == (False, "RuntimeUnreachable", says)


def test_a_spoke_whose_file_is_broken_is_shown_with_what_is_wrong():
    facts = facts_of("no-osl-1")
    broken = tip(cluster_problems={facts.name: "clusters/no-osl-1/cluster.yaml:11: gpus: not a number"})
    (spoke,) = spokes_of(broken, [spoke_body(facts, **heard(0))], {}, NOON, timedelta(minutes=5))
    assert (spoke.healthy, spoke.reason) == (False, "Invalid")
    assert "cluster.yaml:11" in spoke.message


def test_regions_without_a_spoke_are_known_by_the_region_table():
    """Ohio has a spoke and needs no table; nobody knows nowhere-1."""
    spokes = (Spoke(facts_of("no-osl-1")), Spoke(facts_of("us-oh-1")))
    said = [
        snapshot_of(observation(state(), spokes=spokes), region)
        for region in ("europe-west4", "us-east-2", "nowhere-1")
    ]
    assert [snapshot.region_zones for snapshot in said] == [{"europe-west4": "NL"}, {}, {}]
