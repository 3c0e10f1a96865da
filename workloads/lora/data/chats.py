"""A row as a chat: of a known shape with a text wherever one belongs, or refused by the name of the field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..failure import Failure, brief, explain
from ..settings import TINY_DATASET, Dataset
from .order import shuffled
from .rows import BadRow, Table, at, kind, rating, read_table, text

COLUMNS = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("prompt", "completion"),
)
ROLES = ("system", "user", "assistant")
_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")  # how HelpSteer2 separates the turns of a prompt

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Chat:
    """The messages before a response, the response, and where the row stands, for people."""

    prompt: list[Message]
    response: str
    place: str


def read_chats(dataset: Dataset, seed: int) -> list[Chat]:
    """The samples that the settings ask for, in a shuffled order; raises `UnknownDataset` with the reason."""
    try:
        return _draw(dataset, seed)
    except Failure:
        raise
    except Exception as error:  # every loader has its own kinds, and all of them mean the same here
        if explain(error).reason in {"DiskFull", "OutOfMemory"}:
            raise
        raise Failure("UnknownDataset", f"cannot read {source(dataset)}: {brief(error)}") from error


def source(dataset: Dataset) -> str:
    """What to call the dataset in a sentence."""
    return f"dataset {(dataset.path or dataset.name or '')[:200]!r}"


def chat_of(row: Mapping[str, Any], place: str) -> Chat:
    """The chat in a row. Null is as good as absent for a shape as a whole, for `input` and for `system`.

    Raises BadRow naming the field that holds something else than a text.
    """
    if row.get("messages") is not None:
        *prompt, last = _messages(row["messages"])
        system = _system(row)
        if system and prompt[0]["role"] == "system":
            raise BadRow("system and messages[0] both hold a system message")
        return Chat([*system, *prompt], last["content"], place)
    for ask, answer in COLUMNS:
        if ask in row and answer in row and (row[ask], row[answer]) != (None, None):
            prompt = [*_system(row), *_turns(text(row[ask], ask) + _input(row))]
            return Chat(prompt, text(row[answer], answer), place)
    raise BadRow(f"columns {[name[:50] for name in sorted(row)][:20]}: expected prompt and response, or messages")


def _draw(dataset: Dataset, seed: int) -> list[Chat]:
    table, least = read_table(dataset, seed), dataset.minimum_helpfulness
    kept: Sequence[int] = range(len(table.rows))
    if least is not None:
        kept = [index for index in kept if _rating(table, index) >= least]
    if dataset.name != TINY_DATASET:  # which the seed made so many of, in its own order
        kept = [kept[i] for i in shuffled(len(kept), seed, 0)[: dataset.samples]]
    return [_chat(table, index) for index in kept]


def _rating(table: Table, index: int) -> float:
    with at(table.place(index)):
        return rating(table.rows[index])


def _chat(table: Table, index: int) -> Chat:
    place = table.place(index)
    with at(place):
        return chat_of(table.rows[index], place)


def _messages(value: object) -> list[Message]:
    """The turns of a conversation, of which the last is the assistant's and not the first."""
    if not isinstance(value, list):
        raise BadRow(f"messages is {kind(value)}, not a list")
    messages = [_message(each, f"messages[{number}]") for number, each in enumerate(value)]
    if len(messages) < 2:
        raise BadRow(f"messages has {len(messages)} turns: expected a question and its answer")
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"messages ends with the {messages[-1]['role']}'s turn, not the assistant's")
    return messages


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"{name} is {kind(value)}, not an object with role and content")
    for key in value:
        if key not in ("role", "content") and value[key] is not None:
            raise BadRow(f"{name} has {str(key)[:100]!r}: only role and content are understood")
    role = text(value.get("role"), f"{name}.role")
    if role not in ROLES:
        raise BadRow(f"{name}.role is {role[:100]!r}, none of {', '.join(ROLES)}")
    return {"role": role, "content": text(value.get("content"), f"{name}.content")}


def _turns(prompt: str) -> list[Message]:
    first, *rest = _TURN.split(prompt)
    later = zip(rest[::2], rest[1::2], strict=True)
    return [
        {"role": "user", "content": first},
        *({"role": who.lower(), "content": said} for who, said in later if said),
    ]


def _input(row: Mapping[str, Any]) -> str:
    found = row.get("input")
    return f"\n\n{text(found, 'input')}" if found not in (None, "") else ""


def _system(row: Mapping[str, Any]) -> list[Message]:
    found = row.get("system")
    return [{"role": "system", "content": text(found, "system")}] if found not in (None, "") else []
