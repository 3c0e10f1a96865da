"""Replays spread over processes: the same runs in the same order, whichever process made them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Final

from carbonfleet.simulator.grid import ReplayError
from carbonfleet.simulator.replay.fleet import ReplayedRun
from carbonfleet.simulator.replay.jobs import ReplayJob

Runs = tuple[ReplayedRun, ...]
Row = Callable[[Sequence[ReplayJob]], Runs]
"""How a row of the table runs the jobs of one scenario. It must not depend on what it ran before."""
Progress = Callable[[int, int], None]
"""Called at first and after each replay, with how many are done and how many there are."""


def cores() -> int:
    """How many processes this one may keep busy."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def replay_all(
    rows: Mapping[str, Row],
    scenarios: Sequence[Sequence[ReplayJob]],
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> dict[str, tuple[Runs, ...]]:
    """Each row's runs of each scenario, in their order. Raises ReplayError."""
    # The last rows are the planner's, which take longest: first in each scenario, they don't run alone at the end.
    tasks = [(name, index) for index in range(len(scenarios)) for name in reversed(list(rows))]
    progress(0, len(tasks))
    made = _in_processes if min(workers, len(tasks)) > 1 else _one_by_one
    found = made(rows, scenarios, tasks, min(workers, len(tasks)), progress)
    return {name: tuple(found[name, index] for index in range(len(scenarios))) for name in rows}


Tasks = Sequence[tuple[str, int]]
Found = dict[tuple[str, int], Runs]


def _one_by_one(
    rows: Mapping[str, Row], scenarios: Sequence[Sequence[ReplayJob]], tasks: Tasks, workers: int, progress: Progress
) -> Found:
    found = {}
    for name, index in tasks:
        found[name, index] = rows[name](scenarios[index])
        progress(len(found), len(tasks))
    return found


def _in_processes(
    rows: Mapping[str, Row], scenarios: Sequence[Sequence[ReplayJob]], tasks: Tasks, workers: int, progress: Progress
) -> Found:
    with _pool(rows, scenarios, workers) as pool:
        with _interrupts_held():
            futures: dict[Future[Runs], tuple[str, int]] = {pool.submit(_replay_one, *task): task for task in tasks}
        found = {}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            progress(len(found), len(tasks))
        return found


@contextmanager
def _pool(
    rows: Mapping[str, Row], scenarios: Sequence[Sequence[ReplayJob]], workers: int
) -> Iterator[ProcessPoolExecutor]:
    """Processes that know rows and scenarios; an error or Ctrl-C ends them in the middle of their work."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, initializer=_begin, initargs=(rows, scenarios))
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ReplayError(_LOST) from error
        raise
    pool.shutdown()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C while processes are forked is heard after it: what is raised in a handler of forks is swallowed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_LOST: Final = "a process of the replay was killed, perhaps for want of memory: take fewer (--workers 1)"
_work: "tuple[Mapping[str, Row], Sequence[Sequence[ReplayJob]]] | None" = None
"""What a process of the pool works on, given once for all its tasks."""


def _begin(rows: Mapping[str, Row], scenarios: Sequence[Sequence[ReplayJob]]) -> None:
    global _work
    _work = rows, scenarios
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends the others.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent leaves nobody behind who waits for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _replay_one(name: str, index: int) -> Runs:
    if _work is None:
        raise RuntimeError("the process was not told its work")
    rows, scenarios = _work
    return rows[name](scenarios[index])
