"""The loop: gradients, a step, now and then a validation and a checkpoint."""

import math
import time
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..data import Data, Example, batch
from ..failure import Failure
from ..settings import Training
from ..stop import stop
from .checkpoint import Run, rng_state
from .distributed import World
from .output import Output

GRADIENT_NORM = 1.0
STOPPED = "asked to stop; the last finished step is saved"


def loop(run: Run, data: Data, plan: Training, world: World, output: Output) -> None:
    """Steps to the end, with validations evenly between the first and the last."""
    report, parameters = output.report, list(run.parameters().values())
    total = report.total_steps
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
        examples = data.of_step(run.step, plan.samples_per_step, plan.seed)
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
    """Gradients of one step; the loss is the mean over all response tokens of its micro-batches."""
    run.model.train()
    run.optimiser.zero_grad()
    tokens, share, loss = sum(e.response_tokens for e in examples), plan.batch_size // world.size, 0.0
    for first in range(world.rank * share, len(examples), plan.batch_size):
        stop_if_asked(world)
        rows = batch(examples[first : first + share], pad, world.device)
        part = token_losses(run.model, rows).sum() / tokens
        torch.autograd.backward(part)
        loss += part.item()
    return world.sum([loss])[0]


def validation_loss(model: Any, data: Data, plan: Training, world: World) -> float:  # noqa: ANN401
    """Mean loss over the response tokens of all validation examples."""
    model.eval()
    share, loss = max(1, plan.batch_size // world.size), 0.0
    with torch.no_grad():
        for first in range(world.rank * share, len(data.validation), share * world.size):
            stop_if_asked(world)
            rows = batch(data.validation[first : first + share], data.pad, world.device)
            loss += token_losses(model, rows).sum().item()
    return world.sum([loss])[0] / sum(e.response_tokens for e in data.validation)


def token_losses(model: Any, rows: dict[str, torch.Tensor]) -> torch.Tensor:  # noqa: ANN401
    """Cross-entropy of each response token, in one row."""
    logits = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], use_cache=False).logits
    labels = rows["labels"][:, 1:]
    counted = labels >= 0
    return cross_entropy(logits[:, :-1][counted].float(), labels[counted], reduction="none")


def require_finite(when: str, loss: float, gradient_norm: float = 0.0) -> None:
    """Raise `NonFiniteLoss` before such a step can spoil the adapter."""
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        what = f"{when}: loss {loss}, gradient norm {gradient_norm}"
        raise Failure("NonFiniteLoss", f"{what}. Lower training.learning_rate, or look at the model and the data")


def stop_if_asked(world: World) -> None:
    """End a long step half-way; what it did is forgotten. Several workers stop together, after the step."""
    if stop.asked and world.size == 1:
        raise Failure("Stopped", STOPPED)
