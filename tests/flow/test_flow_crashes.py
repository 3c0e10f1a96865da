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
from carbonfleet.hub.observe.job_state import FINALIZER
from fixtures.hub_process import House, begin, clock_of, condition, open_house
from fixtures.kubeapi_server import eventually


@pytest.fixture(scope="module")
def house(flow_api, tmp_path_factory) -> Iterator[House]:
    """One house whose hub is killed by test after test."""
    made = open_house(tmp_path_factory.mktemp("crashes"), flow_api, clock_of(flow_api))
    try:
        begin(made)
        yield made
    finally:
        made.close()
        made.git.stop()


@contextlib.contextmanager
def held_push(house: House, hook: str, change: str = "") -> Iterator[Path]:
    """Pushes wait in a server-side hook: before the branch moves (pre-receive) or after (post-receive).

    Only those with a `change` of that kind, where one is given. The file that is yielded appears when one waits; with
    a file `abort` beside it the server refuses in the end.
    """
    folder = Path(tempfile.mkdtemp(dir=house.root))
    (folder / "block").touch()
    is_meant = f'read old new ref; git log --format=%B "$old..$new" | grep -q "^CTJ-Change: {change}" || exit 0'
    wait = f"touch {folder}/reached; while [ -e {folder}/block ]; do sleep 0.05; done; [ ! -e {folder}/abort ]"
    house.git.hook(hook, f"{is_meant}; {wait}")
    try:
        yield folder / "reached"
    finally:
        house.git.unhook(hook)
        (folder / "block").unlink(missing_ok=True)


def kill_and_restart(house: House) -> None:
    """What a crash and a kubelet do."""
    house.hubs[0].kill()
    house.hubs[0].start()


def test_killed_after_the_finalizer_and_before_the_push(house):
    with held_push(house, "pre-receive") as reached:
        house.submit("before-push")
        eventually(reached.exists)
        assert FINALIZER in house.body("before-push")["metadata"]["finalizers"]
        assert house.placements("before-push") == []
        house.hubs[0].kill()
        (reached.parent / "abort").touch()
    assert house.phase("before-push") is Phase.PENDING
    house.hubs[0].start()
    house.wait("before-push", Phase.SUCCEEDED)
    house.assert_run_once("before-push")


def test_killed_while_the_server_still_works_on_the_push(house):
    with held_push(house, "pre-receive") as reached:
        house.submit("mid-push")
        eventually(reached.exists)
        house.hubs[0].kill()
    house.hubs[0].start()
    house.wait("mid-push", Phase.SUCCEEDED)
    house.assert_run_once("mid-push")


def test_killed_after_the_push_and_before_the_status(house):
    with held_push(house, "post-receive") as reached:
        house.submit("after-push")
        eventually(reached.exists)
        assert house.placements("after-push")
        assert house.job("after-push").status.placement is None
        house.hubs[0].kill()
    house.hubs[0].start()
    job = house.wait("after-push", Phase.SUCCEEDED)
    assert job.status.placement.attempt == 1
    house.assert_run_once("after-push")


def test_killed_after_the_report_and_before_the_ledger(house):
    house.submit("before-ledger", "hold")
    house.wait("before-ledger", Phase.RUNNING)
    ledger = sqlite3.connect(house.state / "ledger.sqlite", timeout=10, isolation_level=None)
    ledger.execute("BEGIN IMMEDIATE")
    house.spokes.finish("before-ledger")
    eventually(lambda: not house.spokes.live("before-ledger"))
    time.sleep(0.3)  # the hub has heard, and waits for the ledger
    assert house.phase("before-ledger") is Phase.RUNNING
    house.hubs[0].kill()
    ledger.execute("ROLLBACK")
    ledger.close()
    assert house.ledger("before-ledger") == []
    house.hubs[0].start()
    house.wait("before-ledger", Phase.SUCCEEDED)
    house.assert_run_once("before-ledger")


def test_killed_after_the_status_and_before_the_removal(house):
    house.submit("before-removal", "hold")
    house.wait("before-removal", Phase.RUNNING)
    with held_push(house, "pre-receive") as reached:
        house.spokes.finish("before-removal")
        house.wait("before-removal", Phase.SUCCEEDED)
        eventually(reached.exists)
        house.hubs[0].kill()
        (reached.parent / "abort").touch()
    assert house.placements("before-removal")
    house.hubs[0].start()
    eventually(lambda: not house.placements("before-removal"))
    house.assert_run_once("before-removal")
    assert house.phase("before-removal") is Phase.SUCCEEDED


def test_killed_after_the_removal_of_a_stopped_attempt_and_before_the_next(house):
    with held_push(house, "post-receive", "remove") as reached:
        house.submit("resumed", "stop-first")
        eventually(reached.exists)
        assert condition(house.job("resumed"), "Running").reason == "Interrupted"
        assert house.changes("resumed")[:2] == ["place 1", "remove 1"]
        house.hubs[0].kill()
    house.hubs[0].start()
    job = house.wait("resumed", Phase.SUCCEEDED)
    assert job.status.attempt == 2
    eventually(lambda: house.changes("resumed") == ["place 1", "remove 1", "place 2", "remove 2"])
    assert condition(job, "Committed").reason != "RevertedByHuman"
    assert house.spokes.violations == []


def kill_at_random(house: House, kills: int, seed: int) -> None:
    """Kill the hub at random moments while jobs of each kind are under way; all end as they should."""
    chance = random.Random(seed)
    plays = ("succeed", "stop-first", "fail", "refuse-first")
    names = []
    led = 0
    for kill in range(kills):
        name = f"chance-{seed}-{kill}"
        house.submit(name, plays[kill % len(plays)])
        names.append((name, plays[kill % len(plays)]))
        if kill % 5 != 4:  # one in five is killed while it starts
            eventually(lambda led=led: house.log().count("leading as") > led)
        time.sleep(chance.uniform(0, 0.8))
        led = house.log().count("leading as")
        kill_and_restart(house)
    for name, play in names:
        house.wait(name, Phase.FAILED if play == "fail" else Phase.SUCCEEDED)
        twice = ["place 1", "remove 1", "place 2", "remove 2"]
        expected = twice if play in ("stop-first", "refuse-first") else twice[:2]
        eventually(lambda name=name, expected=expected: house.changes(name) == expected)
        assert len(house.accounts(name)) == (2 if play == "stop-first" else 1), name
    assert house.spokes.violations == []
    assert len(house.spokes.starts) == len(set(house.spokes.starts))


def test_killed_at_random_moments(house):
    kill_at_random(house, kills=3, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_a_hundred_times(house):
    kill_at_random(house, kills=100, seed=7)
