"""How many tokens a second of CPU trains: this loop beside transformers' Trainer and TRL, on the same model and data.

One epoch each, of one thread, turn about in one process, so that a busy machine hurts all alike; counted are tokens of
samples, never padding. Answers are of lognormal length, as people's are. Trainer groups by length, TRL packs
(`bfd`, a row of the sequence length at a time, the faster way for it on a CPU); all validate with this loop's loss.

    python benchmarks/training_throughput.py [--runs 10] [--rows 600]
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client, which reads it then

import sys

sys.path.insert(0, str(Path(__file__).parents[1]))  # the workload lies beside the package, not in it

import torch
import transformers
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer
from workloads.lora.data import Data, load_data
from workloads.lora.model import load_base, with_adapter
from workloads.lora.settings import Job, Settings, parse
from workloads.lora.storage import Lease, open_store
from workloads.lora.training import World, train, validation_loss

CPU = torch.device("cpu")
WORDS = ("ant", "bear", "cat", "cow", "crow", "dog", "elk", "fox", "frog", "goat", "hare", "hen", "horse", "mole")


@dataclass(frozen=True)
class Result:
    tokens_per_cpu_second: float
    validation_loss: float


class Clock(TrainerCallback):
    """CPU seconds of a training, its setting up left out."""

    cpu_seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.cpu_seconds = -time.process_time()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.cpu_seconds += time.process_time()


def rows_of(count: int) -> str:
    draw = random.Random(3)

    def text(mean: float) -> str:
        return " ".join(draw.choices(WORDS, k=min(150, int(draw.lognormvariate(mean, 1)) + 1)))

    rows = [{"prompt": f"{number} {text(2.3)}", "response": text(3)} for number in range(count)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def settings(path: Path, **training: bool) -> Settings:
    plan = {"learning_rate": 2e-3, "epochs": 1, "batch_size": 8, "gradient_accumulation": 2, "sequence_length": 512}
    job = {
        "model": "carbonfleet/tiny-qwen2",
        "dataset": {"path": str(path)},
        "lora": {"rank": 8, "alpha": 16, "dropout": 0.1},
        "training": {**plan, "validations": 1, **training},
    }
    return parse(json.dumps(job))


def ours(path: Path, folder: Path, **training: bool) -> Result:
    job = Job(settings(path, **training), str(folder / "ours"), 1)
    store = open_store(job.output)
    with contextlib.redirect_stdout(None):
        train(job, World(), store, Lease.take(store, 1, job.settings.digest), time.time())
    found = json.loads(store.read("metrics.json"))
    per_cpu_second = found["tokens_per_second"] * found["step_seconds"] / found["step_cpu_seconds"]
    return Result(per_cpu_second, found["validation_loss"])


def arguments(plan: Any, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "theirs"),
        "num_train_epochs": 1,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "warmup_steps": plan.warmup_ratio,
        "weight_decay": 0.0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": plan.seed,
    }


def theirs(path: Path, folder: Path, make: Callable[..., Trainer]) -> Result:
    job, clock = settings(path), Clock()
    base, tokenizer = load_base(job.model, job.training.seed, CPU)
    data = load_data(job, tokenizer, datetime.now(UTC))
    trainer = make(with_adapter(base, job, CPU), tokenizer, data, job.training, folder)
    trainer.add_callback(clock)
    with contextlib.redirect_stdout(None):
        trainer.train()
    tokens = sum(len(example.ids) for example in data.train)
    return Result(tokens / clock.cpu_seconds, validation_loss(trainer.model, data, job.training, World()))


def examples(data: Data) -> Dataset:
    return Dataset.from_list([{"input_ids": each.ids, "labels": each.labels} for each in data.train])


def grouping_trainer(model: Any, tokenizer: Any, data: Data, plan: Any, folder: Path) -> Trainer:
    batch = {"per_device_train_batch_size": plan.batch_size, "gradient_accumulation_steps": plan.gradient_accumulation}
    grouped = TrainingArguments(train_sampling_strategy="group_by_length", **batch, **arguments(plan, folder))
    return Trainer(model, grouped, train_dataset=examples(data), data_collator=DataCollatorForSeq2Seq(tokenizer))


def packing_trl(model: Any, tokenizer: Any, data: Data, plan: Any, folder: Path) -> Trainer:
    """About as many samples in a step as the others have."""
    rows = sum(len(each.ids) for each in data.train) / plan.sequence_length
    row = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": max(1, round(rows * plan.samples_per_step / len(data.train))),
        "max_length": plan.sequence_length,
    }
    still = {"gradient_checkpointing": False, "bf16": False}
    packed = SFTConfig(packing=True, packing_strategy="bfd", **row, **still, **arguments(plan, folder))
    return SFTTrainer(model, packed, train_dataset=examples(data), processing_class=tokenizer)


CONTESTANTS: dict[str, Callable[[Path, Path], Result]] = {
    "ours": ours,
    "ours, grouped": lambda path, folder: ours(path, folder, group_by_length=True),
    "ours, packed": lambda path, folder: ours(path, folder, packing=True),
    "Trainer, grouped": lambda path, folder: theirs(path, folder, grouping_trainer),
    "TRL, packed": lambda path, folder: theirs(path, folder, packing_trl),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=600)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    found: dict[str, list[Result]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "data.jsonl"
        path.write_text(rows_of(given.rows))
        for number in range(given.runs):
            for name, run in CONTESTANTS.items():
                with tempfile.TemporaryDirectory() as folder:
                    found[name].append(run(path, Path(folder)))
            rates = (f"{name} {results[-1].tokens_per_cpu_second:.0f}" for name, results in found.items())
            print(f"run {number + 1}, tokens a CPU second: {'; '.join(rates)}", flush=True)
    report(found)


def report(found: dict[str, list[Result]]) -> None:
    def rates(name: str) -> list[float]:
        return [result.tokens_per_cpu_second for result in found[name]]

    for name, results in found.items():
        losses = [result.validation_loss for result in results]
        versus = [
            f"{statistics.median(a / b for a, b in zip(rates(name), rates(rival), strict=True)):.2f} of {rival}"
            for rival in ("Trainer, grouped", "TRL, packed")
        ]
        rate, low, high = statistics.median(rates(name)), min(rates(name)), max(rates(name))
        loss = f"validation loss {statistics.median(losses):.4f}"
        print(f"{name:17} {rate:6.0f} tokens a CPU second ({low:.0f} to {high:.0f}), {', '.join(versus)}; {loss}")


if __name__ == "__main__":
    main()
