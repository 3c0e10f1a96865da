"""Train a LoRA adapter: settings, model, data, what learns, where it was left, the loop.

LORA_CONFIG='{"model": "...", "dataset": {"name": "..."}}' LORA_OUTPUT=DIR python -m workloads.lora.train
"""

import argparse
import gc
import json
import math
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure, explain
from .lease import Lease
from .report import DONE, FAILURE, PROGRESS, Report, encode, process_started, tell
from .settings import Job, read_job
from .stop import stop
from .store import Store, open_store

if TYPE_CHECKING:  # slow to import: a wrong setting or a finished job answers without them
    from .distributed import World

DEFAULT_EPOCHS = 3.0


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
    try:
        job = read_job(given.config, given.output, given.attempt)
        store = open_store(job.output)
        if not is_finished(store, job):
            start(job)
    except BaseException as error:  # noqa: BLE001  # every end has a reason, a sentence and an exit code
        early = stop.asked and not stop.heeded_by_loop  # an import that was cut short says something else
        failure = Failure("Stopped", "asked to stop before the first step") if early else explain(error)
        if failure.reason == "Unexpected":
            sys.excepthook(type(error), error, error.__traceback__)
        report_failure(failure, job, store)
        return failure.exit_code
    return 0


def is_finished(store: Store, job: Job) -> bool:
    """Whether this output is complete already; raise `BadConfig` if it is another configuration's."""
    found = store.load(DONE)
    if found is None:
        return False
    if json.loads(found[0]).get("config_digest") != job.settings.digest:
        raise Failure("BadConfig", "this output holds another configuration's result; give each its own")
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
    tell("FAILURE", news)
    if store is None or failure.reason == "Fenced":
        return
    try:
        store.write(FAILURE, encode(news), durable=False)
    except Exception as error:  # noqa: BLE001  # the reason above is the news, not this
        print(f"{FAILURE} could not be written: {error}", file=sys.stderr, flush=True)


def start(job: Job) -> None:
    """Train in this process, or through Ray Train where more workers are asked for."""
    if job.settings.training.workers > 1:
        from .on_ray import train_on_ray

        train_on_ray(job, process_started())
    else:
        from .distributed import World

        train(job, World.alone(), process_started())


def train(job: Job, world: "World", started: float) -> None:
    """One worker's part; the first worker holds the lease and writes for all."""
    settings, plan = job.settings, job.settings.training
    store = open_store(job.output)
    lease = Lease.take(store, job.attempt, settings.digest) if world.leads else None

    warnings.filterwarnings("ignore", category=FutureWarning)  # the libraries talking to each other
    gc.disable()  # collecting between imports is a tenth of the time to the first step
    import torch
    from transformers import get_scheduler

    from .checkpoint import Run, newest_good, restore, rng_state, sweep
    from .data import load_data
    from .energy import energy_before, open_meter
    from .loop import loop
    from .model import load_base, with_adapter
    from .output import Output

    gc.freeze()
    gc.enable()

    # The model, and the data in its words.
    meter = open_meter(world.gpu_uuid, world.first_on_node)
    torch.set_num_threads(int(os.environ.get("LORA_THREADS", "1")))
    base, tokenizer = load_base(settings.model, plan.seed, world.device)
    data = load_data(settings, tokenizer)
    model = with_adapter(base, settings, world.device)

    # What learns, and how fast.
    total = plan.steps or math.ceil((plan.epochs or DEFAULT_EPOCHS) * len(data.train) / plan.samples_per_step)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=0.0)
    scheduler = get_scheduler(plan.schedule, optimiser, round(plan.warmup_ratio * total), total)
    torch.manual_seed(plan.seed + world.rank)  # each worker drops out other weights
    run = Run(model, optimiser, scheduler, rng_state())

    # Where an earlier attempt left it.
    report = Report(job, run, total, started, meter.source)
    saved, skipped = world.lead(newest_good(store, lease) if lease else None)
    report.warnings = [*skipped, *data.left_out]
    if saved is not None:
        restore(run, store, saved, world.rank)
        report.checkpoint = saved
    if lease is not None:
        sweep(store, lease)
        store.remove(FAILURE)
        progress = store.load(PROGRESS)
        report.energy_before_kwh = energy_before(progress[0], job.attempt) if progress else 0.0

    # The loop, and what it leaves.
    output = Output(store, lease, report, meter, settings.checkpoint)
    stop.heeded_by_loop = True
    try:
        loop(run, data, plan, world, output)
    except Failure as failure:
        if failure.reason == "Stopped":
            output.save(run, world)
        raise
    output.finish(model, tokenizer)


if __name__ == "__main__":
    sys.exit(main())
