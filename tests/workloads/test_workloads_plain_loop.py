"""Step losses are those of a plain loop with transformers and PEFT on the same chats."""

import csv
import json

import lora_runs as runs
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler
from workloads.lora.data.order import Order, shuffled
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer

SEED, STEPS, BATCH = 42, 8, 4
TURNS = [
    [("user", f"What is {i}?"), ("assistant", f"{i} is a number."), ("user", f"Plus {i}?"), ("assistant", f"{i + i}.")]
    for i in range(30)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    tiny_model(0).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"messages": [{"role": role, "content": said} for role, said in turns]} for turns in TURNS]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = runs.tiny(STEPS, training={"batch_size": BATCH, "sequence_length": 256}, lora={"dropout": 0})
    settings |= {"model": str(folder / "model"), "dataset": {"path": str(folder / "data.jsonl")}}
    run = runs.train(settings, folder / "job")
    assert run.process.exitcode == 0, run.text
    return folder


def labelled(tokenizer, turns) -> tuple[torch.Tensor, torch.Tensor]:
    """The chat's tokens, and as labels those that follow `assistant` up to the end of its turn."""
    messages = [{"role": role, "content": said} for role, said in turns]
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    labels = [-100] * len(ids)
    text, learned = "", []
    for role, said in turns:
        text += f"<|im_start|>{role}\n"
        learned.append((len(text), len(text) + len(said) + len("<|im_end|>\n"), role == "assistant"))
        text += f"{said}<|im_end|>\n"
    offsets = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    assert len(offsets) == len(ids)
    for position, (start, _) in enumerate(offsets):
        if any(first <= start < last and counts for first, last, counts in learned):
            labels[position] = ids[position]
    return torch.tensor([ids]), torch.tensor([labels])


def held_back() -> set[int]:
    """The rows of the validation part, by the prompts' order as text."""
    prompts = sorted(
        json.dumps([None, *({"role": r, "trained": None, "content": s} for r, s in turns[:-1])]) for turns in TURNS
    )
    chosen = {prompts[i] for i in shuffled(len(prompts), SEED, 1)[: len(prompts) // 5]}
    texts = [
        json.dumps([None, *({"role": r, "trained": None, "content": s} for r, s in turns[:-1])]) for turns in TURNS
    ]
    return {number for number, text in enumerate(texts) if text in chosen}


def plain_losses(folder) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    torch.manual_seed(SEED)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear")
    model = get_peft_model(base, config).train()
    chats = [TURNS[i] for i in shuffled(len(TURNS), SEED, 0) if i not in held_back()]
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
    scheduler = get_scheduler("cosine", optimiser, round(0.03 * STEPS), STEPS)
    losses = []
    for step in range(STEPS):
        found = [labelled(tokenizer, chats[i]) for i in Order((1,) * len(chats), BATCH, SEED).of_step(step)]
        count = sum(int((labels[:, 1:] >= 0).sum()) for _, labels in found)
        optimiser.zero_grad()
        total = 0.0
        for ids, labels in found:  # one chat at a time, without padding
            loss = model(input_ids=ids, labels=labels).loss * int((labels[:, 1:] >= 0).sum()) / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        losses.append(total)
    return losses


def test_every_step_has_the_loss_of_a_plain_loop(folder):
    with (folder / "job/loss.csv").open() as file:
        trained = [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]
    assert trained == pytest.approx(plain_losses(folder), abs=1e-5)
