"""A row as a chat: of a known shape with a text wherever one belongs, or refused by the name of the field."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..failure import Failure, brief, explain
from ..host_limits import DATASETS, allowed_name, expect_no_folder
from ..settings import TINY_DATASET, Dataset
from .files import read_file
from .messages import Message, conversation, expect_answer, tools_of
from .order import shuffled
from .rows import BadRow, Table, at, rating, text
from .tiny import tiny_instructions

TINY_SAMPLES = 1000
CONVERSATIONS = ("messages", "conversations")
COLUMNS = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("prompt", "completion"),
)
SYSTEM, INPUT = ("system", "system_prompt"), ("input", "context")
"""Columns beside a shape that count, by either name."""
_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")  # how HelpSteer2 separates the turns of a prompt


@dataclass(frozen=True, slots=True)
class Chat:
    """The turns, of which those are learned that say `trained`; the functions that they may call; where it stands."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None
    place: str
    columns: frozenset[str]
    """Those of the row that count."""

    @property
    def question(self) -> str:
        """What stands before the last answer; chats with the same one stay together."""
        return json.dumps([self.tools, *(turn | {"trained": None} for turn in self.messages[:-1])])

    @property
    def is_answered(self) -> bool:
        """Whether there is something to learn in each turn that is learned, and one at least."""
        turns = [turn for turn in self.messages if turn["role"] == "assistant" and turn["trained"]]
        return bool(turns) and all(turn["content"].strip() or turn.get("tool_calls") for turn in turns)


@dataclass(frozen=True, slots=True)
class Chats:
    """The chats that the settings ask for, in a shuffled order; how many rows there were, and what was ignored."""

    chats: list[Chat]
    rows: int
    ignored_columns: tuple[str, ...]
    """What any row has and does not count; twenty at most."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from, however it is stored."""
        said = (json.dumps([chat.tools, chat.messages]) for chat in self.chats)
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


def read_chats(dataset: Dataset, seed: int) -> Chats:
    """The samples that the settings ask for; raises `UnknownDataset` with the reason."""
    try:
        return _draw(dataset, seed)
    except Failure:
        raise
    except Exception as error:  # every loader has its own kinds, and all of them mean the same here
        if explain(error).reason in {"DiskFull", "OutOfMemory"}:
            raise
        raise Failure("UnknownDataset", f"cannot read {source(dataset)}: {brief(error)}") from error


def data_digest(dataset: Dataset, seed: int) -> str:
    """The digest of what the settings' data are now; raises `UnknownDataset`."""
    return read_chats(dataset, seed).digest


def source(dataset: Dataset) -> str:
    """What to call the dataset in a sentence."""
    return f"dataset {(dataset.path or dataset.name or '')[:200]!r}"


def read_table(dataset: Dataset, seed: int) -> Table:
    """Every row of the dataset; raises `UnknownDataset` for a line that is none, and whatever its library raises."""
    if dataset.path:
        return read_file(dataset.path)

    def place(index: int) -> str:
        return f"dataset {dataset.name!r}, row {index} from 0"

    if dataset.name == TINY_DATASET:
        return Table(tiny_instructions(dataset.samples or TINY_SAMPLES, seed), place)
    import datasets  # slow to import, and only needed here

    name, split = allowed_name(dataset.name or "", DATASETS), dataset.split or "train"
    expect_no_folder(name, "dataset.revision", dataset.revision)
    rows = datasets.load_dataset(name, dataset.config, split=split, revision=dataset.revision)
    return Table(rows, place, from_arrow=True)


def chat_of(row: Mapping[str, Any], place: str) -> Chat:
    """The chat in a row. Null is as good as absent for a shape as a whole, and for what may stand beside it.

    Raises BadRow naming the field that holds something else than what belongs there.
    """
    if row.get("label") is False:  # as KTO marks an answer to be unlearned, and TRL's own tables do
        raise BadRow("label is false, as of a bad answer, and every answer is learned")
    tools = tools_of(row.get("tools"))
    name = next((name for name in CONVERSATIONS if row.get(name) is not None), None)
    if name is not None:
        turns = conversation(row[name], name)
        expect_answer(turns, name)
        return Chat(_after_system(row, turns, name), tools, place, frozenset({name, "tools", *SYSTEM}))
    for ask, answer in COLUMNS:
        if ask in row and answer in row and (row[ask], row[answer]) != (None, None):
            question = [turn | {"trained": False} for turn in _question(row, ask)]
            turns = [*question, *_answer(row[answer], answer)]
            expect_answer(turns, answer)
            columns = frozenset({ask, answer, "tools", *SYSTEM, *INPUT})
            return Chat(_after_system(row, turns, ask), tools, place, columns)
    raise BadRow(f"columns {[name[:50] for name in sorted(row)][:20]}: expected prompt and response, or messages")


def _draw(dataset: Dataset, seed: int) -> Chats:
    table, least = read_table(dataset, seed), dataset.minimum_helpfulness
    kept: Sequence[int] = range(len(table.rows))
    if least is not None:
        kept = [index for index in kept if _rating(table, index) >= least]
    if len(kept) < (dataset.samples or 0):
        left = "are rated so high" if least is not None else "are there"
        raise Failure(
            "UnknownDataset",
            f"{source(dataset)}: {len(kept)} rows {left}, and dataset.samples asks for {dataset.samples}. Lower it",
        )
    if dataset.name != TINY_DATASET:  # which the seed made so many of, in its own order
        kept = [kept[i] for i in shuffled(len(kept), seed, 0)[: dataset.samples]]
    ignored: set[str] = set()
    chats = []
    for index in kept:
        row, place = table.row(index), table.place(index)
        with at(place):
            chats.append(chat_of(row, place))
        ignored.update(row.keys() - chats[-1].columns)
    named = (name.encode(errors="replace").decode()[:100] for name in sorted(ignored)[:20])
    return Chats(chats, len(table.rows), tuple(named))


def _rating(table: Table, index: int) -> float:
    with at(table.place(index)):
        return rating(table.row(index))


def _question(row: Mapping[str, Any], name: str) -> list[Message]:
    value, more = row[name], _beside(row, INPUT)
    if not isinstance(value, list):
        return _turns(text(value, name) + (f"\n\n{more}" if more else ""))
    if more:
        raise BadRow(f"{name} is a list of turns, and {' or '.join(INPUT)} can only be added to a text")
    return conversation(value, name)


def _answer(value: object, name: str) -> list[Message]:
    if isinstance(value, list):
        return conversation(value, name)
    return [{"role": "assistant", "trained": True, "content": text(value, name)}]


def _turns(prompt: str) -> list[Message]:
    first, *rest = _TURN.split(prompt)
    later = zip(rest[::2], rest[1::2], strict=True)
    return [
        {"role": "user", "content": first},
        *({"role": who.lower(), "content": said} for who, said in later if said),
    ]


def _after_system(row: Mapping[str, Any], turns: list[Message], name: str) -> list[Message]:
    """The turns after the system message that stands in a column of its own, if one does."""
    said = _beside(row, SYSTEM)
    if not said:
        return turns
    if turns[0]["role"] == "system":
        raise BadRow(f"system and {name}[0] both hold a system message")
    return [{"role": "system", "trained": False, "content": said}, *turns]


def _beside(row: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The text of the one of two columns that holds one; empty where neither does."""
    found = [text(row[name], name) for name in names if row.get(name) not in (None, "")]
    if len(found) > 1:
        raise BadRow(f"{' and '.join(names)} both hold a text")
    return found[0] if found else ""
