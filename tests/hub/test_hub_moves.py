"""Jobs under way, hour by hour on a clock that the test moves: paused, taken up again, moved, or left alone."""

from collections.abc import Iterator

import pytest

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from carbonfleet.fleet.review import Branches
from carbonfleet.kube import ours
from fixtures.asked_moves import SHARED
from fixtures.git_server import Checkout
from fixtures.hub_process import GRAMS, START, condition
from fixtures.in_process_hub import HOUR, NAMESPACE, InProcessHub, open_in_process_hub

PATIENT = {"maxDelay": "24h", "interruptible": {"minimumRun": "1h", "overhead": "10m", "maxPauses": 4}}
IN_OSLO = {"dataClass": "public", "allowedRegions": ["europe-north1"]}
OSLO, QUEBEC, OHIO = "NO-NO1", "CA-QC", "US-MIDA-PJM"


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[InProcessHub]:
    made = open_in_process_hub(tmp_path_factory.mktemp("hand"))
    yield made
    made.close()


@pytest.fixture
def stack(opened: InProcessHub) -> InProcessHub:
    """The same stack for all tests, on the morning of the same day, on a flat grid, with a hub of its own."""
    opened.grid.clear()
    opened.forgets = False
    opened.clock.set(START)
    opened.restart()
    return opened


def begin(stack: InProcessHub, name: str, duration: str = "4h", **given):
    """A job that runs since this full hour."""
    now = stack.clock.now()
    stack.clock.set(now.replace(minute=0, second=0, microsecond=0) + HOUR)
    stack.submit(name, duration=duration, **{"schedule": PATIENT} | given)
    stack.until(name, Phase.RUNNING, hours=1)
    return stack.clock.now()


def end(stack: InProcessHub, name: str) -> CarbonTrainingJob:
    """The job when it has succeeded, and Git has forgotten it."""
    job = stack.until(name, Phase.SUCCEEDED, hours=36)
    stack.settle()
    assert stack.spokes.violations == []
    return job


def test_a_forecast_miss_pauses_a_running_job_until_the_grid_clears(stack):
    name = "missed"
    began = begin(stack, name, residency=IN_OSLO)
    stack.grid.becomes(OSLO, began, 1.3 * GRAMS[OSLO])
    stack.grid.becomes(OSLO, began + 5 * HOUR, GRAMS[OSLO])
    job = stack.until(name, Phase.PAUSED)
    assert stack.clock.now() == began + HOUR
    assert condition(job, "Running").reason == "Paused"
    assert "30 % above what was expected" in job.status.summary
    assert "This saves" in condition(job, "Running").message
    job = stack.until(name, Phase.RUNNING)
    assert stack.clock.now() == began + 5 * HOUR
    job = end(stack, name)
    assert stack.changes(name) == ["place 1", "suspend 1", "resume 1", "remove 1"]
    assert stack.spokes.resumed.count((name, 1, "no-osl-1")) == 1
    assert (job.status.attempt, job.status.pauses) == (1, 1)


@pytest.mark.parametrize(
    "forgets",
    [pytest.param(False, id="one-hub"), pytest.param(True, id="a-new-hub-for-each-cycle", marks=pytest.mark.soak)],
)
def test_half_the_carbon_elsewhere_moves_a_running_job_once(stack, forgets):
    stack.forgets, name = forgets, f"moved-{int(forgets)}"
    began = begin(stack, name)
    stack.grid.becomes(QUEBEC, began, GRAMS[OSLO] / 2)
    job = end(stack, name)
    assert stack.changes(name) == ["place 1", "remove 1", "place 2", "remove 2"]
    assert [start for start in stack.spokes.starts if start[0] == name] == [(name, 1, "no-osl-1"), (name, 2, "ca-qc-1")]
    assert (job.status.cluster, job.status.attempt, job.status.pauses) == ("ca-qc-1", 2, 1)
    first, second = stack.ledger(name)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.end == began + HOUR
    assert job.status.actual.energy_kwh == pytest.approx(first.energy_kwh + second.energy_kwh, abs=1e-4)
    assert job.status.actual.grams_co2e == pytest.approx(first.grams + second.grams, abs=0.1)


