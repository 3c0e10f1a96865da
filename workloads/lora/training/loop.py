"""The loop: gradients, a step, now and then a validation and a checkpoint."""

import math
import time
from collections.abc import Iterator
from typing import Any

import torch

from ..data import Batch, Data, Example, Order, batches
from ..failure import Failure
from ..settings import Training
from ..stop import stop
from .checkpoint import Run, rng_state
from .distributed import World
from .losses import token_losses
from .output import Output

GRADIENT_NORM = 1.0
STOPPED = "asked to stop; the last finished step is saved"


def loop(run: Run, data: Data, plan: Training, world: World, output: Output) -> None:
    """Steps to the end, with validations evenly between the first and the last."""
    report, parameters = output.report, list(run.parameters().values())
    total = report.total_steps
    lengths = tuple(len(example.ids) for example in data.train)
    order = Order(lengths, plan.samples_per_step, plan.seed, plan.group_by_length)
    validate_at = {round(total * part / plan.validations) for part in range(plan.validations + 1)}
    while True:
        if run.step in validate_at and run.step not in run.validation_losses:
            loss = validation_loss(run.model, data, plan, world)
            require_finite(f"validation after step {run.step}", loss)
            run.validation_losses[run.step] = loss
            report.energy.count(world)
            output.report_progress(now=True)
        if run.step >= total:
            return
        began, cpu_began = time.monotonic(), time.process_time()
        examples = [data.train[number] for number in order.of_step(run.step)]
        loss = backward(run, examples, data.pad, plan, world)
        world.sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        require_finite(f"step {run.step + 1}", loss, float(norm))
        run.optimiser.step()
        run.scheduler.step()
        run.step += 1
        run.rng = rng_state()
        run.train_losses.append(loss)
        run.response_tokens += sum(e.response_tokens for e in examples)
        tokens = sum(len(e.ids) for e in examples)
        report.count(tokens, time.monotonic() - began, time.process_time() - cpu_began)
        asked, due = world.sum([stop.asked, world.leads and output.due()])
        report.energy.count(world)
        if asked:
            raise Failure("Stopped", STOPPED)
        if due:
            output.save(run, world)
        output.report_progress()


def backward(run: Run, examples: list[Example], pad: int, plan: Training, world: World) -> float:
    """Gradients of one step; the loss is the mean over all response tokens of its samples, however they are batched."""
    run.model.train()
    run.optimiser.zero_grad()
    tokens, loss = sum(e.response_tokens for e in examples), torch.zeros((), device=world.device)
    for rows in own_batches(examples, pad, plan, world, packing=plan.packing):
        stop_if_asked(world)
        part = token_losses(run.model, rows).sum() / tokens
        torch.autograd.backward(part)
        loss += part.detach()
    return world.sum([loss.item()])[0]


def validation_loss(model: Any, data: Data, plan: Training, world: World) -> float:  # noqa: ANN401
    """Mean loss over the response tokens of all validation examples."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=world.device)
    with torch.no_grad():
        for rows in own_batches(data.validation, data.pad, plan, world):
            stop_if_asked(world)
            loss += token_losses(model, rows).sum()
    return world.sum([loss.item()])[0] / sum(e.response_tokens for e in data.validation)


def own_batches(
    examples: list[Example], pad: int, plan: Training, world: World, *, packing: bool = False
) -> Iterator[Batch]:
    """This worker's part of the examples: every so many by length, so that all workers have about as much to do."""
    own = sorted(examples, key=lambda example: -len(example.ids))[world.rank :: world.size]
    return batches(own, max(1, plan.batch_size // world.size), pad, world.device, packing=packing)


def require_finite(when: str, loss: float, gradient_norm: float = 0.0) -> None:
    """Raise `NonFiniteLoss` before such a step can spoil the adapter."""
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        what = f"{when}: loss {loss}, gradient norm {gradient_norm}"
        raise Failure("NonFiniteLoss", f"{what}. Lower training.learning_rate, or look at the model and the data")


def stop_if_asked(world: World) -> None:
    """End a long step half-way; what it did is forgotten. Several workers stop together, after the step."""
    if stop.asked and world.size == 1:
        raise Failure("Stopped", STOPPED)
