"""Train a LoRA adapter: read the settings, see whether it is done already, train, and say how it ended.

LORA_CONFIG='{"model": "...", "dataset": {"name": "..."}}' LORA_OUTPUT=DIR python -m workloads.lora.train

What slow libraries are needed for is in `training`, which `launch` imports: a wrong setting or a finished job answers
without them.
"""

import argparse
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path

from .failure import Failure, explain
from .protocol import DONE, FAILURE, encode, print_line
from .settings import Job, read_job
from .stop import stop
from .storage import KeptLog, Lease, Store, open_store


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the environment describes; return the exit code (the README lists them)."""
    parser = argparse.ArgumentParser(description="Train a LoRA adapter.")
    parser.add_argument("--config", type=Path, help="settings as a JSON file (default: $LORA_CONFIG, the JSON itself)")
    parser.add_argument("--output", help="path or fsspec URL that all attempts share (default: $LORA_OUTPUT)")
    parser.add_argument("--attempt", type=int, help="number of this attempt, from 1 (default: $LORA_ATTEMPT)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, stop.on_signal)
    job: Job | None = None
    store: Store | None = None
    log: KeptLog | None = None
    try:
        job = read_job(given.config, given.output, given.attempt)
        log = KeptLog.begin(job.output, job.attempt)
        store = open_store(job.output)
        if not is_finished(store, job):
            launch(job, store)
    except BaseException as error:  # noqa: BLE001  # every end has a reason, a sentence and an exit code
        early = stop.asked and not stop.heeded_by_loop  # an import that was cut short says something else
        failure = Failure("Stopped", "asked to stop before the first step") if early else explain(error)
        if failure.reason == "Unexpected":
            sys.excepthook(type(error), error, error.__traceback__)
        report_failure(failure, job, store)
        return failure.exit_code
    finally:
        if log is not None:
            log.end()
    return 0


def is_finished(store: Store, job: Job) -> bool:
    """Whether this output is complete already; raise `BadConfig` if it is another configuration's, or of other data."""
    found = store.load(DONE)
    if found is None:
        return False
    done, settings = json.loads(found[0]), job.settings
    if done.get("config_digest") != settings.digest:
        raise Failure("BadConfig", "this output holds another configuration's result; give each its own")
    from .data import data_digest

    try:
        same = data_digest(settings.dataset, settings.training.seed) == done.get("data_digest")
    except Failure as failure:
        print(f"finished already; whether its data are still the same cannot be seen: {failure.message}", flush=True)
        return True
    if not same:
        raise Failure("BadConfig", "this output holds the result of other data than are there now; give each its own")
    print("finished already", flush=True)
    return True


def report_failure(failure: Failure, job: Job | None, store: Store | None) -> None:
    """Say why the run ended, on stderr and in the store; a fenced writer no longer writes there."""
    news = {
        "reason": failure.reason,
        "message": failure.message,
        "exit_code": failure.exit_code,
        "attempt": job.attempt if job else None,
    }
    print(failure, file=sys.stderr, flush=True)
    print_line("FAILURE", news)
    if store is None or failure.reason == "Fenced":
        return
    try:
        store.write(FAILURE, encode(news), durable=False)
    except Exception as error:  # noqa: BLE001  # the reason above is the news, not this
        print(f"{FAILURE} could not be written: {error}", file=sys.stderr, flush=True)


def launch(job: Job, store: Store) -> None:
    """Train in this process, or through Ray Train where more workers are asked for."""
    if job.settings.training.workers > 1:
        from .on_ray import train_on_ray

        train_on_ray(job, process_started())
        return
    lease = Lease.take(store, job.attempt, job.settings.digest)  # at once, for whoever is overtaken stops at once
    gc.disable()  # collecting between imports is a tenth of the time to the first step
    from .training import World, train

    gc.freeze()
    gc.enable()
    train(job, World.alone(), store, lease, process_started())


def process_started() -> float:
    """When this process began, in seconds since 1970: before its first import, so the kernel must say."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # proc(5), field 22
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
