"""Which reports count: those on a spoke's own placement, as Git bounds them; and what a lying spoke can't do."""

import string
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hub_values import NOON, UID, body, in_git, placement, report, report_body, tip
from hypothesis import example, given
from hypothesis import strategies as st

from carbonfleet import hub
from carbonfleet.api.report import AttemptPhase, Stint
from carbonfleet.fleet import object_name, placement_id
from carbonfleet.hub.observe.reports import Accepted, accepted, read
from carbonfleet.hub.publish.spent_reports import MOST_DELETED, in_turn
from fixtures.fleet_values import facts_of

HOUR = timedelta(hours=1)
LATER = NOON + 2 * HOUR
OTHER = "0f5d6c1e-0000-4000-8000-000000000002"
MINE = "0f5d6c1e-0000-4000-8000-000000000003"
NAME = object_name("train", UID, 1)


def heard(*specs, at=LATER, **more):
    return [read(report_body(spec, **more), at) for spec in specs]


def accept(*specs, git, at=LATER, **more):
    return accepted(heard(*specs, at=at), git, at, **more)


def test_the_report_on_the_attempt_that_stands_counts():
    said = report()
    assert accept(said, git=in_git(placement())) == Accepted({UID: said}, {}, {}, ())


@pytest.mark.parametrize(
    "lie",
    [
        {"spoke": "ca-qc-1"},
        {"attempt": 2},
        {"attempt": 1_000_000},
        {"placement_id": placement_id(OTHER, 1, 1)},
        {"placement_id": "aaaaaaaaaaaaaaaa"},
        {"uid": OTHER, "placement_id": placement_id(UID, 1, 1)},
    ],
)
def test_a_report_on_what_git_never_had_for_its_spoke_is_that_spoke_s_problem_and_nothing_else(lie):
    found = accept(report("Succeeded", **lie), git=in_git(placement(), placement(uid=OTHER, name="other")))
    assert (found.reports, found.refusals) == ({}, {})
    ((spoke, (said,)),) = found.problems.items()
    assert spoke == lie.get("spoke", "no-osl-1")
    assert said.endswith("that Git never had for this spoke: it does not count")


def test_a_spoke_speaks_for_itself_only():
    (one,) = heard(report("Succeeded"), namespace="spoke-ca-qc-1")
    found = accepted([one], in_git(placement()), LATER)
    said = f"trainingreport {NAME} in spoke-ca-qc-1 is in the name of another spoke, no-osl-1"
    assert found == Accepted({}, {}, {"ca-qc-1": (said,)}, ())


@pytest.mark.parametrize("spec", [None, [], "x", {}, {"attempt": "first"}, {"job": 3}, {"observedAt": 1e400}])
def test_a_report_that_is_none_is_its_spoke_s_problem(spec):
    said_by("no-osl-1", report_body(report()) | {"spec": spec})


