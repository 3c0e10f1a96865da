"""Chats as tokens: in the model's template, split by prompt into training and validation, padded into batches."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..failure import Failure, brief
from ..settings import Settings
from .chats import Chat, read_chats, source
from .order import indexes_of_step, shuffled

IGNORED = -100
VALIDATION_SHARE = 0.2


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
    """What to train on and what to validate on, the token id that fills short rows, and what was left out."""

    train: list[Example]
    validation: list[Example]
    pad: int
    left_out: tuple[str, ...] = ()

    def of_step(self, step: int, size: int, seed: int) -> list[Example]:
        """The `size` training examples of step number `step` (from 0)."""
        return [self.train[i] for i in indexes_of_step(step, size, len(self.train), seed)]


def load_data(settings: Settings, tokenizer: Any) -> Data:  # noqa: ANN401
    """Examples, 80 to 20 by prompt; raise `UnknownDataset` if there is nothing to train on."""
    training = settings.training
    chats = read_chats(settings.dataset, training.seed)
    held_back = _held_back([json.dumps(chat.prompt) for chat in chats], training.seed)
    train: list[Example] = []
    validation: list[Example] = []
    empty: list[Chat] = []
    cut: list[Chat] = []
    for chat in chats:
        example = encode(tokenizer, chat, training.sequence_length) if chat.response.strip() else None
        if example is not None:
            (validation if json.dumps(chat.prompt) in held_back else train).append(example)
        else:
            (cut if chat.response.strip() else empty).append(chat)
    left_out = [
        *_left_out(empty, len(chats), "their response is empty"),
        *_left_out(cut, len(chats), f"sequence_length {training.sequence_length} cuts off their response whole"),
    ]
    if not train or not validation:
        few = f"leaves {len(train)} samples to train on and {len(validation)} to validate with"
        why = left_out or ["too few rows with prompts of their own"]
        raise Failure("UnknownDataset", "; ".join([f"{source(settings.dataset)} {few}, of {len(chats)}", *why]))
    return Data(train, validation, tokenizer.pad_token_id, tuple(left_out))


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


def encode(tokenizer: Any, chat: Chat, limit: int) -> Example | None:  # noqa: ANN401
    """The chat in the tokenizer's template, cut at `limit` tokens; None if no response is left."""
    prompt, response = chat.prompt, chat.response
    try:
        before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": response}], tokenize=False)
    except Exception as error:  # templates refuse what they do not know, each in its own way
        what = f"{chat.place}: the model's chat template refuses it: {brief(error)}"
        raise Failure("UnknownDataset", what) from error
    after = whole[len(before) :] if whole.startswith(before) else response + (tokenizer.eos_token or "")
    head = tokenizer(before, add_special_tokens=False)["input_ids"]
    tail = tokenizer(after, add_special_tokens=False)["input_ids"]
    ids = (head + tail)[:limit]
    return Example(ids, len(head)) if len(ids) > len(head) else None


def _held_back(prompts: Iterable[str], seed: int) -> set[str]:
    """A fifth of the prompts: responses to one prompt stay together, or validation would test memory."""
    distinct = sorted(set(prompts))
    count = max(1, round(len(distinct) * VALIDATION_SHARE))
    return {distinct[i] for i in shuffled(len(distinct), seed, 1)[:count]}


def _left_out(chats: Sequence[Chat], total: int, why: str) -> list[str]:
    return [f"left out {len(chats)} of {total} rows, for {why}: the first is {chats[0].place}"] if chats else []
