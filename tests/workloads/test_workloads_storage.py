"""All attempts of a job share an output; the lease lets only the newest of them write there."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lora_runs as runs
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from workloads.lora.failure import Failure
from workloads.lora.storage import Lease, SavedCheckpoint, Store, open_store

from fixtures.s3_server import serving


@pytest.fixture(scope="module")
def s3():
    with pytest.MonkeyPatch.context() as environment:
        yield from serving(DomainDispatcherApplication(create_backend_app), environment)


@pytest.fixture
def careless_s3():
    """A store that ignores the conditions of a write, as some do."""
    moto = DomainDispatcherApplication(create_backend_app)

    def application(request: dict[str, Any], respond: Any) -> Any:
        kept = {k: v for k, v in request.items() if k not in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")}
        return moto(kept, respond)

    with pytest.MonkeyPatch.context() as environment:
        yield from serving(application, environment)


@pytest.fixture(params=["local", "s3"])
def output(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def saved(step: int) -> SavedCheckpoint:
    return SavedCheckpoint(step=step, attempt=1, sha256="0" * 64, size_bytes=1)


def writes(output: str, attempt: int, barrier: threading.Barrier) -> str:
    """Take the lease at the same moment as the other, then write once both had their chance."""
    try:
        store = open_store(output)
        barrier.wait(120)
        try:
            lease = Lease.take(store, attempt, "digest")
        finally:
            barrier.wait(120)
        lease.commit(saved(attempt), keep=9)
    except Failure as failure:
        return failure.reason
    return "wrote"


def race(output: str, first: int, second: int) -> list[str]:
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda attempt: writes(output, attempt, barrier), (first, second)))


@pytest.mark.parametrize("number", range(3))
def test_of_two_attempts_that_race_only_the_higher_writes(number, output):
    assert race(output, 1, 2) == ["Fenced", "wrote"]
    assert [s.step for s in Lease.take(open_store(output), 3, "digest").record.checkpoints] == [2]


@pytest.mark.parametrize("number", range(3))
def test_of_two_writers_with_the_same_number_one_wins(number, output):
    assert sorted(race(output, 1, 1)) == ["Fenced", "wrote"]


def test_an_attempt_that_was_overtaken_can_no_longer_write(output):
    store = open_store(output)
    old = Lease.take(store, 1, "digest")
    old.commit(saved(1), keep=2)
    new = Lease.take(store, 2, "digest")
    for act in (old.hold, lambda: old.commit(saved(2), keep=2)):
        with pytest.raises(Failure, match="Fenced: attempt 1 is overtaken: attempt 2"):
            act()
    new.commit(saved(3), keep=2)
    assert [s.step for s in new.record.checkpoints] == [3, 1]


def test_a_lower_attempt_cannot_take_the_lease(output):
    store = open_store(output)
    Lease.take(store, 2, "digest")
    with pytest.raises(Failure, match="Fenced"):
        Lease.take(store, 1, "digest")


def test_a_restarted_process_takes_over_its_own_attempt(output):
    store = open_store(output)
    old = Lease.take(store, 1, "digest")
    Lease.take(store, 1, "digest").commit(saved(1), keep=2)
    with pytest.raises(Failure, match="Fenced"):
        old.hold()


class Deaf:
    """A store whose answer to the next compare-and-swap is lost, and which the client therefore asks again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def compare_and_swap(self, name: str, data: bytes, version: str | None) -> str:
        self._store.compare_and_swap(name, data, version)
        return self._store.compare_and_swap(name, data, version)


def test_a_write_whose_answer_was_lost_is_recognised_as_ours(output):
    store = open_store(output)
    taken = Lease.take(store, 1, "digest")
    lease = Lease(Deaf(store), taken.record, store.load("LEASE")[1])
    lease.commit(saved(1), keep=2)
    lease.commit(saved(2), keep=2)
    assert [s.step for s in Lease.take(store, 2, "digest").record.checkpoints] == [2, 1]


def test_a_store_that_ignores_conditions_is_refused_at_start(careless_s3):
    run = runs.train(runs.tiny(), f"{careless_s3}/job")
    assert (run.process.exitcode, run.failure["reason"]) == (2, "BadConfig")
    assert "ignores conditional writes" in run.failure["message"]


def test_a_bucket_that_is_not_there_is_noticed_at_start(s3):
    run = runs.train(runs.tiny(), "s3://no-such-bucket/job")
    assert (run.process.exitcode, run.failure["reason"]) == (16, "StoreUnavailable")
    assert "s3://no-such-bucket" in run.failure["message"]


def test_a_running_attempt_stops_when_a_higher_one_starts(tmp_path):
    old = runs.start(runs.tiny(steps=2000), tmp_path)
    old.reach(5)
    new = runs.start(runs.tiny(steps=2000), tmp_path, attempt=2)
    assert old.wait() == 42
    assert old.failure["reason"] == "Fenced"
    assert not (tmp_path / "failure.json").exists()
    assert new.reach(5)["attempt"] == 2
    new.signal(signal.SIGTERM)
    assert new.wait() == 143
    assert runs.lease(tmp_path)["attempt"] == 2


def test_a_run_on_s3_is_stopped_and_resumed_like_one_on_disk(s3, tmp_path):
    settings = runs.tiny(steps=6, checkpoint={"every_steps": 2})
    run = runs.start(settings, f"{s3}/resumed", halt=(3,))
    run.reach(3)
    run.signal(signal.SIGTERM)
    assert run.wait() == 143
    again = runs.train(settings, f"{s3}/resumed", 2)
    assert again.process.exitcode == 0, again.text
    assert again.progress[0]["checkpoint"]["step"] >= 3
    runs.train(settings, tmp_path)
    assert open_store(f"{s3}/resumed").read("loss.csv") == (Path(tmp_path) / "loss.csv").read_bytes()
    assert json.loads(open_store(f"{s3}/resumed").read("DONE"))["attempt"] == 2
