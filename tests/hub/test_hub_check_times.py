"""When a job under way is looked at, what is known of its run then, and what it holds; on values."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hub_values import NOON, UID, body, observation, placement, record, report, state, tip

from carbonfleet.api.job_status import Phase, Segment
from carbonfleet.api.report import Checkpoint, Progress
from carbonfleet.clock import Clock
from carbonfleet.fleet import Remove, Suspend
from carbonfleet.hub.observe import RunningJob, may_be_replanned, pauses_used, reserved_until, snapshot_of
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.publish import intents_of
from carbonfleet.hub.running import RunningJobs
from carbonfleet.hub.running.check_times import next_check, running_job_of
from carbonfleet.hub.status import StatusInputs, status_of
from carbonfleet.placement import Spoke
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.signals import Signals
from fixtures.fleet_values import decide, facts_of

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
CUTS = {"schedule": {"interruptible": {}}}
PAUSED = {"phase": "Suspended", "stints": [{"start": NOON, "end": NOON + HOUR}]}
HALF_DONE = {"progress": {"step": 10, "totalSteps": 20}}


def under_way(said=None, placed=None, status=None, spec=CUTS, **given):
    """A job that may be interrupted, on its spoke."""
    made = state(status, placed=placed or placement(), said=said or report(), **given)
    changed = body(status, **given)
    changed["spec"] |= spec
    job = made.job.model_copy(update={"spec": type(made.job.spec).model_validate(changed["spec"])})
    return replace(made, body=changed, job=job)


def test_a_job_that_may_be_interrupted_is_open_to_a_decision_while_it_runs_or_is_paused():
    suspended = replace(placement(), suspended=True)
    assert may_be_replanned(under_way())
    assert may_be_replanned(under_way(report(**PAUSED), suspended))
    assert may_be_replanned(under_way(report(**PAUSED), suspended, spec={}))
    assert not may_be_replanned(under_way(spec={}))
    assert not may_be_replanned(under_way(report("Pending")))
    assert not may_be_replanned(under_way(report("Unknown")))
    assert not may_be_replanned(under_way(report("Succeeded")))


def test_what_its_spoke_has_not_answered_for_yet_waits():
    assert not may_be_replanned(under_way(report(), replace(placement(), suspended=True)))
    assert not may_be_replanned(under_way(report(**PAUSED), placement()))


def test_what_a_person_changed_in_git_or_in_the_spec_is_left_to_run():
    assert not may_be_replanned(under_way(placed=replace(placement(), edited=True)))
    assert not may_be_replanned(under_way(generation=2))


def test_a_running_job_is_looked_at_at_its_first_hour_and_then_each_hour_on_full_quarters():
    since = NOON + 5 * MINUTE
    seen = under_way(report(start_time=since))
    first = NOON + timedelta(minutes=75)
    assert next_check(seen, None, NOON + 30 * MINUTE) == first
    assert running_job_of(seen, None, None, first - MINUTE) is None
    assert running_job_of(seen, None, None, first) == RunningJob(False, since, first)
    assert running_job_of(seen, None, first, first + 30 * MINUTE) is None
    assert running_job_of(seen, None, first, first + HOUR) is not None
    assert next_check(seen, None, first) == first + HOUR


def test_the_end_of_a_planned_part_is_a_mark_and_says_that_the_pause_is_due():
    parts = (Segment(start=NOON, end=NOON + 100 * MINUTE), Segment(start=NOON + 4 * HOUR, end=NOON + 5 * HOUR))
    planned, seen = record(segments=parts), under_way()
    at_end = running_job_of(seen, planned, NOON + HOUR, NOON + 100 * MINUTE)
    assert (at_end.pause_is_due, at_end.paused) == (True, False)
    assert not running_job_of(seen, planned, None, NOON + HOUR).pause_is_due
    again = under_way(report(stints=[*PAUSED["stints"], {"start": NOON + 2 * HOUR}]))
    assert not running_job_of(again, planned, None, NOON + 3 * HOUR).pause_is_due


def test_a_paused_job_is_always_open_to_a_decision():
    seen = under_way(report(**PAUSED), replace(placement(), suspended=True))
    assert running_job_of(seen, None, NOON + 2 * HOUR, NOON + 2 * HOUR) == RunningJob(True, NOON, NOON + HOUR, 1)


@pytest.mark.parametrize(
    ("said", "used"),
    [
        (report(), 0),
        (report(**PAUSED), 1),
        (report(stints=[*PAUSED["stints"], {"start": NOON + 2 * HOUR}]), 1),
        (report(attempt=3), 2),
        (report("Stopped", stints=PAUSED["stints"]), 0),
    ],
)
def test_pauses_and_earlier_attempts_are_counted(said, used):
    assert pauses_used(state(placed=placement(attempt=said.attempt), said=said)) == used


def test_a_reservation_ends_when_the_work_that_is_left_is_done():
    assert reserved_until(placement(), None) == NOON + 2 * HOUR
    resumed = report(stints=[*PAUSED["stints"], {"start": NOON + 5 * HOUR}])
    assert reserved_until(placement(), resumed) == NOON + 6 * HOUR


def test_a_paused_job_holds_no_gpus_until_it_is_asked_to_go_on():
    paused = under_way(report(**PAUSED), replace(placement(), suspended=True))
    asked = under_way(report(**PAUSED))
    suspending = under_way(report(), replace(placement(), suspended=True))
    assert [len(snapshot_of(observation(one), "").reservations) for one in (paused, asked, suspending)] == [0, 1, 1]


def test_a_job_under_way_is_planned_from_where_it_is():
    paused = under_way(
        report(**PAUSED, **HALF_DONE, checkpoint={"uri": "s", "step": 8}), replace(placement(), suspended=True)
    )
    running = under_way(report(**HALF_DONE, checkpoint={"uri": "s", "step": 8}))
    replanned = {UID: RunningJob(True, NOON, NOON + HOUR, 1, surprise=0.3)}
    (job,) = snapshot_of(observation(paused, replanned=replanned), "").jobs
    assert (job.attempt, job.remaining_fraction) == (2, 0.6)
    assert (job.incumbent.paused, job.incumbent.running, job.incumbent.surprise) == (True, False, 0.3)
    (job,) = snapshot_of(observation(running, replanned={UID: RunningJob(False, NOON, NOON + HOUR)}), "").jobs
    assert (job.incumbent.running, job.incumbent.since, job.remaining_fraction) == (True, NOON, 0.5)


def told(phase="Waiting", **more):
    chosen = {"cluster": "no-osl-1", "pool": "a100", "verdict": "Chosen"}
    said = {"phase": phase, "observedGeneration": 1, "start": "2026-01-31T15:00:00Z", "candidates": [chosen]}
    return state(said | more)


def test_a_waiting_job_is_planned_as_the_incumbent_of_what_it_was_told():
    (job,) = snapshot_of(observation(told()), "").jobs
    assert (job.incumbent.cluster, job.incumbent.pool, job.incumbent.start) == ("no-osl-1", "a100", NOON + 3 * HOUR)
    (job,) = snapshot_of(observation(told(observedGeneration=0)), "").jobs
    assert job.incumbent is None
    (job,) = snapshot_of(observation(told("Blocked")), "").jobs
    assert job.incumbent is None


def decided(outcome: Outcome) -> Decision:
    return decide("train", uid=UID, outcome=outcome)


def wanted(seen, outcome: Outcome):
    return intents_of(observation(seen), {UID: decided(outcome)}, {UID: record()})


def test_each_step_is_a_difference_between_git_and_the_decision():
    suspended = replace(placement(), suspended=True)
    running, paused = under_way(), under_way(report(**PAUSED), suspended)
    (pause,) = wanted(running, Outcome.PAUSE)
    assert (type(pause), pause.suspended) == (Suspend, True)
    (resume,) = wanted(paused, Outcome.KEEP)
    assert (type(resume), resume.suspended) == (Suspend, False)
    assert wanted(running, Outcome.KEEP) == wanted(paused, Outcome.PAUSE) == []


def test_a_move_stands_in_the_status_before_git_forgets_the_placement():
    assert wanted(under_way(), Outcome.MOVE) == []
    (removal,) = wanted(under_way(status={"phase": "Moving", "attempt": 1}), Outcome.MOVE)
    assert (type(removal), removal.finished) == (Remove, True)
    gone = state({"phase": "Moving", "attempt": 1, "observedGeneration": 1}, said=report())
    assert not observation(gone).was_reverted(gone)
    assert observation(gone).queued() == []


def test_the_status_says_why_it_is_paused_or_moves():
    turn = record(outcome="Pause", reason="PausedForCleanWindow", message="Stays paused; this saves 13 gCO2e.")
    paused = under_way(report(**PAUSED, **HALF_DONE), replace(placement(), suspended=True))
    status = status_of(StatusInputs(paused, record(), replanned=turn), NOON + HOUR)
    assert (status.phase, status.pauses, status.recheck_at) == (Phase.PAUSED, 1, turn.recheck_at)
    assert status.summary == "Paused since 2026-01-31 13:00 UTC: Stays paused; this saves 13 gCO2e."
    running = next(condition for condition in status.conditions if condition.type == "Running")
    assert (running.status.value, running.reason) == ("False", "Paused")
    move = record(outcome="Move", message="Moves to ca-qc-1.")
    status = status_of(StatusInputs(under_way(), record(), replanned=move), NOON)
    assert (status.phase, status.summary) == (Phase.MOVING, "Moving: Moves to ca-qc-1.")
    assert next(c for c in status.conditions if c.type == "Ready").reason == "Moving"


def test_a_no_of_people_keeps_a_job_under_way_in_its_place_and_a_policy_alone_does_not():
    from fixtures.placement_world import policy, spoke

    careful = policy("careful", review={"moves": "required"}, residency={"anywhere": True})
    policies = type(tip().policies)((careful,), "tree")
    seen = under_way()
    spokes = (spoke("no-osl-1"), spoke("ca-qc-1", "CA-QC"))
    replanned = {UID: RunningJob(False, NOON, NOON + HOUR)}
    asked = observation(seen, replanned=replanned, spokes=spokes, tip=tip(seen.placement, policies=policies))
    assert snapshot_of(asked, "").jobs[0].stays_because == ""
    why = "It is not moved: people said no (Pat: not now)."
    refused = replace(asked, refused_moves={UID: why})
    assert snapshot_of(refused, "").jobs[0].stays_because == why
    status = status_of(StatusInputs(seen, record(), why_it_stays=why, refused_move=why), NOON)
    running = next(c for c in status.conditions if c.type == "Running")
    assert (running.reason, running.message.endswith(why)) == ("MoveRejected", True)


def test_a_reclaimed_attempt_is_told_as_such_and_the_next_goes_on_from_its_checkpoint():
    said = report("Stopped", reason="Interrupted", message="the machine was reclaimed", end_time=NOON + HOUR)
    said = said.model_copy(
        update={"checkpoint": Checkpoint(uri="s", step=8), "progress": Progress(step=9, total_steps=20)}
    )
    status = status_of(StatusInputs(under_way(said), record()), NOON + HOUR)
    assert status.phase is Phase.WAITING
    assert status.summary == (
        "Attempt 1 ended on no-osl-1 (the machine was reclaimed); the next one goes on from step 8."
    )
    stopped = state({"phase": "Waiting", "attempt": 1, "observedGeneration": 1}, said=said)
    (job,) = snapshot_of(observation(stopped), "").jobs
    assert (job.attempt, job.remaining_fraction, job.incumbent) == (2, 0.6, None)


def test_a_job_that_goes_on_is_picked_again_at_its_next_check_and_at_once_when_its_move_is_refused():
    running = RunningJobs(Signals([], Clock()), 96 * HOUR)

    def picked(hours: int) -> set[str]:
        return set(running.pick(seen_at(hours)).replanned)

    def seen_at(hours: int):
        return observation(under_way(), now=NOON + hours * HOUR, spokes=(Spoke(facts_of("no-osl-1")),))

    def remember(hours: int, planned: Planned, asked=(), refused=()) -> None:
        running.remember(running.pick(seen_at(hours)), planned, asked, refused)

    assert (picked(0), picked(1)) == (set(), {UID})
    remember(1, Planned({UID: decided(Outcome.KEEP)}))
    assert (picked(1), picked(2)) == (set(), {UID})
    remember(2, Planned(), asked={UID})
    assert (picked(2), picked(3)) == (set(), {UID})
    remember(3, Planned(), asked={UID}, refused={UID})
    assert picked(3) == {UID}
