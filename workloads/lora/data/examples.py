"""Chats as tokens: in the model's template, split by prompt into training and validation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..failure import Failure
from ..settings import Dataset, Settings
from .chats import Chat, Chats, read_chats, source
from .order import shuffled
from .rows import at
from .special_tokens import TextEncoder
from .template import Stretch, Template

IGNORED = -100
VALIDATION_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Example:
    """One text as token ids, and as many labels: the ids of those that are learned, `IGNORED` for the others."""

    ids: list[int]
    labels: list[int]

    @property
    def response_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows, and how much there is to learn."""

    rows_read: int
    rows_chosen: int
    """Those that `samples` and `minimum_helpfulness` leave; the others that follow are of these."""
    rows_dropped: dict[str, int]
    """By why, in CamelCase."""
    rows_cut: int
    """Of which a part is learned, without its end."""
    rows_naming_special_tokens: int
    """Whose text holds the name of one, which is learned as the text it is."""
    train_examples: int
    validation_examples: int
    train_response_tokens: int
    """In one epoch."""
    ignored_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """What to train on and what to validate on, the token id that fills short rows, and what people should know."""

    train: list[Example]
    validation: list[Example]
    pad: int
    digest: str
    """SHA-256 of the chats that were read, however they are stored."""
    counts: Counts
    warnings: tuple[str, ...] = ()
    """What was left out, and what is learned otherwise than it may look."""


def load_data(settings: Settings, tokenizer: Any, now: datetime) -> Data:  # noqa: ANN401
    """Examples, 80 to 20 by prompt, in the tokenizer's template as it is at `now`.

    Raises `UnknownDataset` for a row that can't be learned as it stands, for too many that are dropped or cut, and if
    there is nothing to train on or to validate with.
    """
    training = settings.training
    found = read_chats(settings.dataset, training.seed)
    held_back = _held_back([chat.question for chat in found.chats], training.seed)
    template = Template(tokenizer, now)
    sorting = _Sorting(template, TextEncoder(template), training.sequence_length)
    train: list[Example] = []
    validation: list[Example] = []
    for chat in found.chats:
        (validation if chat.question in held_back else train).extend(sorting.examples(chat))
    left_out = sorting.left_out(len(found.chats))
    _expect_enough(settings.dataset, found, sorting, left_out)
    if not train or not validation:
        few = f"leaves {len(train)} samples to train on and {len(validation)} to validate with"
        why = left_out or ["too few rows with prompts of their own"]
        raise Failure("UnknownDataset", "; ".join([f"{source(settings.dataset)} {few}, of {len(found.chats)}", *why]))
    counts = Counts(
        rows_read=found.rows,
        rows_chosen=len(found.chats),
        rows_dropped=dict(Counter(why for why, _ in sorting.dropped)),
        rows_cut=len(sorting.cut),
        rows_naming_special_tokens=len(sorting.naming),
        train_examples=len(train),
        validation_examples=len(validation),
        train_response_tokens=sum(example.response_tokens for example in train),
        ignored_columns=found.ignored_columns,
    )
    return Data(
        train, validation, tokenizer.pad_token_id, found.digest, counts, tuple(sorting.warnings(len(found.chats)))
    )


def expect_same_data(digests: Sequence[str]) -> None:
    """Raise `UnknownDataset` unless all workers have read the same, by the digests of what each has."""
    if len(set(digests)) > 1:
        what_to_do = "Give all nodes the same files, or name a revision of the dataset"
        raise Failure("UnknownDataset", f"the workers read {len(set(digests))} different datasets. {what_to_do}")


def encode(encoder: TextEncoder, stretches: Sequence[Stretch], limit: int) -> Example:
    """A text as tokens, as far as more than the limit are certain.

    The tokens of the whole are taken where they begin with those of what came before; elsewhere each stretch is
    encoded alone, so that a prompt has the tokens that it has when the model is used.
    """
    text, ids, labels = "", list[int](), list[int]()
    for part, learned in stretches:
        if len(ids) > limit:
            break
        text += part
        whole = encoder.ids(text)
        more = whole[len(ids) :] if whole[: len(ids)] == ids else encoder.ids(part)
        ids += more
        labels += more if learned else [IGNORED] * len(more)
    return Example(ids, [IGNORED, *labels[1:]])  # nothing comes before the first


@dataclass(slots=True)
class _Sorting:
    """Makes examples of chats, and keeps those that it has to drop or cut, or whose text names special tokens."""

    template: Template
    encoder: TextEncoder
    limit: int
    dropped: list[tuple[str, Chat]] = field(default_factory=list)
    cut: list[Chat] = field(default_factory=list)
    naming: list[Chat] = field(default_factory=list)

    def examples(self, chat: Chat) -> list[Example]:
        """What can be learned of the chat within the limit of tokens."""
        if not chat.is_answered:
            self.dropped.append(("EmptyResponse", chat))
            return []
        escaped = replace(chat, messages=self.encoder.escaped(chat.messages), tools=self.encoder.escaped(chat.tools))
        if escaped != chat:
            self.naming.append(chat)
        with at(chat.place):
            texts = self.template.stretches(escaped)
            whole = [encode(self.encoder, stretches, self.limit) for stretches in texts]
        found = [Example(each.ids[: self.limit], each.labels[: self.limit]) for each in whole]
        kept = [each for each in found if each.response_tokens]
        if not kept:
            self.dropped.append(("ResponseCutOff", chat))
        elif any(len(each.ids) > self.limit for each in whole):
            self.cut.append(chat)
        return kept

    def left_out(self, total: int) -> list[str]:
        """What was dropped and cut, in sentences."""
        why = {
            "EmptyResponse": "dropped {} of {} rows, whose response is empty",
            "ResponseCutOff": f"dropped {{}} of {{}} rows, whose response sequence_length {self.limit} cuts off whole",
        }
        cut = f"cut {{}} of {{}} rows at sequence_length {self.limit}, so that their end is not learned"
        groups = [(said, [chat for name, chat in self.dropped if name == key]) for key, said in why.items()]
        return _sentences([*groups, (cut, self.cut)], total)

    def warnings(self, total: int) -> list[str]:
        """What was left out, and which rows only look as if they held special tokens, in sentences."""
        naming = "{} of {} rows name special tokens of the model, which are learned as text"
        return [*self.left_out(total), *_sentences([(naming, self.naming)], total)]


def _sentences(groups: Sequence[tuple[str, Sequence[Chat]]], total: int) -> list[str]:
    return [f"{said.format(len(chats), total)}: the first is {chats[0].place}" for said, chats in groups if chats]


def _expect_enough(dataset: Dataset, found: Chats, sorting: _Sorting, left_out: list[str]) -> None:
    lost, total, most = len(sorting.dropped) + len(sorting.cut), len(found.chats), dataset.max_dropped_percent
    if lost * 100 > most * total:
        percent = f"{100 * lost / total:.1f} % of the rows are not learned whole, and {most:g} % may be"
        what_to_do = "Raise training.sequence_length, or mend the rows; dataset.max_dropped_percent allows more"
        raise Failure("UnknownDataset", "; ".join([f"{source(dataset)}: {percent}", *left_out]) + f". {what_to_do}")


def _held_back(prompts: Iterable[str], seed: int) -> set[str]:
    """A fifth of the prompts: responses to one prompt stay together, or validation would test memory."""
    distinct = sorted(set(prompts))
    count = max(1, round(len(distinct) * VALIDATION_SHARE))
    return {distinct[i] for i in shuffled(len(distinct), seed, 1)[:count]}
