"""Loss curves of the example's 21 configurations, trained on the tiny model, and the file that keeps them.

python tests/sweep/real_curves.py SEED [SEED...] trains these seeds and adds them to the file.
"""

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("loss_curves.json")
SEEDS = range(20)
STEPS, VALIDATIONS = 20, 10
RATE_SCALE = 20
"""The tiny model learns from random weights, in 20 steps: its rates are so much higher than the example's."""

Curve = dict[int, float]
"""Validation loss by step."""
Values = tuple[int, float, float, float]
"""Rank, alpha, the example's learning rate, dropout."""


def configurations() -> dict[str, Values]:
    """The example's, by the names of its jobs, in its order."""
    from carbonfleet.sweep import generate, read_sweep

    found = {}
    for job in generate(read_sweep(ROOT / "workloads" / "sweep" / "qwen-coder.yaml")):
        lora, rate = job.spec.workload.lora, job.spec.workload.training.learning_rate
        found[job.metadata.name.removeprefix("qwen-coder-")] = lora.rank, lora.alpha, rate, lora.dropout
    return found


def trained(seed: int, names: Iterable[str], last_step: int = STEPS) -> dict[str, Curve]:
    """The curves of some configurations: the training's own model, data, gradients and validation, in this process."""
    import torch
    from transformers import get_scheduler

    sys.path.insert(0, str(ROOT))
    from workloads.lora.data import Order, load_data
    from workloads.lora.model import load_base, with_adapter
    from workloads.lora.settings import Settings
    from workloads.lora.training.checkpoint import Run, rng_state
    from workloads.lora.training.distributed import World
    from workloads.lora.training.loop import backward, validation_loss

    torch.set_num_threads(1)
    known, world, curves = configurations(), World(), {}
    for name in names:
        rank, alpha, rate, dropout = known[name]
        settings = Settings.model_validate(
            {
                "model": "carbonfleet/tiny-qwen2",
                "dataset": {"name": "carbonfleet/tiny-instructions", "samples": 120},
                "lora": {"rank": rank, "alpha": alpha, "dropout": dropout},
                "training": {
                    "learning_rate": RATE_SCALE * rate,
                    "steps": STEPS,
                    "validations": VALIDATIONS,
                    "batch_size": 4,
                    "sequence_length": 64,
                    "seed": seed,
                },
            }
        )
        plan = settings.training
        base, tokenizer = load_base(settings.model, seed, world.device, None)
        data = load_data(settings, tokenizer, datetime(2026, 1, 1, tzinfo=UTC))
        whole = plan.model_copy(update={"batch_size": len(data.validation)})
        model = with_adapter(base, settings, world.device)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=0.0)
        scheduler = get_scheduler(plan.schedule, optimiser, round(plan.warmup_ratio * STEPS), STEPS)
        torch.manual_seed(seed)
        order = Order(tuple(len(one.ids) for one in data.train), plan.samples_per_step, seed)
        run, curve = Run(model, optimiser, scheduler, rng_state(), data.digest), {}
        for step in range(last_step + 1):
            if step % (STEPS // VALIDATIONS) == 0:
                curve[step] = round(validation_loss(model, data, whole, world), 4)
            if step < last_step:
                backward(run, [data.train[number] for number in order.of_step(step)], data.pad, plan, world)
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                scheduler.step()
        curves[name] = curve
    return curves


def kept() -> dict[int, dict[str, Curve]]:
    """What was trained before: by seed and configuration."""
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    step = STEPS // VALIDATIONS
    return {
        int(seed): {
            name: {number * step: loss for number, loss in enumerate(losses)} for name, losses in curves.items()
        }
        for seed, curves in found.items()
    }


def keep(seed: int, curves: dict[str, Curve]) -> None:
    """Add a seed's curves to the file."""
    plain = {number: {name: list(curve.values()) for name, curve in of.items()} for number, of in kept().items()}
    plain[seed] = {name: list(curve.values()) for name, curve in curves.items()}
    rows = (
        f'"{number}": {{\n' + ",\n".join(f'  "{name}": {losses}' for name, losses in plain[number].items()) + "\n}"
        for number in sorted(plain)
    )
    KEPT.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    for each in map(int, sys.argv[1:]):
        keep(each, trained(each, configurations()))
        print(f"seed {each} trained", flush=True)
