"""Instruction data: read, shaped into chats, tokenized, split by prompt, and dealt out in a fixed order."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fsspec
import torch

from .failure import Failure, explain
from .settings import TINY_DATASET, Dataset, Settings
from .tiny import tiny_instructions

IGNORED = -100
TINY_SAMPLES = 1000
VALIDATION_SHARE = 0.2
_COLUMNS = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("prompt", "completion"),
)
_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")  # how HelpSteer2 separates the turns of a prompt

Row = dict[str, Any]
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Example:
    """One chat as token ids; the first `prompt_tokens` of them carry no loss."""

    ids: list[int]
    prompt_tokens: int

    @property
    def response_tokens(self) -> int:
        """How many tokens carry loss."""
        return len(self.ids) - self.prompt_tokens


@dataclass(frozen=True, slots=True)
class Data:
    """What to train on and what to validate on, and the token id that fills short rows."""

    train: list[Example]
    validation: list[Example]
    pad: int

    def of_step(self, step: int, size: int, seed: int) -> list[Example]:
        """The `size` training examples of step number `step` (from 0)."""
        return [self.train[i] for i in indexes_of_step(step, size, len(self.train), seed)]


def load_data(settings: Settings, tokenizer: Any) -> Data:  # noqa: ANN401
    """Examples, 80 to 20 by prompt; raise `UnknownDataset` if there is nothing to train on."""
    training = settings.training
    chats = read_chats(settings.dataset, training.seed)
    train: list[Example] = []
    validation: list[Example] = []
    held_back = _held_back([json.dumps(prompt) for prompt, _ in chats], training.seed)
    for prompt, response in chats:
        example = encode(tokenizer, prompt, response, training.sequence_length)
        if example is not None:
            (validation if json.dumps(prompt) in held_back else train).append(example)
    if not train or not validation:
        raise Failure(
            "UnknownDataset",
            f"{source(settings.dataset)} leaves {len(train)} samples to train on and {len(validation)} to "
            "validate with: too few rows, or sequence_length cuts off every response",
        )
    return Data(train, validation, tokenizer.pad_token_id)


def read_chats(dataset: Dataset, seed: int) -> list[tuple[list[Message], str]]:
    """For each sample the messages before the response, and the response; raise `UnknownDataset` with the reason."""
    if dataset.name == TINY_DATASET:
        return [_chat(row) for row in tiny_instructions(dataset.samples or TINY_SAMPLES, seed)]
    try:
        rows = _jsonl(dataset.path) if dataset.path else _hub(dataset)
        return [_chat(row) for row in _sample(rows, dataset, seed)]
    except Failure:
        raise
    except Exception as error:  # every loader has its own kinds, and all of them mean the same here
        if explain(error).reason in {"DiskFull", "OutOfMemory"}:
            raise
        raise Failure("UnknownDataset", f"cannot read {source(dataset)}: {_brief(error)}") from error


def source(dataset: Dataset) -> str:
    """What to call the dataset in a sentence."""
    return f"dataset {(dataset.path or dataset.name or '')[:200]!r}"


def batch(examples: Sequence[Example], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each (samples, longest), padded on the right."""
    longest = max(len(e.ids) for e in examples)
    rows = [(e.ids, longest - len(e.ids), e.prompt_tokens) for e in examples]
    columns = {
        "input_ids": [ids + [pad] * gap for ids, gap, _ in rows],
        "attention_mask": [[1] * len(ids) + [0] * gap for ids, gap, _ in rows],
        "labels": [[IGNORED] * prompt + ids[prompt:] + [IGNORED] * gap for ids, gap, prompt in rows],
    }
    return {name: torch.tensor(values).to(device) for name, values in columns.items()}


def encode(tokenizer: Any, prompt: list[Message], response: str, limit: int) -> Example | None:  # noqa: ANN401
    """The chat in the tokenizer's template, cut at `limit` tokens; None if no response is left."""
    try:
        before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": response}], tokenize=False)
    except Exception as error:  # templates refuse what they do not know, each in its own way
        raise Failure("UnknownDataset", f"the model's chat template refuses a sample: {_brief(error)}") from error
    after = whole[len(before) :] if whole.startswith(before) else response + (tokenizer.eos_token or "")
    head = tokenizer(before, add_special_tokens=False)["input_ids"]
    tail = tokenizer(after, add_special_tokens=False)["input_ids"]
    ids = (head + tail)[:limit]
    return Example(ids, len(head)) if len(ids) > len(head) else None


def indexes_of_step(step: int, size: int, count: int, seed: int) -> list[int]:
    """Which `size` of `count` samples step `step` (from 0) trains on: epoch after epoch, each shuffled.

    A function of its arguments alone, so a resumed run sees the order that an unbroken one would have.
    """
    positions = range(step * size, (step + 1) * size)
    return [_shuffled(count, seed, position // count)[position % count] for position in positions]


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, turn: int) -> list[int]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + turn))
    return [int(i) for i in order]


def _jsonl(path: str) -> list[Row]:
    rows: list[Row] = []
    with fsspec.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _json(line)
                if not isinstance(row, dict):
                    raise Failure("UnknownDataset", f"{path[:200]!r}, line {number}: not a JSON object")
                rows.append(row)
    return rows


def _json(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _hub(dataset: Dataset) -> Sequence[Row]:
    import datasets  # slow to import, and only needed here

    rows: Sequence[Row] = datasets.load_dataset(dataset.name, split=dataset.split)
    return rows


def _sample(rows: Sequence[Row], dataset: Dataset, seed: int) -> list[Row]:
    least = dataset.minimum_helpfulness
    if least is not None:
        rows = [row for row in rows if float(row.get("helpfulness") or 0) >= least]
    order = _shuffled(len(rows), seed, 0)
    return [rows[i] for i in order[: dataset.samples or len(rows)]]


def _held_back(prompts: Iterable[str], seed: int) -> set[str]:
    """A fifth of the prompts: responses to one prompt stay together, or validation would test memory."""
    distinct = sorted(set(prompts))
    count = max(1, round(len(distinct) * VALIDATION_SHARE))
    return {distinct[i] for i in _shuffled(len(distinct), seed, 1)[:count]}


def _chat(row: Mapping[str, Any]) -> tuple[list[Message], str]:
    messages = row.get("messages")
    if isinstance(messages, list) and messages:
        return messages[:-1], str(messages[-1]["content"])
    for ask, answer in _COLUMNS:
        if ask in row and answer in row:
            extra = f"\n\n{row['input']}" if row.get("input") else ""
            return _turns(f"{row[ask]}{extra}"), str(row[answer])
    raise Failure("UnknownDataset", f"columns {sorted(row)[:20]}: expected prompt and response, or messages")


def _turns(prompt: str) -> list[Message]:
    first, *rest = _TURN.split(prompt)
    later = zip(rest[::2], rest[1::2], strict=True)
    return [
        {"role": "user", "content": first},
        *({"role": who.lower(), "content": text} for who, text in later if text),
    ]


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
