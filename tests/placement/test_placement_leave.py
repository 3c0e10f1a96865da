"""Moves to which people must agree: when they are asked, and where a job goes when they have."""

from dataclasses import replace
from datetime import timedelta

import pytest

from carbonfleet.placement import Incumbent, Outcome, Reservation
from fixtures.placement_world import ANYWHERE, HOUR, NOON, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

HALF = {"interruptible": {"overhead": "0s", "minimum_run": "1h", "max_pauses": 4}}
SPOKES = [spoke("oslo"), spoke("quebec", "CA-QC")]
HALVED = {"NO-NO1": [500] * 60, "CA-QC": [250] * 60}


def asking(**review):
    """Policies that want to be asked."""
    return [ANYWHERE, policy("careful", review=review)]


def under_way(left=0.5, *, paused=False, agreed=None, **more):
    """A job of ten hours in Oslo, and what it holds."""
    since = NOON - 3 * HOUR
    held = Incumbent("oslo", "main", since, running=not paused, paused=paused, since=since, agreed=agreed)
    queued = job("run", hours=10, incumbent=held, remaining_fraction=left, schedule=HALF, **more)
    end = NOON + timedelta(hours=10 * left)
    return queued, () if paused else (Reservation(queued.uid, "ml", "oslo", "main", 1, since, end),)


def only(under_way, values, policies, *more):
    queued, reservations = under_way
    (decision,) = plan(world([queued], SPOKES, values, policies=policies, reservations=(*reservations, *more)), NOON)
    return decision


def test_a_move_is_decided_on_and_says_that_people_must_agree():
    decision = only(under_way(), HALVED, asking(moves="required"))
    assert (decision.outcome, decision.window.cluster, decision.review_required) == (Outcome.MOVE, "quebec", True)
    assert decision.message.endswith("Policy careful wants review: of moving a job that runs.")
    assert "50 % of it is done; the move itself takes 0 min, " in decision.message


@pytest.mark.parametrize(("limit", "required"), [(0.01, True), (100_000, False)])
def test_a_limit_asks_only_where_the_moves_own_figures_cross_it(limit, required):
    decision = only(under_way(), HALVED, asking(above_cost_usd=limit))
    assert (decision.outcome, decision.review_required) == (Outcome.MOVE, required)


def test_a_running_job_never_pauses_in_the_hope_of_a_yes():
    later = {"NO-NO1": [500] * 60, "CA-QC": [5000, 5000] + [50] * 58}
    assert only(under_way(), later, [ANYWHERE]).outcome is Outcome.PAUSE
    decision = only(under_way(), later, asking(moves="required"))
    assert (decision.outcome, decision.window.cluster) == (Outcome.KEEP, "oslo")


def test_a_paused_job_is_taken_up_at_home_rather_than_wait_for_people():
    assert only(under_way(paused=True), HALVED, [ANYWHERE]).outcome is Outcome.MOVE
    decision = only(under_way(paused=True), HALVED, asking(moves="required"))
    assert (decision.outcome, decision.window.cluster) == (Outcome.KEEP, "oslo")


def test_a_job_goes_where_people_agreed_though_it_gains_too_little_by_now():
    near = {"NO-NO1": [100] * 60, "CA-QC": [99] * 60}
    assert only(under_way(), near, asking(moves="required")).outcome is Outcome.KEEP
    decision = only(under_way(agreed=("quebec", "main")), near, asking(moves="required"))
    assert (decision.outcome, decision.window.cluster, decision.review_required) == (Outcome.MOVE, "quebec", False)


def test_a_job_stays_while_there_is_no_room_where_people_agreed():
    full = Reservation("other", "ml", "quebec", "main", 8, NOON, NOON + 9 * HOUR)
    decision = only(under_way(agreed=("quebec", "main")), HALVED, asking(moves="required"), full)
    assert (decision.outcome, decision.window.cluster) == (Outcome.KEEP, "oslo")


def test_once_it_has_stopped_a_job_is_placed_where_people_agreed_and_nowhere_else():
    queued = job("run", hours=10, remaining_fraction=0.5, schedule={"max_delay": "0s"})
    queued = replace(queued, attempt=2, moves_from="oslo")
    agreed = Incumbent("quebec", "main", NOON - HOUR, agreed=("quebec", "main"))
    pinned = replace(queued, incumbent=agreed, stays_because="People agreed to its move to quebec.")
    dirty = {"NO-NO1": [20] * 60, "CA-QC": [250] * 60}
    decision = only((pinned, ()), dirty, asking(moves="required"))
    assert (decision.outcome, decision.window.cluster, decision.review_required) == (Outcome.START, "quebec", False)


def test_once_it_has_stopped_home_needs_no_leave_and_any_other_place_does():
    queued = job("run", hours=10, remaining_fraction=0.5, schedule={"max_delay": "0s"})
    queued = replace(queued, attempt=2, moves_from="oslo")
    home = only((queued, ()), {"NO-NO1": [20] * 60, "CA-QC": [250] * 60}, asking(moves="required"))
    away = only((queued, ()), HALVED, asking(moves="required"))
    assert (home.window.cluster, home.review_required) == ("oslo", False)
    assert (away.window.cluster, away.review_required) == ("quebec", True)
