"""One worker's part of a training, to be read from top to bottom: model, data, optimiser, checkpoint, loop, output."""

import math
import os
import warnings
from dataclasses import asdict

import torch
from transformers import get_scheduler

from ..data import expect_same_data, load_data
from ..failure import Failure
from ..model import (
    adapted_modules,
    compile_blocks,
    expect_answers_end,
    expect_possible,
    expect_tokens_fit,
    load_base,
    with_adapter,
)
from ..protocol import FAILURE, PROGRESS
from ..settings import Job
from ..stop import stop
from ..storage import Lease, Store
from .checkpoint import Run, newest_intact, remove_orphans, restore, rng_state
from .distributed import World
from .energy import Energy, Used, used_before
from .loop import loop
from .losses import expect_packing
from .output import Output
from .report import Report
from .tracking import Tracking

DEFAULT_EPOCHS = 3.0


def train(job: Job, world: World, store: Store, lease: Lease | None, started: float) -> None:
    """Train until the end or a `Failure`; the first worker holds the lease and writes for all.

    `started` is when the process began, in seconds since 1970.
    """
    settings, plan, energy = job.settings, job.settings.training, Energy.opened(world)
    warnings.filterwarnings("ignore", category=FutureWarning)  # the libraries talking to each other
    torch.set_num_threads(int(os.environ.get("LORA_THREADS", "1")))

    # The model, and the data as its tokens.
    expect_possible(plan, world.device)
    base, tokenizer = load_base(settings.model, plan.seed, world.device, settings.model_revision, plan.quantization)
    data = load_data(settings, tokenizer, world.lead(lease.record.started_at if lease else None))
    expect_same_data(world.gather(data.digest))
    expect_tokens_fit(base, data, plan.sequence_length)
    expect_answers_end(base, tokenizer)
    model = with_adapter(base, settings, world.device)
    if plan.packing:
        expect_packing(model, data, world.device)
    if plan.compile:
        compile_blocks(model)

    # What learns, and how fast.
    total = plan.steps or math.ceil((plan.epochs or DEFAULT_EPOCHS) * len(data.train) / plan.samples_per_step)
    optimiser = _optimiser(model, plan.learning_rate, fused=world.device.type == "cuda")
    scheduler = get_scheduler(plan.schedule, optimiser, round(plan.warmup_ratio * total), total)
    torch.manual_seed(plan.seed + world.rank)  # each worker drops out other weights
    run = Run(model, optimiser, scheduler, rng_state(), data.digest)

    # Where an earlier attempt left it.
    report = Report(job, run, total, started, asdict(data.counts), adapted_modules(model), energy)
    saved, skipped = world.lead(newest_intact(store, lease, data.digest) if lease else None)
    report.warnings = [*skipped, *data.warnings, *filter(None, [energy.device.fault])]
    if saved is not None:
        restore(run, store, saved, world.rank)
        report.checkpoint = saved
    if lease is not None:
        remove_orphans(store, lease)
        store.remove(FAILURE)
        progress = store.load(PROGRESS)
        energy.before = used_before(progress[0], job.attempt) if progress else Used()

    # The loop, and what it leaves.
    tracking = Tracking.opened(job) if lease is not None else None
    output, ended = Output(store, lease, report, settings.checkpoint, tracking), "FAILED"
    stop.heeded_by_loop = True
    try:
        loop(run, data, plan, world, output)
    except Failure as failure:
        if failure.reason == "Stopped":
            ended = "KILLED"
            output.save(run, world)
        raise
    else:
        output.finish(model, tokenizer)
        ended = "FINISHED"
    finally:
        energy.close()
        if tracking is not None:
            tracking.close(ended)


def _optimiser(model: torch.nn.Module, learning_rate: float, *, fused: bool) -> torch.optim.Optimizer:
    """AdamW on what learns, without weight decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=fused)