@pytest.mark.parametrize(
    "figures",
    [
        {"energy": {"method": "nvml", "kwh": float("inf")}},
        {"energy": {"method": "nvml", "kwh": -1}},
        {"progress": {"step": 10**420}},
        {"progress": {"trainLoss": float("nan")}},
        {"checkpoint": {"uri": "s3://x", "step": 10**18}},
        {"gpus": 0},
        {"attempt": 1_000_001},
        {"observedAt": "3000-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_report_with_figures_that_can_not_be_is_its_spoke_s_problem(figures):
    whole = report_body(report())
    said_by("no-osl-1", whole | {"spec": whole["spec"] | figures})


def said_by(author, broken):
    found = accepted([read(broken, LATER)], in_git(placement()), LATER)
    assert (found.reports, found.refusals, found.spent) == ({}, {}, ())
    ((spoke, (said,)),) = found.problems.items()
    assert spoke == author
    assert "can't be read" in said


def test_what_is_written_into_a_problem_can_not_steer_a_terminal():
    broken = report_body(report())
    broken["spec"]["\x1b[31mred"] = 1
    ((said,),) = accepted([read(broken, LATER)], in_git(), LATER).problems.values()
    assert said.isprintable()


def test_after_it_left_git_the_last_attempt_is_heard_of_still():
    gone = placement(attempt=2)
    said = report("Stopped", attempt=2)
    noted = {"cluster": "no-osl-1", "pool": "a100", "attempt": 2, "placementId": gone.placement_id}
    noted |= {"start": "2026-01-31T12:00:00Z", "path": gone.path}
    by_history = in_git(jobs=[body()], left=[placement(), gone])
    by_status = in_git(jobs=[body({"placement": noted})])
    assert accept(said, git=by_history).reports == {UID: said}
    assert accept(said, git=by_status).reports == {UID: said}


def test_an_earlier_attempt_s_report_neither_counts_nor_is_a_problem():
    before, now = report("Stopped", attempt=1), report(attempt=2, spoke="ca-qc-1")
    git = in_git(placement(attempt=2, cluster="ca-qc-1"), left=[placement()])
    assert accept(before, git=git) == Accepted()
    assert accept(before, now, git=git) == accept(now, before, git=git) == Accepted({UID: now})


def test_a_placement_that_a_person_moved_to_another_spoke_is_no_longer_the_first_one_s():
    git = in_git(placement(cluster="ca-qc-1"), left=[placement()])
    assert accept(report("Stopped"), git=git) == Accepted()


def test_refusals_of_the_last_day_count_where_the_spoke_was_asked():
    said = [report("Refused", spoke=name, attempt=n) for n, name in enumerate(("a", "b", "c"), start=1)]
    git = in_git(left=[placement(cluster="a"), placement(attempt=2, cluster="b")])
    assert accept(*said, git=git).refusals == {UID: frozenset({"a", "b"})}
    assert accept(*said, git=git, at=NOON + 26 * HOUR).refusals == {}


def test_while_the_branch_can_not_be_read_nobody_is_blamed_for_what_it_may_hold():
    assert accept(report(), git=in_git(), is_fresh=False) == Accepted()


def test_of_two_reports_on_one_attempt_the_one_that_was_observed_last_counts():
    first, last = report("Running"), report("Succeeded", observed_at=NOON + HOUR * 1.5)
    bodies = [report_body(last, name="a"), report_body(first, name="b")]
    for order in (bodies, bodies[::-1]):
        found = accepted([read(each, LATER) for each in order], in_git(placement()), LATER)
        assert found.reports[UID].phase is AttemptPhase.SUCCEEDED


def test_gpus_pool_and_job_are_those_of_git():
    lie = report(gpus=1_000_000_000, pool="h100", job={"namespace": "theirs", "name": "innocent", "uid": UID})
    found = accept(lie, git=in_git(placement()))
    assert found.reports == {UID: report()}
    assert found.problems == {
        "no-osl-1": (
            f"trainingreport {NAME} in spoke-no-osl-1 names another job and pool and gpus than its placement in Git, "
            "which counts",
        )
    }


@pytest.mark.parametrize(
    "uri",
    [f"s3://out/{OTHER}", f"/store/{UID}/../{OTHER}", f"/store/{OTHER}/../{UID}", f"s3://out/{UID}-2", "", "s3://"],
)
def test_a_checkpoint_that_is_another_job_s_counts_as_none_and_is_named(uri):
    found = accept(report(checkpoint={"uri": uri, "step": 3}), git=in_git(placement()))
    assert found.reports[UID].checkpoint is None
    ((_, (said,)),) = found.problems.items()
    assert said.endswith("names a checkpoint that is not in its job's own folder: it counts as none")


def test_validations_that_can_not_be_do_not_count_and_are_named():
    def seen(step, minutes=1):
        return {"step": step, "loss": 2.0 + step / 100, "time": NOON + timedelta(minutes=minutes)}

    claimed = [seen(10), seen(10), seen(5), seen(20, 10_000), seen(31)]
    lie = report(progress={"step": 30, "total_steps": 60, "validations": claimed})
    found = accept(lie, git=in_git(placement()))
    kept = found.reports[UID].progress.validations
    assert [(one.step, one.loss) for one in kept] == [(10, 2.1), (20, 2.2)]
    assert all(NOON <= one.time <= LATER for one in kept)
    assert found.problems["no-osl-1"][0].endswith(
        "names validations of steps that it has not done, or has named before: they do not count"
    )


@pytest.mark.parametrize("loss", [-0.1, float("nan"), float("inf"), "2.0", True, None])
def test_a_loss_that_is_none_is_its_spoke_s_problem(loss):
    spec = report(progress={"step": 30, "total_steps": 60}).to_wire()
    spec["progress"]["validations"] = [{"step": 10, "loss": loss, "time": "2026-01-31T12:00:00Z"}]
    body_of_it = report_body(report()) | {"spec": spec}
    found = accepted([read(body_of_it, LATER)], in_git(placement()), LATER)
    assert found.reports == {}
    assert "loss" in found.problems["no-osl-1"][0]


def test_energy_beyond_the_hardware_is_left_out_and_named():
    facts = facts_of("no-osl-1")
    git = replace(in_git(placement()), tip=tip(placement(), clusters={"no-osl-1": facts}))
    lie = report("Succeeded", end_time=LATER, observed_at=LATER, energy={"method": "nvml", "kwh": 1e9})
    found = accept(lie, git=git)
    assert found.reports[UID].energy is None
    assert found.problems["no-osl-1"][0].endswith(
        "counts more energy than its GPUs can draw: their profile's estimate is taken"
    )


def test_times_lie_between_the_commit_and_now():
    said = report("Succeeded", start_time=NOON - 4 * HOUR, end_time=NOON + HOUR, observed_at=NOON + HOUR)
    found = accept(said, git=in_git(placement(), jobs=[body()]))
    assert found.reports[UID].start_time == NOON
    assert found.reports[UID].end_time == NOON + HOUR
    assert "began 4 h before its placement was committed" in found.problems["no-osl-1"][0]


def test_a_clock_that_is_ahead_is_set_back_with_all_that_it_dates():
    fast = 9 * HOUR
    said = report("Succeeded", start_time=NOON + fast, end_time=LATER + fast, observed_at=LATER + fast)
    found = accept(said, git=in_git(placement()))
    assert found.reports == {UID: report("Succeeded", start_time=NOON, end_time=LATER, observed_at=LATER)}
    assert "is dated 9 h ahead of the hub's clock" in found.problems["no-osl-1"][0]


def test_stints_follow_each_other():
    stints = [Stint(start=NOON, end=LATER), Stint(start=NOON, end=LATER), Stint(start=NOON)]
    found = accept(report(stints=stints, observed_at=LATER), git=in_git(placement()))
    assert found.reports[UID].stints == (
        Stint(start=NOON, end=LATER),
        Stint(start=LATER, end=LATER),
        Stint(start=LATER, end=None),
    )


def test_a_report_that_nothing_is_wrong_with_stays_as_it_is():
    said = report(
        "Succeeded",
        end_time=NOON + HOUR,
        stints=[{"start": NOON, "end": NOON + HOUR}],
        progress={"step": 3, "total_steps": 3, "first_step_time": NOON},
        checkpoint={"uri": f"s3://out/{UID}", "step": 3, "time": NOON + HOUR},
        energy={"method": "nvml", "kwh": 0.3, "samples": [{"time": NOON + HOUR, "energy_kwh": 0.3}]},
    )
    assert accept(said, git=in_git(placement())) == Accepted({UID: said})


def test_no_part_of_the_hub_reads_reports_around_this_one():
    files = Path(hub.__file__).parent.rglob("*.py")
    assert [file.name for file in files if "all(REPORTS)" in file.read_text()] == ["reports.py"]


def test_reports_that_nobody_needs_are_spent():
    over, long_after = report("Stopped"), LATER + 24 * HOUR
    assert len(accepted(heard(over), in_git(left=[placement()]), long_after).spent) == 1
    assert accepted(heard(over), in_git(left=[placement()], jobs=[body()]), long_after).spent == ()
    assert accepted(heard(over), in_git(placement()), long_after).spent == ()
    never = report(uid=MINE)
    assert accepted(heard(never), in_git(placement()), LATER).spent == ()
    assert len(accepted(heard(never), in_git(placement()), long_after).spent) == 1


@pytest.mark.parametrize(
    ("uid", "read_whole"), [(UID, 4), (OTHER, 0)], ids=["on-its-own-attempt", "on-what-it-never-had"]
)
def test_of_a_flood_few_are_read_and_the_others_are_told_of_in_short_and_deleted(uid, read_whole):
    count = 5000
    flood = [report_body(report(uid=uid), name=f"flood-{number}") for number in range(count)]
    honest = report_body(report(uid=MINE, spoke="ca-qc-1"))
    git = in_git(placement(), placement(uid=MINE, name="mine", cluster="ca-qc-1"))
    said = [read(body, LATER) for body in (*flood, honest)]
    found = accepted(said, git, LATER)
    assert len([one for one in said if one.verdict is not None and one.verdict.spec is not None]) == read_whole + 1
    assert found.reports[MINE].spoke == "ca-qc-1"
    assert {spoke: len(told) for spoke, told in found.problems.items() if spoke != "ca-qc-1"} == {"no-osl-1": 100}
    assert len(found.spent) == count - read_whole - 100


def test_of_each_spoke_some_are_deleted_whatever_another_wrote():
    flood = [report_body(report(), name=f"flood-{number}") for number in range(MOST_DELETED * 2)]
    old = [report_body(report(spoke="ca-qc-1"), name=f"old-{number}") for number in range(3)]
    first = in_turn([*flood, *old])[:MOST_DELETED]
    assert [body for body in first if body in old] == old


EVIL = "us-oh-1"
STANDING = (placement(), placement(uid=OTHER, name="other", cluster="ca-qc-1", attempt=3))
LEFT = (placement(uid=OTHER, name="other", cluster="no-osl-1", attempt=2),)
WAITING = "0f5d6c1e-0000-4000-8000-000000000004"
GIT = in_git(
    *STANDING,
    placement(uid=MINE, name="mine", cluster=EVIL),
    left=LEFT,
    jobs=[body(uid=uid, name=name) for uid, name in ((UID, "train"), (OTHER, "other"), (MINE, "mine"), (WAITING, "w"))],
)
HONEST = heard(report(), report("Refused", uid=OTHER, attempt=2), report(uid=OTHER, attempt=3, spoke="ca-qc-1"))
moments = st.datetimes(NOON.replace(tzinfo=None) - 400 * HOUR, NOON.replace(tzinfo=None) + 400 * HOUR).map(
    lambda each: each.replace(tzinfo=NOON.tzinfo)
)
said_uids = st.sampled_from([UID, OTHER, MINE, WAITING]) | st.text(string.ascii_lowercase, min_size=1, max_size=8)
specs = st.fixed_dictionaries(
    {
        "spoke": st.sampled_from([EVIL, EVIL, "no-osl-1", "ca-qc-1"]),
        "job": st.fixed_dictionaries(
            {"uid": said_uids, "namespace": st.sampled_from(["ml", "theirs"]), "name": st.sampled_from(["train", "x"])}
        ),
        "placementId": st.builds(placement_id, said_uids, st.integers(1, 2), st.integers(1, 4)),
        "attempt": st.integers(1, 4) | st.integers(),
        "pool": st.sampled_from(["a100", "h100"]),
        "gpus": st.integers(1, 4) | st.integers(),
        "phase": st.sampled_from([phase.value for phase in AttemptPhase]),
        "observedAt": moments.map(lambda each: each.isoformat()),
    },
    optional={
        "startTime": moments.map(lambda each: each.isoformat()),
        "endTime": moments.map(lambda each: each.isoformat()),
        "stints": st.lists(st.fixed_dictionaries({"start": moments.map(lambda each: each.isoformat())}), max_size=4),
        "progress": st.fixed_dictionaries({"step": st.integers()}),
        "energy": st.fixed_dictionaries({"method": st.just("nvml"), "kwh": st.floats()}),
    },
)
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)


def evil(number, spec):
    where = {"name": f"evil-{number}", "namespace": f"spoke-{EVIL}", "uid": f"evil-{number}", "resourceVersion": "1"}
    return read(
        {"apiVersion": "carbonfleet.dev/v1alpha1", "kind": "TrainingReport", "metadata": where, "spec": spec}, LATER
    )


def without_evil(found):
    return replace(
        found,
        reports={uid: said for uid, said in found.reports.items() if uid != MINE},
        refusals={uid: spokes for uid, spokes in found.refusals.items() if uid != MINE},
        problems={spoke: said for spoke, said in found.problems.items() if spoke != EVIL},
        spent=tuple(body for body in found.spent if body["metadata"]["namespace"] != f"spoke-{EVIL}"),
    )


@given(st.lists(specs | anything, min_size=1, max_size=6))
@example([HONEST[0].body["spec"] | {"phase": "Succeeded"}])
@example([HONEST[0].body["spec"] | {"phase": "Stopped", "spoke": EVIL, "observedAt": "2999-12-31T00:00:00Z"}])
def test_whatever_a_spoke_reports_nothing_changes_for_the_jobs_of_others(lies):
    assert without_evil(accepted(HONEST, GIT, LATER)) == without_evil(
        accepted([*HONEST, *(evil(n, lie) for n, lie in enumerate(lies))], GIT, LATER)
    )


@given(specs)
def test_a_spoke_s_own_report_is_brought_within_what_can_be(lie):
    own = {"spoke": EVIL, "placementId": placement_id(MINE, 1, 1), "attempt": 1}
    found = accepted([evil(0, lie | own | {"job": lie["job"] | {"uid": MINE}})], GIT, LATER).reports
    for said in found.values():
        moments = [said.observed_at, said.start_time, said.end_time, *(stint.start for stint in said.stints)]
        assert all(NOON <= each <= LATER for each in moments if each is not None)
        assert (said.gpus, said.pool, said.job.name) == (1, "a100", "mine")
