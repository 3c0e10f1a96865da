"""A chat as the model's template writes it: stretches of text, and whether each is learned."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..failure import brief
from .chats import Chat
from .messages import Message, function_name
from .rows import BadRow

_TIME = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>.*?)(?P=quote)\s*\)""")
Stretch = tuple[str, bool]
"""A text, and whether it is learned."""


@dataclass(frozen=True, slots=True)
class Template:
    """A tokenizer's chat template at a fixed time, which it may write into what it says."""

    tokenizer: Any
    now: datetime

    def stretches(self, chat: Chat) -> list[list[Stretch]]:
        """The chat as one text, or as one for each answer where later turns change what earlier ones look like.

        An answer is what the template writes after the prompt that asks for it, as it does when the model is used.
        Raises BadRow where the template refuses the chat or leaves out a part of it.
        """
        found = [self._answer(chat, number) for number, turn in enumerate(chat.messages) if _is_learned(turn)]
        whole = found[-1][0] + found[-1][1]
        self._expect_all(chat, whole)
        if all(whole.startswith(before + answer) for before, answer in found):
            return [list(_alternating(found))]
        return [[(before, False), (answer, True)] for before, answer in found]

    def render(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, *, ask: bool) -> str:
        """The text of some turns, with the beginning of an answer if one is asked for."""
        plain = [{name: value for name, value in turn.items() if name != "trained"} for turn in messages]
        try:
            template = _at(self.tokenizer.get_chat_template(tools=tools), self.now)
            text = self.tokenizer.apply_chat_template(
                plain, tools=tools, tokenize=False, add_generation_prompt=ask, chat_template=template
            )
        except Exception as error:  # templates refuse what they do not know, each in its own way
            raise BadRow(f"the model's chat template refuses it: {brief(error)}") from error
        return str(text)

    def _answer(self, chat: Chat, number: int) -> tuple[str, str]:
        """What stands before an answer, and the answer with its end."""
        turn = chat.messages[number]
        before = self.render(chat.messages[:number], chat.tools, ask=True)
        through = self.render(chat.messages[: number + 1], chat.tools, ask=False)
        if through.startswith(before):
            answer = through[len(before) :]
        else:  # what asks for an answer says more than stands before one, such as where reasoning begins
            answer = through[self._begin_of_answer(chat, number, through) :]
        self._expect(turn, number, answer)
        return before, answer

    def _begin_of_answer(self, chat: Chat, number: int, through: str) -> int:
        """Where the text of a turn begins: where the text with another turn in its place differs."""
        turn = chat.messages[number]
        content = turn["content"].strip()
        another = turn | {"content": "y" if content.startswith("x") else "x"}
        other = self.render([*chat.messages[:number], another], chat.tools, ask=False)
        begin = next((at for at, pair in enumerate(zip(through, other, strict=False)) if len(set(pair)) > 1), 0)
        if turn.get("tool_calls") or not through[begin:].startswith(content):
            raise BadRow(f"the model's chat template does not write turn {number} after what asks for it")
        return begin

    def _expect_all(self, chat: Chat, whole: str) -> None:
        for number, turn in enumerate(chat.messages):
            if turn["role"] != "assistant":
                self._expect(turn, number, whole)
        for tool in chat.tools or ():
            if function_name(tool) not in whole:
                raise BadRow(f"the model's chat template leaves out the tool {function_name(tool)[:100]!r}")

    def _expect(self, turn: Message, number: int, text: str) -> None:
        """Raise BadRow unless the text holds what a turn says, as it stands or within JSON."""
        content = turn["content"].strip()
        if not any(form in text for form in (content, json.dumps(content)[1:-1], _json(content))):
            raise BadRow(f"the model's chat template leaves out what the {turn['role']} says in turn {number}")
        for call in turn.get("tool_calls", ()):
            if function_name(call) not in text:
                raise BadRow(f"the model's chat template leaves out the tool calls of turn {number}")


def end_of_answer(template: Template) -> list[int] | None:
    """The tokens that the template writes after an answer; None where it does not write so short a chat."""
    answer = "carbonfleet"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    try:
        text = template.render(turns, None, ask=False)
    except BadRow:
        return None
    rest = text.rpartition(answer)[2].lstrip()
    return list(template.tokenizer(rest, add_special_tokens=False)["input_ids"])


@lru_cache
def _at(template: str, now: datetime) -> str:
    """The template with the time in the place of each call that asks for it; the library passes no functions on."""
    fixed = _TIME.sub(lambda call: json.dumps(now.strftime(call["format"])), template)
    if "strftime_now(" in fixed:
        raise BadRow("the model's chat template writes a time that can't be kept the same in all attempts")
    return fixed


def _is_learned(turn: Message) -> bool:
    return turn["role"] == "assistant" and bool(turn["trained"])


def _alternating(found: Sequence[tuple[str, str]]) -> Iterator[Stretch]:
    """One text of several answers, each of which begins with all that stands before it."""
    done = 0
    for before, answer in found:
        yield before[done:], False
        yield answer, True
        done = len(before) + len(answer)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
