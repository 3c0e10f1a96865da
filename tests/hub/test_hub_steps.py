"""Each step of a cycle by itself: what it makes of one observation, on worked examples."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hub_values import NOON, UID, body, observation, placement, record, report, state, tip

from carbonfleet.api.signal import SignalKind
from carbonfleet.fleet import Committed, Place, Proposal, ProposalStage, Published, Refused, Repository
from carbonfleet.hub.accounting import LedgerUpdates
from carbonfleet.hub.observe import JOBS, MERGED_LATE, NOT_ACCOUNTED, AgreedMove, Blocker, Mirror, Observer
from carbonfleet.hub.planning import CyclePlanner, Planned
from carbonfleet.hub.publish import ProposalReviews, intents_of, proposals_of, publish
from carbonfleet.hub.running import Asking, Moves, lapses
from carbonfleet.hub.settings import HubSettings
from carbonfleet.hub.status import blockers_of
from carbonfleet.ledger.store import Ledger
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.snapshot import Spoke
from carbonfleet.signals import Signals, TraceSource
from fixtures.fleet_values import decide, facts_of, job_spec, quick_settings
from fixtures.git_server import GitServer
from fixtures.hand_clock import HandClock
from fixtures.hub_process import seed_with_tiers
from fixtures.ledger_values import entry

HOUR = timedelta(hours=1)
CLUSTERS = ("ca-qc-1", "no-osl-1", "us-oh-1")
GRAMS = {"NO-NO1": 30.0, "CA-QC": 50.0, "US-MIDA-PJM": 500.0}


@pytest.fixture
def clock():
    made = HandClock()
    made.set(NOON)
    return made


@pytest.fixture
def git_server(tmp_path):
    """A served branch with the tests' clusters and policies."""
    made = GitServer(tmp_path / "server", seed_with_tiers(tmp_path / "seed"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def repository(git_server, tmp_path, clock):
    """A hub's clone of a branch that is served."""
    return Repository(quick_settings(git_server.url, tmp_path / "clone"), clock)


@pytest.fixture
def signals(clock):
    kind = SignalKind.AVERAGE_LIFECYCLE
    made = Signals([TraceSource("grid", [(zone, kind) for zone in GRAMS], lambda zone, *_: GRAMS[zone])], clock)
    made.refresh([(zone, kind) for zone in GRAMS])
    yield made
    made.close()


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.at(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def spokes():
    return tuple(Spoke(facts_of(name)) for name in CLUSTERS)


def facts():
    return {name: facts_of(name) for name in CLUSTERS}


def move_of(outcome=Outcome.MOVE, **changes):
    """A decision on the job, which runs in Oslo: to Quebec."""
    return decide("train", "ca-qc-1", uid=UID, attempt=2, outcome=outcome, **changes)


def test_observe_freezes_jobs_spokes_and_the_tip(repository, clock):
    mirror = Mirror()
    mirror.put(JOBS, body())
    seen = Observer(mirror, repository, clock, timedelta(minutes=5)).observe()
    assert ([job.key for job in seen.jobs], seen.tip, seen.tip_is_fresh) == (["ml/train"], repository.fetch(), True)
    assert {spoke.name: spoke.reason for spoke in seen.spokes} == dict.fromkeys(CLUSTERS, "NeverJoined")


def test_observe_keeps_the_last_tip_while_git_is_away_and_says_so(repository, clock, git_server):
    observer = Observer(Mirror(), repository, clock, timedelta(minutes=5))
    before = observer.observe().tip
    git_server.stop()
    seen = observer.observe()
    assert (seen.tip, seen.tip_is_fresh, seen.blocker.reason) == (before, False, "RepositoryUnreachable")


def placing(name="train"):
    """The intent to place the job in Oslo."""
    return Place(decide(name, uid=UID), job_spec(), record())


def test_what_was_published_is_seen_without_reading_it_back_and_leaves_other_states_as_they_are(repository, clock):
    mirror, other = Mirror(), "0f5d6c1e-0000-4000-8000-000000000002"
    mirror.put(JOBS, body())
    mirror.put(JOBS, body(uid=other, name="waits"))
    observer = Observer(mirror, repository, clock, timedelta(minutes=5))
    seen, intent = observer.observe(), placing()
    published, blocker = publish(repository, [intent])
    after = observer.after_publishing(seen, [intent], published)
    assert (blocker, published.results) == (None, {intent.id: Committed(after.tip.commit)})
    assert (after.jobs[0].placement.placement_id, after.records) == (intent.id, {UID: intent.record})
    assert after.jobs[1] is seen.jobs[1]


class MergedAt:
    """What the branch says of when a placement came."""

    def __init__(self, time):
        self.arrived_at = lambda _placed: time


@pytest.mark.parametrize(("minutes", "held"), [(-1, []), (0, [UID]), (1, [UID])])
def test_hold_late_holds_what_was_merged_after_its_time(minutes, held):
    expires = NOON + HOUR
    late = state(placed=replace(placement(), expires_at=expires))
    reviews = ProposalReviews(MergedAt(expires + minutes * timedelta(minutes=1)), None, Mirror())
    seen = reviews.hold_late(observation(late, state(uid="other", name="other")))
    assert [(uid, hold.reason) for uid, hold in seen.holds.items()] == [(uid, MERGED_LATE) for uid in held]


def ended():
    """An attempt that succeeded after two hours."""
    return state(placed=placement(), said=report("Succeeded", end_time=NOON + 2 * HOUR))


def test_account_writes_one_line_for_an_attempt_that_ended_however_often_it_looks(ledger, signals):
    updates = LedgerUpdates(ledger, signals, "us-east-2", lambda _uid: (), lambda *_: None)
    seen = observation(ended(), state(uid="other", name="other"), facts=facts(), now=NOON + 3 * HOUR)
    first, again = updates.account(seen), updates.account(seen)
    [line] = ledger.entries()
    assert (first.figures, set(first.figures), first.holds) == (again.figures, {UID}, {})
    assert (line.job_uid, line.attempt, line.cluster, line.end) == (UID, 1, "no-osl-1", NOON + 2 * HOUR)


def test_account_holds_a_job_whose_line_can_not_be_written_and_no_other(ledger, signals, tmp_path):
    with sqlite3.connect(tmp_path / "ledger.sqlite") as file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            file.execute(f"ALTER TABLE {name} RENAME TO gone_{name}")
    updates = LedgerUpdates(ledger, signals, "us-east-2", lambda _uid: (), lambda *_: None)
    seen = updates.account(observation(ended(), state(uid="other", name="other"), facts=facts(), now=NOON + 3 * HOUR))
    assert ({uid: hold.reason for uid, hold in seen.holds.items()}, seen.figures) == ({UID: NOT_ACCOUNTED}, {})


def agreed_move():
    return replace(placement(2, cluster="ca-qc-1"), path="moves/ml/train.yaml", expires_at=NOON + HOUR)


def test_an_approval_counts_while_its_time_and_place_last_and_lapses_then(repository):
    move, running = agreed_move(), state(placed=placement(), said=report())
    at = {"tip": tip(running.placement, moves={UID: move}), "spokes": spokes()}
    moves, seen = Moves(repository), observation(running, **at)
    late, closed = replace(seen, now=NOON + HOUR), replace(seen, spokes=spokes()[1:])
    assert set(moves.load_approvals(late).agreed) == set(moves.load_approvals(closed).agreed) == set()
    assert [len(lapses(each)) for each in (seen, closed, late)] == [0, 0, 1]


def planner(ledger, signals, tmp_path):
    settings = HubSettings(fleet_url="git://127.0.0.1/fleet.git", state=tmp_path)
    return CyclePlanner(signals, None, ledger, settings)


def test_decide_places_a_queued_job_where_it_is_cleanest_and_signs_for_its_hub(repository, ledger, signals, tmp_path):
    seen = observation(state(), tip=repository.fetch(), spokes=spokes(), facts=facts(), hub_uid="hub-1")
    after, planned = planner(ledger, signals, tmp_path).decide(seen)
    decision, kept = planned.decisions[UID], planned.records[UID]
    assert (after, decision.outcome, decision.window.cluster) == (seen, Outcome.START, "no-osl-1")
    assert (kept.cluster, kept.hub, kept.course[0]) == ("no-osl-1", "hub-1", 30.0)


def test_decide_says_what_three_runs_like_it_took_once_they_stand_in_the_ledger(repository, ledger, signals, tmp_path):
    queued, hub = state(), planner(ledger, signals, tmp_path)
    seen = observation(queued, tip=repository.fetch(), spokes=spokes(), facts=facts())
    profile, gpus = queued.job.spec.workload.profile, hub.decide(seen)[1].decisions[UID].window.gpus
    for number in range(3):
        assert "such runs took" not in hub.decide(seen)[1].records[UID].message
        ledger.record(entry(number, profile=profile, gpus=gpus, run_hours=3.0, start=NOON, end=NOON, recorded_at=NOON))
    kept = hub.decide(seen)[1].records[UID]
    assert "3 such runs took 3 h on 1 GPU of this type, 50 % longer than the 2 h declared" in kept.message
    assert kept.expected.promise.run_length.to_wire() == {"declaredHours": 2.0, "measuredHours": 3.0, "runs": 3}


def test_decide_plans_with_how_fast_data_came_in_once_three_runs_say_so(repository, ledger, signals, tmp_path):
    queued, hub = state(), planner(ledger, signals, tmp_path)
    dataset = queued.job.spec.workload.dataset.model_copy(update={"size_gib": 100.0})
    workload = queued.job.spec.workload.model_copy(update={"dataset": dataset})
    spec = queued.job.spec.model_copy(update={"workload": workload})
    seen = observation(
        replace(queued, job=queued.job.model_copy(update={"spec": spec})),
        tip=repository.fetch(), spokes=spokes(), facts=facts(),
    )  # fmt: skip
    declared = hub.decide(seen)[1].decisions[UID].window
    assert "come in first" not in hub.decide(seen)[1].records[UID].message
    for number, (cluster, speed) in enumerate(product(facts(), (40.0, 50.0, 60.0))):
        line = entry(number, cluster=cluster, ingress_gib_per_hour=speed)
        ledger.record(replace(line, start=NOON, end=NOON, recorded_at=NOON))
    _, planned = hub.decide(seen)
    measured = planned.decisions[UID].window
    assert (measured.cluster, measured.end - declared.end) == (declared.cluster, 2 * HOUR)
    assert "Its 100 GiB of data come in first: 2 h at 50.0 GiB an hour, measured over 3 runs." in (
        planned.records[UID].message
    )


def test_decide_decides_nothing_without_a_repository_to_plan_for(ledger, signals, tmp_path):
    seen = observation(state(), tip=None)
    assert planner(ledger, signals, tmp_path).decide(seen) == (seen, Planned())


def test_a_move_that_people_must_agree_to_is_taken_out_of_the_plan_and_asked_about(repository):
    running = state(placed=placement(), said=report())
    seen, planned = observation(running), Planned({UID: move_of(review_required=True)}, {UID: record()})
    repository.fetch()
    left, asking = Moves(repository).hold_for_review(seen, planned, has_open=False)
    assert (left, asking.held) == (Planned(), {UID})
    [asked] = asking.wanted
    assert (asked.place.decision, asked.leaves) == (planned.decisions[UID], running.placement)


def test_a_move_that_nobody_wants_to_see_stays_in_the_plan(repository):
    seen, planned = observation(state(placed=placement(), said=report())), Planned({UID: move_of()}, {UID: record()})
    assert Moves(repository).hold_for_review(seen, planned, has_open=False) == (planned, Asking())


def test_a_refused_move_is_remembered_until_the_spec_changes(repository):
    moves, running = Moves(repository), state(placed=placement(), said=report())
    repository.fetch()
    planned = Planned({UID: move_of(review_required=True)}, {UID: record()})
    _, asking = moves.hold_for_review(observation(running), planned, has_open=False)
    said = Proposal(asking.wanted[0].place.id, "proposal", ProposalStage.REJECTED, "closed by ada")
    answers = moves.record_answers(observation(running), {UID: said})
    refusals = {UID: "It is not moved: people said no (closed by ada)."}
    assert (answers.proposals, answers.refused) == ({UID: said}, {UID})
    assert moves.load_approvals(observation(running)).refused_moves == refusals
    edited = state(placed=placement(), said=report(), generation=2)
    assert moves.load_approvals(observation(edited)).refused_moves == {}


@pytest.mark.parametrize("review", [False, True])
def test_what_starts_is_published_or_proposed_and_never_both(review):
    seen, decision = observation(state()), decide("train", uid=UID, review_required=review)
    planned = Planned({UID: decision}, {UID: record()})
    written = [intent.decision for intent in intents_of(seen, planned.decisions, planned.records)]
    asked = [each.place.decision for each in proposals_of(seen, planned)]
    assert (written, asked) == (([], [decision]) if review else ([decision], []))


def test_the_commit_with_which_people_agreed_goes_into_the_placement_that_ends_the_move():
    stopped = state({"phase": "Moving", "attempt": 1}, said=report("Stopped", end_time=NOON + HOUR))
    agreed = {UID: AgreedMove(agreed_move(), "a" * 40)}
    decision = replace(move_of(Outcome.START), window=replace(move_of().window, pool="a100"))
    [intent] = intents_of(observation(stopped, agreed=agreed), {UID: decision}, {UID: record()})
    assert intent.approved_in == "a" * 40


def test_publish_says_why_nothing_could_be_written(repository, git_server):
    repository.fetch()
    git_server.stop()
    published, blocker = publish(repository, [placing()])
    assert (published, blocker.reason) == (None, "RepositoryUnreachable")


def test_a_refused_intent_blocks_its_job_and_no_other():
    intent, other = placing(), state(uid="other", name="other")
    published = Published("c" * 40, {intent.id: Refused("PathTaken", "a person's file is there")})
    found = blockers_of(observation(state(), other), [intent], published, None)
    assert found == {UID: Blocker("PathTaken", "a person's file is there")}
