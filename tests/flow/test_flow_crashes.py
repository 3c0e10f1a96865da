"""The hub killed with SIGKILL, at chosen steps and at random ones: one commit, one attempt, the same end."""

import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.hub.observe import FINALIZER
from fixtures.hub_process import HubStack, begin, clock_of, condition, open_hub_stack
from fixtures.kubeapi_server import eventually


@pytest.fixture(scope="module")
def stack(flow_api, tmp_path_factory) -> Iterator[HubStack]:
    """One stack whose hub is killed by test after test."""
    made = open_hub_stack(tmp_path_factory.mktemp("crashes"), flow_api, clock_of(flow_api))
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


@contextlib.contextmanager
def held_push(stack: HubStack, hook: str, change: str = "") -> Iterator[Path]:
    """Pushes wait in a server-side hook: before the branch moves (pre-receive) or after (post-receive).

    Only those with a `change` of that kind, where one is given. The file that is yielded appears when one waits; with
    a file `abort` beside it the server refuses in the end.
    """
    folder = Path(tempfile.mkdtemp(dir=stack.root))
    (folder / "block").touch()
    is_meant = f'read old new ref; git log --format=%B "$old..$new" | grep -q "^CTJ-Change: {change}" || exit 0'
    wait = f"touch {folder}/reached; while [ -e {folder}/block ]; do sleep 0.05; done; [ ! -e {folder}/abort ]"
    stack.git.hook(hook, f"{is_meant}; {wait}")
    try:
        yield folder / "reached"
    finally:
        stack.git.unhook(hook)
        (folder / "block").unlink(missing_ok=True)


def kill_and_restart(stack: HubStack) -> None:
    """What a crash and a kubelet do."""
    stack.hubs[0].kill()
    stack.hubs[0].start()


def test_killed_after_the_finalizer_and_before_the_push(stack):
    with held_push(stack, "pre-receive") as reached:
        stack.submit("before-push")
        eventually(reached.exists)
        assert FINALIZER in stack.body("before-push")["metadata"]["finalizers"]
        assert stack.placements("before-push") == []
        stack.hubs[0].kill()
        (reached.parent / "abort").touch()
    assert stack.phase("before-push") is Phase.PENDING
    stack.hubs[0].start()
    stack.wait("before-push", Phase.SUCCEEDED)
    stack.assert_run_once("before-push")


def test_killed_while_the_server_still_works_on_the_push(stack):
    with held_push(stack, "pre-receive") as reached:
        stack.submit("mid-push")
        eventually(reached.exists)
        stack.hubs[0].kill()
    stack.hubs[0].start()
    stack.wait("mid-push", Phase.SUCCEEDED)
    stack.assert_run_once("mid-push")


def test_killed_after_the_push_and_before_the_status(stack):
    with held_push(stack, "post-receive") as reached:
        stack.submit("after-push")
        eventually(reached.exists)
        assert stack.placements("after-push")
        assert stack.job("after-push").status.placement is None
        stack.hubs[0].kill()
    stack.hubs[0].start()
    job = stack.wait("after-push", Phase.SUCCEEDED)
    assert job.status.placement.attempt == 1
    stack.assert_run_once("after-push")


def test_killed_after_the_report_and_before_the_ledger(stack):
    stack.submit("before-ledger", "hold")
    stack.wait("before-ledger", Phase.RUNNING)
    ledger = sqlite3.connect(stack.state / "ledger.sqlite", timeout=10, isolation_level=None)
    ledger.execute("BEGIN IMMEDIATE")
    stack.spokes.finish("before-ledger")
    eventually(lambda: not stack.spokes.live("before-ledger"))
    time.sleep(0.3)  # the hub has heard, and waits for the ledger
    assert stack.phase("before-ledger") is Phase.RUNNING
    stack.hubs[0].kill()
    ledger.execute("ROLLBACK")
    ledger.close()
    assert stack.ledger("before-ledger") == []
    stack.hubs[0].start()
    stack.wait("before-ledger", Phase.SUCCEEDED)
    stack.assert_run_once("before-ledger")


def test_killed_after_the_status_and_before_the_removal(stack):
    stack.submit("before-removal", "hold")
    stack.wait("before-removal", Phase.RUNNING)
    with held_push(stack, "pre-receive") as reached:
        stack.spokes.finish("before-removal")
        stack.wait("before-removal", Phase.SUCCEEDED)
        eventually(reached.exists)
        stack.hubs[0].kill()
        (reached.parent / "abort").touch()
    assert stack.placements("before-removal")
    stack.hubs[0].start()
    eventually(lambda: not stack.placements("before-removal"))
    stack.assert_run_once("before-removal")
    assert stack.phase("before-removal") is Phase.SUCCEEDED


