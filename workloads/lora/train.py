"""Train a LoRA adapter: settings, model, data, what learns, where it was left, the loop.

LORA_CONFIG='{"model": "...", "dataset": {"name": "..."}}' LORA_OUTPUT=DIR python -m workloads.lora.train
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .failure import Failure, explain
from .lease import Lease
from .report import DONE, FAILURE, Report, encode, process_started, tell
from .settings import Job, Training, read_job
from .store import Store, open_store

if TYPE_CHECKING:  # slow to import: a wrong setting or a finished job answers without them
    import torch

    from .checkpoint import Run
    from .data import Data, Example
    from .distributed import World
    from .output import Output

GRADIENT_NORM = 1.0
DEFAULT_EPOCHS = 3.0


class Stop:
    """SIGTERM: ends the process at once while there is nothing to save; after that the loop looks at it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.heeded_by_loop = False

    @property
    def asked(self) -> bool:
        """Whether the signal came."""
        return self.event.is_set()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self.event.set()
        if not self.heeded_by_loop:
            raise Failure("Stopped", "asked to stop before the first step")


stop = Stop()


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the environment describes; return the exit code (the README lists them)."""
    parser = argparse.ArgumentParser(description="Train a LoRA adapter.")
    parser.add_argument(
        "--config", type=Path, help="settings as a JSON file (default: $LORA_CONFIG, the JSON itself)"
    )
    parser.add_argument("--output", help="path or fsspec URL that all attempts share (default: $LORA_OUTPUT)")
    parser.add_argument("--attempt", type=int, help="number of this attempt, from 1 (default: $LORA_ATTEMPT)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, stop.on_signal)
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
        report_failure(failure, store)
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


def report_failure(failure: Failure, store: Store | None) -> None:
    """Say why the run ended, on stderr and in the store; a fenced writer no longer writes there."""
    news = {"reason": failure.reason, "message": failure.message, "exit_code": failure.exit_code}
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

        train_on_ray(job, process_started(), stop)
    else:
        from .distributed import World

        train(job, World.alone(), process_started())


def train(job: Job, world: "World", started: float) -> None:
    """One worker's part; the first worker holds the lease and writes for all."""
    settings, plan = job.settings, job.settings.training
    store = open_store(job.output)
    lease = Lease.take(store, job.attempt, settings.digest) if world.leads else None

    warnings.filterwarnings("ignore", category=FutureWarning)  # the libraries talking to each other
    import torch
    from transformers import get_scheduler

    from .checkpoint import Run, newest_good, restore, rng_state, sweep
    from .data import load_data
    from .energy import open_meter
    from .model import load_base, with_adapter
    from .output import Output

    # The model, and the data in its words.
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
    meter = open_meter(world.device.type == "cuda")
    report = Report(job, run, total, started, meter.source)
    saved, report.warnings = world.lead(newest_good(store, lease) if lease else None)
    if saved is not None:
        restore(run, store, saved, world.rank)
        report.checkpoint = saved
    if lease is not None:
        sweep(store, lease)
        store.remove(FAILURE)

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


def loop(run: "Run", data: "Data", plan: Training, world: "World", output: "Output") -> None:
    """Steps to the end, with validations evenly between the first and the last."""
    import torch

    from .checkpoint import rng_state

    report, parameters = output.report, list(run.parameters().values())
    total = report.total_steps
    validate_at = {round(total * part / plan.validations) for part in range(plan.validations + 1)}
    while True:
        if run.step in validate_at and run.step not in run.validation_losses:
            run.validation_losses[run.step] = validation_loss(run, data, plan, world)
            output.tell(now=True)
        if run.step >= total:
            return
        began = time.monotonic()
        examples = data.of_step(run.step, plan.samples_per_step, plan.seed)
        loss = backward(run, examples, data.pad, plan, world)
        world.sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            where = f"step {run.step + 1}: loss {loss}, gradient norm {float(norm)}"
            raise Failure("NonFiniteLoss", f"{where}. Lower training.learning_rate, or look at the data")
        run.optimiser.step()
        run.scheduler.step()
        run.step += 1
        run.rng = rng_state()
        run.train_losses.append(loss)
        report.count(sum(len(e.ids) for e in examples), time.monotonic() - began)
        asked, due = world.sum([stop.asked, world.leads and output.due()])
        if asked:
            raise Failure("Stopped", f"asked to stop; saved after step {run.step} of {total}")
        if due:
            output.save(run, world)
        output.tell()


def backward(run: "Run", examples: list["Example"], pad: int, plan: Training, world: "World") -> float:
    """Gradients of one step; the loss is the mean over all response tokens of its micro-batches."""
    import torch

    from .data import batch

    run.model.train()
    run.optimiser.zero_grad()
    tokens, share, loss = sum(e.response_tokens for e in examples), plan.batch_size // world.size, 0.0
    for first in range(world.rank * share, len(examples), plan.batch_size):
        leave_if_asked(run, world)
        part = (
            token_losses(run.model, batch(examples[first : first + share], pad, world.device)).sum() / tokens
        )
        torch.autograd.backward(part)
        loss += part.item()
    return world.sum([loss])[0]


def validation_loss(run: "Run", data: "Data", plan: Training, world: "World") -> float:
    """Mean loss over the response tokens of all validation examples."""
    import torch

    from .data import batch

    run.model.eval()
    share, loss = max(1, plan.batch_size // world.size), 0.0
    with torch.no_grad():
        for first in range(world.rank * share, len(data.validation), share * world.size):
            leave_if_asked(run, world)
            rows = batch(data.validation[first : first + share], data.pad, world.device)
            loss += token_losses(run.model, rows).sum().item()
    return world.sum([loss])[0] / sum(e.response_tokens for e in data.validation)


def token_losses(model: Any, rows: dict[str, "torch.Tensor"]) -> "torch.Tensor":  # noqa: ANN401
    """Cross-entropy of each response token, in one row."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], use_cache=False).logits
    labels = rows["labels"][:, 1:]
    counted = labels >= 0
    return cross_entropy(logits[:, :-1][counted].float(), labels[counted], reduction="none")


def leave_if_asked(run: "Run", world: "World") -> None:
    """End a long step half-way; what it did is forgotten. Several workers stop together, after the step."""
    if stop.asked and world.size == 1:
        raise Failure("Stopped", f"asked to stop; saved after step {run.step}")


if __name__ == "__main__":
    sys.exit(main())