STRAY = """
while read old new ref; do
  git show --no-patch --format=%s $new | grep -q '^remove' && [ ! -e {person}/pushed ] || continue
  touch {person}/pushed
  env -i PATH="$PATH" HOME=/nonexistent sh -e -c 'cd {person}/clone
    git pull --quiet; mkdir -p moves/moves; echo no > moves/moves/held.yml; git add moves
    git -c user.name=Pat -c user.email=pat@example.org commit --quiet -m No; git push --quiet origin HEAD:main'
done
"""
"""While the hub pushes the first half of a move, a person pushes a file that holds all moves."""


def test_a_move_is_not_begun_on_top_of_a_file_that_holds_moves_and_came_meanwhile(stack, tmp_path):
    name = "raced"
    began = begin(stack, name, duration="9h")
    stack.git.git("clone", "--quiet", stack.git.url, str(tmp_path / "clone"))
    stack.git.hook("pre-receive", STRAY.format(person=tmp_path))
    stack.grid.becomes(QUEBEC, began, GRAMS[OSLO] / 2)
    for _ in range(3):
        stack.forward()
    stack.git.unhook("pre-receive")
    assert (tmp_path / "pushed").exists()
    assert stack.changes(name) == ["place 1"]
    assert stack.job(name).status.phase is Phase.RUNNING
    assert "moves/moves/held.yml" in str(stack.kube.get(ours("carbontrainingjobs", NAMESPACE, name))["status"])
    person = Checkout(tmp_path / "another", stack.git.url)
    (person.path / "moves/moves/held.yml").unlink()
    person.push("Let jobs move again")
    job = end(stack, name)
    assert stack.changes(name) == ["place 1", "remove 1", "place 2", "remove 2"]
    assert (job.status.cluster, job.status.attempt) == ("ca-qc-1", 2)


def agree(stack: InProcessHub, name: str) -> str:
    """A person approves what is proposed for a job where no forge shows it; the branch."""
    branches = Branches(stack.connections.repository)
    [branch] = [branch for branch in branches.read().branches.values() if f".{name}/" in branch.name]
    branches.approve(branch.name, branch.head, ("Pat Person", "pat@example.org"), stack.clock.now())
    stack.settle()
    return branch.name


def test_a_job_that_wants_review_moves_without_a_forge_once_a_person_agrees(stack):
    now, name = stack.clock.now(), "agreed"
    stack.clock.set(now.replace(minute=0, second=0, microsecond=0) + HOUR)
    stack.submit(name, duration="6h", schedule=PATIENT, review="required", workload=SHARED)
    stack.until(name, Phase.PROPOSED, hours=1)
    agree(stack, name)
    stack.until(name, Phase.RUNNING, hours=1)
    stack.grid.becomes(QUEBEC, stack.clock.now().replace(minute=0), GRAMS[OSLO] / 2)
    for _ in range(2):
        stack.forward()
    running = condition(stack.job(name), "Running")
    assert (running.reason, stack.changes(name)) == ("MoveProposed", ["place 1"])
    branch = agree(stack, name)
    assert f"Moves to ca-qc-1 once {branch} is merged; runs on until then." in running.message
    job = end(stack, name)
    assert stack.changes(name) == ["place 1", "move 2", "remove 1", "place 2", "remove 2"]
    assert [start for start in stack.spokes.starts if start[0] == name] == [(name, 1, "no-osl-1"), (name, 2, "ca-qc-1")]
    assert (job.status.attempt, job.status.pauses) == (2, 1)


def test_a_move_that_gains_too_little_by_now_is_asked_about_no_longer(stack):
    now, name = stack.clock.now(), "fading"
    stack.clock.set(now.replace(minute=0, second=0, microsecond=0) + HOUR)
    stack.submit(name, duration="6h", schedule=PATIENT, review="required")
    agree(stack, name)
    stack.until(name, Phase.RUNNING, hours=1)
    stack.grid.becomes(QUEBEC, stack.clock.now().replace(minute=0), GRAMS[OSLO] / 2)
    seen = []
    for _ in range(4):
        stack.forward()
        seen.append(
            (condition(stack.job(name), "Running").reason, len(Branches(stack.connections.repository).read().branches))
        )
    assert seen == [("Training", 0), ("MoveProposed", 1), ("MoveProposed", 1), ("Training", 0)]
    end(stack, name)
    assert stack.changes(name) == ["place 1", "remove 1"]