def test_killed_after_the_removal_of_a_stopped_attempt_and_before_the_next(stack):
    with held_push(stack, "post-receive", "remove") as reached:
        stack.submit("resumed", "stop-first")
        eventually(reached.exists)
        assert condition(stack.job("resumed"), "Running").reason == "Interrupted"
        assert stack.changes("resumed")[:2] == ["place 1", "remove 1"]
        stack.hubs[0].kill()
    stack.hubs[0].start()
    job = stack.wait("resumed", Phase.SUCCEEDED)
    assert job.status.attempt == 2
    eventually(lambda: stack.changes("resumed") == ["place 1", "remove 1", "place 2", "remove 2"])
    assert condition(job, "Committed").reason != "RevertedByHuman"
    assert stack.spokes.violations == []


@pytest.mark.parametrize("hook", ["pre-receive", "post-receive"])
def test_killed_while_a_job_that_fell_behind_leaves_git(stack, hook):
    """Before the push that its status announces is taken, and after that."""
    leader, behind = f"leads-{hook}", f"behind-{hook}"
    training = {"steps": 20, "validations": 10}
    workload = {"model": "acme/base", "dataset": {"name": "acme/instructions"}, "training": training}
    stopping = {"sweep": hook, "rungsPercent": [10], "eta": 3, "minimum": 1}

    def submit(name, loss):
        stack.spokes.losses[name] = {2: loss}
        stack.submit(name, "train", duration="24h", workload=workload, earlyStopping=stopping)

    submit(leader, 1.0)
    eventually(lambda: [rung.rank for rung in stack.job(leader).status.rungs] == [1])
    with held_push(stack, hook, "remove") as reached:
        submit(behind, 2.0)
        eventually(reached.exists)
        said = stack.job(behind).status
        assert [(rung.rank, rung.reached, rung.goes_on) for rung in said.rungs] == [(2, 2, False)]
        assert bool(stack.placements(behind)) == (hook == "pre-receive")
        stack.hubs[0].kill()
        (reached.parent / "abort").touch()
    stack.hubs[0].start()
    eventually(lambda: not stack.job(behind).metadata.finalizers)
    stack.assert_run_once(behind)
    stopped = stack.job(behind)
    assert (stopped.status.phase, condition(stopped, "Finished").reason) == (Phase.STOPPED_EARLY, "StoppedEarly")
    assert stopped.status.rungs == said.rungs
    assert stopped.status.last_good_checkpoint.step >= 2
    assert stack.job(leader).status.attempt == 1
    stack.delete(leader)
    stack.wait_gone(leader)


def kill_at_random(stack: HubStack, kills: int, seed: int) -> None:
    """Kill the hub at random moments while jobs of each kind are under way; all end as they should."""
    chance = random.Random(seed)
    behaviours = ("succeed", "stop-first", "fail", "refuse-first")
    names = []
    led = 0
    for kill in range(kills):
        name = f"chance-{seed}-{kill}"
        stack.submit(name, behaviours[kill % len(behaviours)])
        names.append((name, behaviours[kill % len(behaviours)]))
        if kill % 5 != 4:  # one in five is killed while it starts
            eventually(lambda led=led: stack.log().count("leading as") > led)
        time.sleep(chance.uniform(0, 0.8))
        led = stack.log().count("leading as")
        kill_and_restart(stack)
    for name, behaviour in names:
        stack.wait(name, Phase.FAILED if behaviour == "fail" else Phase.SUCCEEDED)
        twice = ["place 1", "remove 1", "place 2", "remove 2"]
        expected = twice if behaviour in ("stop-first", "refuse-first") else twice[:2]
        eventually(lambda name=name, expected=expected: stack.changes(name) == expected)
        assert len(stack.accounts(name)) == (2 if behaviour == "stop-first" else 1), name
    assert stack.spokes.violations == []
    assert len(stack.spokes.starts) == len(set(stack.spokes.starts))


def test_killed_at_random_moments(stack):
    kill_at_random(stack, kills=3, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_a_hundred_times(stack):
    kill_at_random(stack, kills=100, seed=7)
