"""A job's status from what is known of it."""

import json
from datetime import timedelta

import pytest
from hub_values import NOON, UID, observation, placement, record, report, state

from carbonfleet.api.job_status import (
    CandidateStatus,
    JobStatus,
    Phase,
    PromiseStatus,
    Quantiles,
    RungStatus,
    TimeQuantiles,
)
from carbonfleet.fleet import Proposal, ProposalStage
from carbonfleet.hub.observe import Blocker, LastSpoke
from carbonfleet.hub.status import Results, StatusInputs, needs_update, status_of
from carbonfleet.hub.status.events import transition_of
from carbonfleet.hub.status.status import VOLATILE
from carbonfleet.hub.status.status_inputs import inputs_of
from carbonfleet.hub.status.status_writer import merge_patch
from carbonfleet.placement import explain, plan
from carbonfleet.placement.record import record_of
from fixtures.placement_world import NOON as WORLD_NOON
from fixtures.placement_world import job, spoke, world


def conditions(status):
    """Type to (status, reason)."""
    return {c.type: (c.status.value, c.reason) for c in status.conditions}


def message(status, kind):
    """What a condition says."""
    return next(c.message for c in status.conditions if c.type == kind)


def test_a_waiting_job_says_what_it_waits_for():
    status = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow", "Starts at two.")), NOON)
    assert (status.phase, status.summary, status.cluster) == (Phase.WAITING, "Starts at two.", "no-osl-1")
    assert status.saved == "~460 g (92 %)"
    assert conditions(status) == {
        "Accepted": ("True", "Valid"),
        "PolicyAllowed": ("True", "Allowed"),
        "Scheduled": ("False", "WaitingForCleanWindow"),
        "Ready": ("False", "WaitingForCleanWindow"),
    }


@pytest.mark.parametrize(
    ("url", "how"),
    [
        ("", "run `carbonfleet review approve carbon/ml.train/abcd1234`"),
        ("https://forge/pull/7", "merge https://forge/pull/7"),
    ],
)
def test_a_proposed_job_says_what_a_person_does_to_agree(url, how):
    proposal = Proposal("abcd1234", "carbon/ml.train/abcd1234", ProposalStage.OPEN, url=url)
    status = status_of(StatusInputs(state(), record(), proposal=proposal), NOON)
    assert conditions(status)["Approved"] == ("False", "AwaitingReview")
    assert message(status, "Approved") == f"a person must agree: {how}"


def test_the_logs_of_the_last_attempts_are_named_each_with_what_its_spoke_said_last():
    log = {"uri": "/store/u/logs/attempt-9.txt", "tail": "step 1\n"}
    known = [{"attempt": number, "cluster": "ca-qc-1", "phase": "Stopped"} for number in range(1, 10)]
    said = report("Running", attempt=9, log=log)
    status = status_of(StatusInputs(state({"logs": known[:8]}, placement(9), said), record()), NOON)
    assert [one.attempt for one in status.logs] == [2, 3, 4, 5, 6, 7, 8, 9]
    ours = {"attempt": 9, "cluster": "no-osl-1", "phase": "Running"}
    assert status.logs[-1].to_wire() == {**log, **ours}
    later = report("Succeeded", attempt=9)
    wire = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert status_of(StatusInputs(state(wire, None, later), record()), NOON).logs[-1].phase == "Succeeded"
    assert status_of(StatusInputs(state(wire), record()), NOON).logs == status.logs


def test_a_committed_job_says_where_it_is_in_git():
    status = status_of(StatusInputs(state(placed=placement()), record(), commit="ab" * 20), NOON)
    assert status.phase is Phase.COMMITTED
    said = next(c.message for c in status.conditions if c.type == "Committed")
    assert said == "commit abababababab, clusters/no-osl-1/jobs/ml/train.yaml"
    assert conditions(status)["Synced"] == ("Unknown", "SpokeBehind")
    assert status.decisions[0].cluster_name == "no-osl-1"


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("Pending", "Committed"), ("Running", "Running"), ("Suspended", "Paused"), ("Failed", "Failed")],
)
def test_the_phase_follows_the_report(phase, expected):
    known = StatusInputs(state({"phase": "Committed", "attempt": 1}, placed=placement(), said=report(phase)), record())
    assert status_of(known, NOON).phase.value == expected