@pytest.mark.soak
def test_a_swing_of_five_percent_moves_neither_what_runs_nor_what_waits(stack):
    now = stack.clock.now().replace(minute=0, second=0, microsecond=0)
    for hour in range(96):
        swing = 1.05 if hour % 2 else 0.95
        stack.grid.becomes(OSLO, now + hour * HOUR, 50 * swing)
        stack.grid.becomes(QUEBEC, now + hour * HOUR, 50 / swing)
    begin(stack, "steady", "10h", schedule=PATIENT | {"maxDelay": "0s"})
    where = stack.job("steady").status.cluster
    later = stack.clock.now() + 20 * HOUR
    stack.submit("waiting", duration="4h", schedule=PATIENT | {"earliestStart": f"{later:%Y-%m-%dT%H:%M:%SZ}"})
    promised = set()

    def note() -> None:
        status = stack.job("waiting").status
        promised.add((status.cluster, status.start))

    stack.until("steady", Phase.SUCCEEDED, hours=12, each=note)
    end(stack, "steady")
    assert stack.changes("steady") == ["place 1", "remove 1"]
    assert (stack.job("steady").status.cluster, stack.job("steady").status.pauses) == (where, 0)
    assert len(promised) == 1


def test_a_plan_in_two_parts_pauses_between_them_and_its_gpus_are_free_meanwhile(stack):
    now = stack.clock.now().replace(minute=0, second=0, microsecond=0)
    for hour, grams in enumerate([90, 40, 40, 90, 90, 40, 40, 90]):
        stack.grid.becomes(OSLO, now + hour * HOUR, grams)
    everything = {"resources": {"duration": "3h", "gpus": 1024}, "residency": IN_OSLO}
    stack.submit("parted", schedule=PATIENT, **everything)
    stack.until("parted", Phase.RUNNING, hours=3)
    stack.until("parted", Phase.PAUSED, hours=4)
    assert stack.clock.now() == now + 3 * HOUR
    short = everything | {"resources": {"duration": "1h", "gpus": 1024}}
    stack.submit("guest", schedule={"maxDelay": "0s"}, **short)
    assert stack.job("guest").status.phase is Phase.RUNNING
    job = end(stack, "parted")
    assert stack.changes("parted") == ["place 1", "suspend 1", "resume 1", "remove 1"]
    (line,) = stack.ledger("parted")
    assert line.end - line.start > 5 * HOUR
    assert job.status.actual.energy_kwh == pytest.approx(1024 * 0.4 * 3.5, rel=0.2)


def test_a_paused_job_goes_on_elsewhere_when_that_is_cleaner_later(stack):
    began = begin(stack, "wanderer", "6h")
    stack.grid.becomes(OSLO, began + HOUR, 90)
    stack.grid.becomes(QUEBEC, began, 80)
    stack.grid.becomes(QUEBEC, began + 4 * HOUR, 20)
    stack.until("wanderer", Phase.PAUSED)
    job = end(stack, "wanderer")
    assert stack.changes("wanderer") == ["place 1", "suspend 1", "remove 1", "place 2", "remove 2"]
    assert (job.status.cluster, job.status.attempt) == ("ca-qc-1", 2)
    assert stack.spokes.attempts[job.metadata.uid, 2].first_step > 0


def test_a_job_that_can_not_be_interrupted_is_left_alone(stack):
    began = begin(stack, "firm", schedule={"maxDelay": "24h"})
    stack.grid.becomes(OSLO, began, 90)
    stack.grid.becomes(OSLO, began + 6 * HOUR, GRAMS[OSLO])
    end(stack, "firm")
    assert stack.changes("firm") == ["place 1", "remove 1"]
