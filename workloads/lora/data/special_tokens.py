"""Names of special tokens, such as <|im_end|>, in what people wrote: they are text, for only a template writes tokens.

A template writes one text, in which both look alike. So what people wrote is escaped before the template sees it: in
what it writes, each name of a special token is then its own. The library reads either all of them as tokens or none
(`split_special_tokens`). None it is, and the template's are given other names, of tokens that are not special.
"""

import copy
import re
from functools import cached_property
from typing import Any

from tokenizers import AddedToken

from .rows import BadRow
from .template import Template, end_of_answer

_ESCAPE = "cfESCq"
"""Before a number and a full stop it stands for a name: ASCII alone, which JSON writes as it is."""
_NUMBER = re.compile(rf"{_ESCAPE}(\d+)\.")
_OTHER_NAME = "\U0010a5cf{}\U0010a5cf"
"""By the token's number, in characters of private use."""


class TextEncoder:
    """Turns what a template writes into tokens."""

    def __init__(self, template: Template) -> None:
        """Special are those that the tokenizer calls so, and which of its added ones end an answer."""
        self._tokenizer = template.tokenizer
        named = {*self._tokenizer.all_special_ids, *(end_of_answer(template) or ())}
        added = self._tokenizer.added_tokens_decoder.items()
        self._special = {token.content: number for number, token in added if token.special or number in named}
        self._names = (*sorted(self._special, key=lambda name: (-len(name), name)), _ESCAPE)
        names = "|".join(map(re.escape, self._names))
        self._name, self._escaped_or_name = re.compile(names), re.compile(f"{_NUMBER.pattern}|{names}")

    def escaped(self, value: Any) -> Any:  # noqa: ANN401  # any JSON value
        """What people wrote, with no name of a special token in any text of it."""
        if isinstance(value, str):
            return self._name.sub(lambda found: f"{_ESCAPE}{self._names.index(found[0])}.", value)
        if isinstance(value, dict):
            return {self.escaped(name): self.escaped(inner) for name, inner in value.items()}
        return [self.escaped(inner) for inner in value] if isinstance(value, list) else value

    def ids(self, text: str) -> list[int]:
        """The tokens of what a template wrote of it; raises BadRow where the tokenizer can't read a name as text."""
        if _ESCAPE not in text:
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        tokenizer, special = self._renamed
        by_template = sum(found[1] is None for found in self._escaped_or_name.finditer(text))
        renamed = self._escaped_or_name.sub(self._other_name, text)
        ids = tokenizer(renamed, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if sum(number in special for number in ids) != by_template or not self._control.isdisjoint(ids):
            name = min((self._names[int(number)] for number in _NUMBER.findall(text)), key=_ESCAPE.__eq__)
            raise BadRow(f"{name!r} in it is a special token of the model, whose tokenizer can't read that as text")
        return [special.get(number, number) for number in ids]

    def _other_name(self, found: re.Match[str]) -> str:
        return self._names[int(found[1])] if found[1] else _OTHER_NAME.format(self._special[found[0]])

    @cached_property
    def _control(self) -> set[int]:
        """The special tokens but those that stand for what is unknown, or nothing at all."""
        tokenizer = self._tokenizer
        return set(self._special.values()) - (
            {tokenizer.unk_token_id, tokenizer.pad_token_id} - {tokenizer.eos_token_id}
        )

    @cached_property
    def _renamed(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer with other names for its special tokens as well, and by the other's number the token's."""
        tokenizer, numbers = copy.deepcopy(self._tokenizer), dict[int, int]()
        for number in self._special.values():
            token = tokenizer.added_tokens_decoder[number]
            flags = {name: getattr(token, name) for name in ("lstrip", "rstrip", "single_word", "normalized")}
            other = AddedToken(_OTHER_NAME.format(number), **flags, special=False)
            tokenizer.add_tokens([other])
            numbers[tokenizer.convert_tokens_to_ids(other.content)] = number
        return tokenizer, numbers
