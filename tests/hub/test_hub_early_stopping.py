"""Jobs of a sweep that fall behind are stopped through Git: hour by hour, with one hub or a new one for each cycle."""

from collections.abc import Iterator

import pytest
from hub_values import NOON, body, observation, placement, report

from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.hub.running import judge_rungs
from carbonfleet.kube import ours
from fixtures.hub_process import START, condition
from fixtures.in_process_hub import NAMESPACE, InProcessHub, open_in_process_hub

RULE = {"rungsPercent": [10, 50], "eta": 3, "minimum": 3}
WORKLOAD = {
    "model": "acme/base",
    "dataset": {"name": "acme/instructions"},
    "training": {"steps": 20, "validations": 10},
}
LEVELS = {"a": 2.0, "b": 2.4, "c": 2.2, "d": 2.6, "e": 2.3, "f": 1.8}
"""By job, in the order of time: its loss half-way."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[InProcessHub]:
    made = open_in_process_hub(tmp_path_factory.mktemp("hand"))
    yield made
    made.close()


@pytest.fixture
def stack(opened: InProcessHub) -> InProcessHub:
    """The same stack for all tests, on a flat grid, with a hub of its own."""
    opened.grid.clear()
    opened.forgets = False
    opened.clock.set(START)
    opened.restart()
    return opened


def submit(stack, sweep, name, level):
    """A job whose loss falls evenly towards half of its level half-way."""
    stack.spokes.losses[name] = {step: round(level * (1.5 - step / 20), 4) for step in range(2, 21, 2)}
    stopping = {**RULE, "sweep": sweep}
    stack.submit(name, "train", duration="4h", workload=WORKLOAD, earlyStopping=stopping)


def run_sweep(stack, sweep):
    """Six jobs, one each half hour, until all are over; their phases."""
    names = [f"{sweep}-{name}" for name in LEVELS]
    for name, level in zip(names, LEVELS.values(), strict=True):
        submit(stack, sweep, name, level)
        stack.forward(30)
    for name in names:
        stack.until(name, Phase.SUCCEEDED, Phase.STOPPED_EARLY, hours=12)
    stack.forward(30)
    assert stack.spokes.violations == []
    return {name[-1]: stack.job(name).status.phase.value for name in names}


@pytest.mark.parametrize("forgets", [pytest.param(False, id="one-hub"), pytest.param(True, id="a-new-hub-each-cycle")])
def test_jobs_that_fall_behind_are_stopped_whenever_the_hub_is_killed(stack, forgets):
    stack.forgets, sweep = forgets, f"six{int(forgets)}"
    phases = run_sweep(stack, sweep)
    # At 10 % the first three go on; d is fourth and e third of five, of whom two go on; f is the best.
    # At 50 % a, b, c are the first.
    assert phases == dict.fromkeys("abcf", "Succeeded") | dict.fromkeys("de", "StoppedEarly")
    assert stack.changes(f"{sweep}-d") == ["place 1", "remove 1"]
    stopped = stack.job(f"{sweep}-d").status
    assert stopped.summary.startswith(
        "Stopped early at 10 % of its steps: validation loss 3.64 is number 4 of 4, and the best 2 go on, up to 3.08. "
        "Its checkpoint is kept. To let it go on: kubectl annotate ctj"
    )
    assert condition(stack.job(f"{sweep}-d"), "Finished").reason == "StoppedEarly"
    assert [(rung.percent, rung.rank, rung.reached, rung.goes_on) for rung in stopped.rungs] == [(10, 4, 4, False)]
    assert stopped.last_good_checkpoint.step >= 2
    [line] = stack.ledger(f"{sweep}-d")
    assert line.energy_kwh < 0.5 * stack.ledger(f"{sweep}-a")[0].energy_kwh
    assert stopped.actual.grams_co2e == pytest.approx(line.grams, rel=1e-3)


def test_a_stopped_job_is_not_tried_again(stack):
    run_sweep(stack, "rests")
    before = list(stack.spokes.starts)
    for _ in range(12):
        stack.forward(60)
    assert stack.spokes.starts == before
    assert stack.job("rests-d").status.phase is Phase.STOPPED_EARLY
    assert not stack.job("rests-d").metadata.finalizers


@pytest.mark.parametrize("way", ["annotation", "spec"])
def test_a_job_that_a_person_lets_go_on_runs_from_its_checkpoint_to_the_end(stack, way):
    sweep = f"by-{way}"
    run_sweep(stack, sweep)
    asked = {"metadata": {"annotations": {"carbonfleet.dev/replace": "1"}}}
    wish = asked if way == "annotation" else {"spec": {"earlyStopping": None}}
    stack.kube.patch(ours("carbontrainingjobs", NAMESPACE, f"{sweep}-d"), wish)
    stack.settle()
    job = stack.until(f"{sweep}-d", Phase.SUCCEEDED, hours=12)
    assert (job.status.attempt, job.status.progress.step) == (2, 20)
    resumed = [one for one in stack.spokes.attempts.values() if one.placement.name == f"{sweep}-d"]
    assert [one.first_step for one in resumed] == [0, job.status.rungs[0].step]


def test_a_job_that_has_ended_before_it_could_be_stopped_has_succeeded(stack):
    sweep = "late"
    for name, level in list(LEVELS.items())[:3]:
        submit(stack, sweep, f"{sweep}-{name}", level)
    stack.forward(30)
    stack.spokes.slow_to_stop.add(f"{sweep}-d")
    submit(stack, sweep, f"{sweep}-d", 9.0)
    stack.until(f"{sweep}-d", Phase.STOPPED_EARLY, hours=4)
    attempt = next(one for one in stack.spokes.attempts.values() if one.placement.name == f"{sweep}-d")
    stack.spokes._end(attempt, AttemptPhase.SUCCEEDED, "", "")
    stack.settle()
    job = stack.job(f"{sweep}-d")
    assert (job.status.phase, condition(job, "Finished").reason) == (Phase.SUCCEEDED, "Succeeded")


def judged(*losses, status=None):
    """The rungs of the last of some jobs of one sweep, each of which reached the first a minute after the other."""
    bodies, reports, placements = [], {}, {}
    for number, loss in enumerate(losses):
        uid, name = f"0f5d6c1e-0000-4000-8000-{number:012}", f"job-{number}"
        made = body(status if number == len(losses) - 1 else None, uid=uid, name=name)
        made["spec"] |= {"workload": WORKLOAD, "earlyStopping": {**RULE, "sweep": "one"}}
        at = NOON.replace(minute=number)
        said = {"step": 2, "total_steps": 20, "validations": [{"step": 2, "loss": loss, "time": at}]}
        bodies.append(made)
        placements[uid] = placement(uid=uid, name=name)
        reports[uid] = report(uid=uid, progress=said)
    states = JobStates().of(bodies, placements, reports)
    return judge_rungs(observation(*states)).rungs.get(states[-1].uid, ())


def test_a_rung_says_where_the_job_stands():
    [rung] = judged(2.0, 2.1, 2.2, 2.15)
    assert (rung.percent, rung.step, rung.validation_loss, rung.rank, rung.reached, rung.kept, rung.cut_loss) == (
        *(10, 2, 2.15),
        *(3, 4, 2, 2.1),
    )
    assert (rung.goes_on, rung.time) == (False, NOON.replace(minute=3))


def test_a_rung_that_a_status_holds_is_not_judged_again():
    known = {"percent": 10, "step": 2, "validationLoss": 2.05, "time": "2026-01-31T12:03:00Z", "rank": 1}
    known |= {"reached": 1, "kept": 1, "cutLoss": 2.05, "goesOn": True}
    assert judged(2.0, 2.1, 2.2, 2.05, status={"phase": "Running", "rungs": [known]}) == ()