def test_a_spoke_that_lost_sight_of_a_running_attempt_has_not_failed_it():
    known = StatusInputs(
        state({"phase": "Running", "attempt": 1}, placed=placement(), said=report("Unknown")), record()
    )
    assert status_of(known, NOON).phase is Phase.RUNNING


def test_an_edit_of_a_running_job_is_refused_in_a_condition_and_not_observed():
    known = StatusInputs(state({"phase": "Running"}, placed=placement(), said=report(), generation=2), record())
    status = status_of(known, NOON)
    assert conditions(status)["Accepted"] == ("False", "ChangedWhileRunning")
    assert (status.observed_generation, status.phase) == (1, Phase.RUNNING)
    assert {c.observed_generation for c in status.conditions} == {2}


def test_a_time_of_transition_is_kept_while_the_status_is_the_same():
    first = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    later = NOON + timedelta(hours=3)
    again = status_of(StatusInputs(state(first.to_wire()), record("Wait", "WaitingForCapacity")), later)
    moments = {c.type: c.last_transition_time for c in again.conditions}
    assert moments["Scheduled"] == NOON
    started = status_of(StatusInputs(state(again.to_wire()), record()), later)
    assert {c.type: c.last_transition_time for c in started.conditions}["Scheduled"] == later


def test_the_first_start_stays_when_a_later_attempt_starts():
    waiting = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    assert waiting.first_start is None
    running = status_of(StatusInputs(state(placed=placement(), said=report()), record()), NOON)
    again = report(attempt=2, start_time=NOON + timedelta(hours=5))
    moved = status_of(StatusInputs(state(running.to_wire(), placed=placement(attempt=2), said=again), record()), NOON)
    assert (moved.first_start, moved.start) == (NOON, NOON + timedelta(hours=5))


def test_a_reverted_job_is_rejected_and_expects_nothing():
    running = {"phase": "Running", "attempt": 1, "observedGeneration": 1, "saved": "~460 g (92 %)"}
    status = status_of(StatusInputs(state(running), None, Blocker("RevertedByHuman", "Pat took it out")), NOON)
    assert (status.phase, status.saved, status.start, status.summary) == (Phase.REJECTED, "", None, "Pat took it out")
    assert conditions(status)["Ready"] == ("False", "RevertedByHuman")


def test_a_deleted_job_says_what_it_waits_for():
    leaving = state({"attempt": 1}, said=report(), deletionTimestamp="2026-01-31T12:00:00Z")
    status = status_of(StatusInputs(leaving), NOON)
    assert conditions(status)["Ready"] == ("False", "Deleting")
    assert "until no-osl-1 reports that attempt 1 has stopped" in status.summary
    assert "Finished" not in conditions(status)


def test_what_to_do_about_a_stop_that_does_not_come_is_said_only_while_the_spoke_is_silent():
    leaving = state({"attempt": 1}, said=report(), deletionTimestamp="2026-01-31T12:00:00Z")
    patient = status_of(StatusInputs(leaving), NOON)
    assert "Git" not in patient.summary
    lost = status_of(StatusInputs(leaving, last_spoke=LastSpoke.LOST), NOON)
    assert "that spoke is silent" in lost.summary
    assert needs_update(patient, lost, NOON)
    assert "delete trainingreport" in next(c.message for c in lost.conditions if c.type == "Ready")


def test_a_run_says_where_it_is_and_what_it_is_to_save():
    known = StatusInputs(state(placed=placement(), said=report()), record(end=NOON + timedelta(hours=2)))
    assert status_of(known, NOON).summary == (
        "Trains on no-osl-1 since 2026-01-31 12:00 UTC, to end about 14:00: 40.0 gCO2e expected, saves ~460 g (92 %)."
    )


def test_what_a_run_is_expected_to_emit_is_said_with_its_doubt():
    times = TimeQuantiles(p10=NOON, p50=NOON, p90=NOON)
    doubt = PromiseStatus(start=times, finish=times, grams_co2e=Quantiles(p10=33.2, p50=41.0, p90=52.0))
    expected = record().expected.model_copy(update={"promise": doubt})
    decided = record(end=NOON + timedelta(hours=2), expected=expected)
    known = StatusInputs(state(placed=placement(), said=report()), decided)
    assert "to end about 14:00: 40.0 gCO2e (33.2–52.0) expected" in status_of(known, NOON).summary


