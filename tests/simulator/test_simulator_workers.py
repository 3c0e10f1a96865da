"""Replays spread over processes: equal results, clear errors, and nobody left behind."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from carbonfleet.simulator.backtest import Backtest, run_backtest
from carbonfleet.simulator.grid import ReplayError
from carbonfleet.simulator.replay import ReplayedRun, ReplayJob, every_hour, pools_of, replay, replay_all, sweep
from carbonfleet.simulator.replay.loop import Moment
from carbonfleet.simulator.replay.workers import Runs
from fixtures.made_grids import made_grid, write_long

FIRST = 28 * 24


def test_two_processes_give_what_one_gives_in_the_same_order(grid):
    jobs = tuple(replace(job, minutes=60) for job in sweep(grid.moment(FIRST))[:6])
    later = tuple(replace(job, submitted=grid.moment(FIRST + 30)) for job in jobs)
    backtest = Backtest(grid, (jobs, later), pools_of(grid.zones, 2), grid.zones[0])
    told: list[tuple[int, int]] = []
    one = run_backtest(backtest)
    two = run_backtest(backtest, workers=2, progress=lambda done, total: told.append((done, total)))
    assert one == two
    assert list(one.scenarios) == list(two.scenarios)
    assert told == [(done, 18) for done in range(19)]


def refuse(jobs: Sequence[ReplayJob]) -> Runs:
    raise ReplayError(f"{jobs[0].name} is too wide")


def die(jobs: Sequence[ReplayJob]) -> Runs:
    os.kill(os.getpid(), signal.SIGKILL)
    return ()


@pytest.mark.parametrize(("row", "words"), [(refuse, "too wide"), (die, "--workers 1")])
def test_what_goes_wrong_in_a_process_is_said_in_this_one(grid, row, words):
    jobs = every_hour(grid.moment(FIRST), 1, 1, 0)
    with pytest.raises(ReplayError, match=words):
        replay_all({"one": row, "other": row}, [jobs, jobs], workers=2)


def test_a_policy_is_not_asked_while_no_waiting_job_fits(grid):
    asked = []

    class AtOnce:
        name = "at once"

        def starts(self, moment: Moment) -> list[ReplayedRun]:
            asked.append(moment.slot - FIRST)
            runs = [moment.start(job, moment.pools[0]) for job in moment.waiting]
            return [run for run in runs if run is not None]

    jobs = [
        ReplayJob(name, grid.moment(FIRST), 180, grid.moment(9) - grid.moment(0), gpus)
        for name, gpus in (("a", 3), ("b", 2))
    ]
    runs = replay(grid, jobs, AtOnce(), pools_of(grid.zones[:1], 4))
    assert [grid.slot(run.begin) - FIRST for run in runs] == [0, 3]
    assert asked == [0, 3]


@pytest.fixture
def long_backtest(tmp_path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A backtest in two processes, in a session of its own, and the terminal that it writes to."""
    trace = write_long(made_grid(zones=3, days=90), tmp_path / "trace.csv")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "carbonfleet", "backtest", "--trace", str(trace), "--zones", "XA,XB,XC"]
    options = ["--gpus", "4", "--hours", "2", "--slack", "3", "--workers", "2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen([*command, *options], stdout=theirs, stderr=theirs, start_new_session=True)
    yield process, ours
    process.kill()
    process.wait(180)
    os.close(theirs)  # not before: a terminal that nobody has open can't be read either
    os.close(ours)


def read_until(terminal: int, words: str) -> str:
    shown = ""
    while words not in shown:
        assert select.select([terminal], [], [], 180)[0], f"no {words!r} in {shown!r}"
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_an_interrupted_backtest_ends_at_once_with_all_its_processes(long_backtest, tmp_path):
    process, terminal = long_backtest
    read_until(terminal, " of 9 replays")
    process.send_signal(signal.SIGINT)
    shown = read_until(terminal, "interrupted: nothing was written")
    assert process.wait(180) == 130
    assert has_ended(process.pid)
    assert "Traceback" not in shown
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_backtest_leaves_no_process_behind(long_backtest):
    process, terminal = long_backtest
    read_until(terminal, " of 9 replays")
    process.kill()
    process.wait(180)
    assert has_ended(process.pid)


def has_ended(group: int) -> bool:
    """Whether a process group is gone, within three minutes."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
