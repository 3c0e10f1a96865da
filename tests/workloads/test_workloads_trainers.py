"""Step losses are those of transformers' Trainer and of TRL on the same data, however samples are laid into rows."""

import csv
import json
import random
from pathlib import Path

import lora_runs as runs
import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
from workloads.lora.data import Order, load_data
from workloads.lora.model import load_base, with_adapter
from workloads.lora.settings import Settings, parse

STEPS = 8
ROLES = (("user", "prompt"), ("assistant", "response"))
PLAN = {"batch_size": 4, "gradient_accumulation": 3, "sequence_length": 256}
LAID_OUT = {
    "as they are": {},
    "packed": {"packing": True},
    "grouped": {"group_by_length": True},
    "grouped and packed": {"group_by_length": True, "packing": True},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """Questions and answers of one word to sixty, so that most of a batch would be padding."""
    draw, path = random.Random(5), tmp_path_factory.mktemp("trainers") / "data.jsonl"
    words = ["ant", "bear", "cat", "cow", "crow", "dog", "elk", "fox", "frog", "goat", "hare", "hen"]

    def text() -> str:
        return " ".join(draw.choices(words, k=min(60, int(draw.lognormvariate(2, 1)) + 1)))

    rows = [{"prompt": f"{number} {text()}", "response": text()} for number in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(path: Path, **training: bool) -> Settings:
    plan = runs.tiny(STEPS, training=PLAN | training, lora={"dropout": 0})
    return parse(json.dumps(plan | {"dataset": {"path": str(path)}}))


def our_losses(job: Settings, output: Path) -> list[float]:
    assert runs.train(job.model_dump_json(), output).process.exitcode == 0
    with (output / "loss.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]


def arguments(job: Settings, folder: Path) -> dict:
    plan = job.training
    return {
        "output_dir": str(folder),
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "warmup_steps": round(plan.warmup_ratio * STEPS),
        "max_steps": STEPS,
        "per_device_train_batch_size": plan.batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation,
        "train_sampling_strategy": "sequential",
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "seed": plan.seed,
    }


def learning(job: Settings):
    """The adapter as it begins, its tokenizer, and the examples that each step draws, one step after another."""
    torch.set_num_threads(1)
    base, tokenizer = load_base(job.model, job.training.seed, torch.device("cpu"))
    data = load_data(job, tokenizer, None)
    plan = job.training
    lengths = tuple(len(example.ids) for example in data.train)
    order = Order(lengths, plan.samples_per_step, plan.seed, plan.group_by_length)
    drawn = [data.train[number] for step in range(STEPS) for number in order.of_step(step)]
    return with_adapter(base, job, torch.device("cpu")), tokenizer, drawn


def losses_of(trainer: Trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("laid_out", LAID_OUT.values(), ids=LAID_OUT)
def test_every_step_has_the_loss_of_transformers_trainer(path, tmp_path, laid_out):
    job = settings(path, **laid_out)
    model, tokenizer, drawn = learning(job)
    rows = Dataset.from_list([{"input_ids": each.ids, "labels": each.labels} for each in drawn])
    trainer = Trainer(
        model,
        TrainingArguments(**arguments(job, tmp_path / "theirs")),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    assert our_losses(job, tmp_path / "ours") == pytest.approx(losses_of(trainer), abs=1e-4)


@pytest.mark.parametrize("laid_out", LAID_OUT.values(), ids=LAID_OUT)
def test_every_step_has_the_loss_of_trl_on_the_same_texts(path, tmp_path, laid_out):
    from trl import SFTConfig, SFTTrainer  # takes seconds to import

    job = settings(path, **laid_out)
    model, tokenizer, drawn = learning(job)
    chats = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        prompt, answer = ({"role": role, "content": row[key]} for role, key in ROLES)
        ids = tokenizer.apply_chat_template([prompt, answer], return_dict=False)
        chats[tuple(ids)] = {"prompt": [prompt], "completion": [answer]}
    trainer = SFTTrainer(
        model,
        SFTConfig(**arguments(job, tmp_path / "theirs"), completion_only_loss=True, max_length=256, bf16=False),
        train_dataset=Dataset.from_list([chats[tuple(each.ids)] for each in drawn]),
        processing_class=tokenizer,
    )
    assert our_losses(job, tmp_path / "ours") == pytest.approx(losses_of(trainer), abs=1e-4)