def test_a_run_that_outlives_its_expected_end_says_so():
    runs, until = state(placed=placement(), said=report()), record(end=NOON + timedelta(hours=2))
    nothing, late = Results({}, {}, {}, None), NOON + timedelta(hours=2, minutes=1)
    assert not inputs_of(runs, observation(runs, records={UID: until}), nothing).is_overdue
    inputs = inputs_of(runs, observation(runs, now=late, records={UID: until}), nothing)
    assert inputs.is_overdue
    status = status_of(inputs, late)
    assert conditions(status)["Running"] == ("True", "Overdue")
    assert "overdue since 14:00: 40.0 gCO2e were expected" in status.summary


def test_a_result_is_said_in_one_line_and_in_full_in_its_condition():
    figures = record().expected.model_copy(update={"method": "profile estimate", "cost_usd": 4.0})
    progress = {"step": 60, "total_steps": 60, "initial_validation_loss": 6.636, "validation_loss": 2.1518}
    said = report("Succeeded", end_time=NOON + timedelta(hours=2), progress=progress)
    status = status_of(StatusInputs(state(placed=placement(), said=said), record(), actual=figures), NOON)
    assert status.summary == (
        "Trained on no-osl-1 until 2026-01-31 14:00 UTC, validation loss 6.64 to 2.15, 40.0 gCO2e, saved 460 g (92 %)."
    )
    (finished,) = [c.message for c in status.conditions if c.type == "Finished"]
    assert "1.00 kWh (profile estimate)" in finished
    assert "the baseline would have emitted 500 gCO2e" in finished


def test_a_failure_says_what_is_kept_and_how_it_is_tried_again():
    saved = {"uri": "/store/u", "step": 20}
    words = {"reason": "DiskFull", "message": "no room. Free some", "end_time": NOON + timedelta(hours=1)}
    failed = report("Failed", checkpoint=saved, **words)
    status = status_of(StatusInputs(state({"attempt": 1}, placed=placement(), said=failed), record()), NOON)
    assert message(status, "Finished") == (
        "no room. Free some. To try it again from step 20, its last good checkpoint: kubectl annotate ctj -n ml train "
        'carbonfleet.dev/replace="$(date +%s)" --overwrite; or change the job.'
    )
    lost = failed.model_copy(update={"reason": "CorruptCheckpoint", "message": "none is left " * 75})
    status = status_of(StatusInputs(state({"attempt": 1}, placed=placement(), said=lost), record()), NOON)
    assert "To try it again from the start: kubectl annotate" in message(status, "Finished")


def test_what_a_training_warns_of_is_said_while_it_runs_and_when_it_is_done():
    warning = "skipped the checkpoint of step 6: its file is gone"
    at = {"progress": {"step": 4, "total_steps": 9}, "message": warning}
    runs = status_of(StatusInputs(state(placed=placement(), said=report(**at)), record()), NOON)
    assert message(runs, "Running") == f"step 4 of 9. S{warning[1:]}"
    done = report("Succeeded", end_time=NOON + timedelta(hours=2), **at)
    over = status_of(StatusInputs(state(placed=placement(), said=done), record()), NOON)
    assert message(over, "Finished").endswith(f". The training says: {warning}.")


def test_a_long_decision_is_in_full_in_its_condition_and_short_in_the_summary():
    message = "Starts at two. " + "It goes on about what it weighed. " * 10
    status = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow", message)), NOON)
    assert len(status.summary) <= 170
    assert status.summary.endswith("weighed.")
    assert [c.message for c in status.conditions if c.type == "Scheduled"] == [message]


def test_what_to_do_about_a_trouble_is_not_cut_off():
    blocker = Blocker("DeletionGuardTripped", f"{'too many at once ' * 15}; to confirm, annotate the jobs")
    status = status_of(StatusInputs(state({"attempt": 1}, placed=placement()), record(), blocker), NOON)
    assert status.summary.endswith("annotate the jobs")
    assert next(c.message for c in status.conditions if c.type == "Ready").endswith("annotate the jobs")


def test_a_status_shows_no_empty_fields():
    wire = status_of(StatusInputs(state(placed=placement()), record()), NOON).to_wire()
    assert "" not in [*wire.values(), *wire["placement"].values()]


def test_a_blocked_job_keeps_no_old_expectations():
    waited = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    blocked = status_of(
        StatusInputs(state(waited.to_wire()), record("Blocked", "PolicyMissing", "No policy.", expected=None)), NOON
    )
    assert (blocked.expected, blocked.saved, blocked.grams_per_kwh) == (None, "", None)
    assert conditions(blocked)["PolicyAllowed"] == ("False", "PolicyMissing")


def test_a_wish_to_replace_is_kept_until_it_is_fulfilled():
    asked = {"annotations": {"carbonfleet.dev/replace": "two"}}
    waiting = status_of(StatusInputs(state({"replaced": "one"}, **asked), record("Wait", "WaitingForCapacity")), NOON)
    assert waiting.replaced == "one"
    assert (
        status_of(StatusInputs(state({"replaced": "one"}, placed=placement(), **asked), record()), NOON).replaced
        == "two"
    )


def test_figures_that_move_are_not_written_before_the_next_check_is_due():
    old = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    moved = record("Wait", "WaitingForCleanWindow", "Starts at two, for 41 g.", grams_per_kwh=37.0)
    new = status_of(StatusInputs(state(old.to_wire()), moved), NOON)
    assert new != old
    assert not needs_update(old, new, NOON + timedelta(minutes=59))
    assert needs_update(old, new, NOON + timedelta(hours=1))
    assert not needs_update(old, old, NOON + timedelta(days=1))


class LaterStatus(JobStatus):
    """A status with a field that nobody has thought of yet."""

    cooling_litres: float = 0.0


def test_a_field_of_tomorrow_is_written_as_soon_as_it_changes():
    old = LaterStatus.model_validate(status_of(StatusInputs(state(), record()), NOON).model_dump())
    assert not needs_update(old, old.model_copy(), NOON)
    new = old.model_copy(update={"cooling_litres": 2.5})
    assert needs_update(old, new, NOON)
    assert merge_patch(old.to_wire(), new.to_wire()) == {"coolingLitres": 2.5}


@pytest.mark.parametrize("field", sorted(JobStatus.model_fields))
def test_every_field_is_compared_that_is_not_named_volatile(field):
    seen = {"progress": {"step": 1, "total_steps": 2}, "checkpoint": {"step": 1, "uri": "s3://b/1", "time": NOON}}
    asked = {"annotations": {"carbonfleet.dev/replace": "two"}}
    runs = state(placed=placement(attempt=2), said=report(attempt=2, **seen), **asked)
    rung = RungStatus(
        percent=10, step=1, validation_loss=2, time=NOON, rank=1, reached=1, kept=1, cut_loss=2, goes_on=True
    )
    decided = record(digest="sha256:" + "a" * 64)
    full = status_of(StatusInputs(runs, decided, actual=record().expected, rungs=(rung,)), NOON)
    waits = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    old = JobStatus()
    new = next(one for one in (full, waits) if getattr(one, field) != getattr(old, field))
    new = old.model_copy(update={field: getattr(new, field)})
    assert needs_update(old, new, NOON) == (field not in VOLATILE)


def test_another_reason_is_written_at_once():
    old = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow")), NOON)
    new = status_of(StatusInputs(state(old.to_wire()), record("Wait", "WaitingForCapacity")), NOON)
    assert needs_update(old, new, NOON)


def test_an_event_tells_a_new_phase_once():
    old = status_of(StatusInputs(state(), record("Wait", "WaitingForCleanWindow", "Starts at two.")), NOON)
    new = status_of(StatusInputs(state(old.to_wire(), placed=placement()), record()), NOON)
    assert (told := transition_of(old, new)) is not None
    assert (told.reason, told.is_warning) == ("Committed", False)
    assert transition_of(new, new) is None
    other = status_of(StatusInputs(state(old.to_wire()), record("Wait", "WaitingForCapacity")), NOON)
    assert transition_of(old, other) is None


def test_the_status_of_a_fleet_of_500_spokes_is_small():
    spokes = [spoke(f"spoke-{n:03d}-{'x' * 40}", zone="NO-NO1") for n in range(500)]
    snapshot = world([job()], spokes, {"NO-NO1": [30] * 96})
    planned = plan(snapshot, WORLD_NOON)
    (decision,) = planned
    kept = record_of(decision, explain(planned, decision), WORLD_NOON)
    assert (len(kept.candidates), kept.candidates_total) == (20, 500)
    wordy = tuple(
        CandidateStatus.model_validate(c.model_dump() | {"message": "w" * 1024, "source": "s" * 128})
        for c in kept.candidates
    )
    known = StatusInputs(state(placed=placement(), said=report()), kept.model_copy(update={"candidates": wordy}))
    assert len(json.dumps(status_of(known, NOON).to_wire())) < 64 * 1024
