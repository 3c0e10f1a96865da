"""A YAML file in which scalars like `$name` are replaced by encoded values, and nothing else changes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import yaml

Scalar = str | int | bool


@dataclass(frozen=True, slots=True)
class Block:
    """Printable ASCII text (JSON, say) to be written as a literal block, so that people can read it."""

    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """The text between the holes, and for each hole its name and the indentation of a block there."""

    literals: tuple[str, ...]
    holes: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Find the scalars that are `$name`, wherever YAML has a scalar; comments go."""
        text = "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("#"))
        literals, holes, position = [], [], 0
        for node in _scalars(text):
            start, end = node.start_mark, node.end_mark
            literals.append(text[position : start.index])
            line = text[start.index - start.column : start.index]
            holes.append((node.value[1:], len(line) - len(line.lstrip()) + 2))
            position = end.index
        return cls((*literals, text[position:]), tuple(holes))

    def fill(self, values: Mapping[str, Scalar | Block]) -> str:
        """The file with every hole filled. Raises KeyError for a hole without a value."""
        encoded = {hole: encode(values[hole[0]], hole[1]) for hole in set(self.holes)}
        parts = [self.literals[0]]
        for hole, literal in zip(self.holes, self.literals[1:], strict=True):
            parts += (encoded[hole], literal)
        return "".join(parts)


def encode(value: Scalar | Block, indent: int = 0) -> str:
    """A scalar as YAML that reads back as exactly itself, whatever it holds, on one line of ASCII."""
    if isinstance(value, Block):
        return _block(value.text, indent)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{_SPECIAL.sub(_escape, value)}"'


_SPECIAL = re.compile(r'[^ -~]|["\\]')


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        raise ValueError("text holds half of a surrogate pair, which no file can keep")
    return f"\\{character}" if character in '"\\' else f"\\U{ord(character):08X}"


def _block(text: str, indent: int) -> str:
    if not re.fullmatch(r"[ -~\n]*", text) or not text[:1].strip() or text.endswith("\n"):
        raise ValueError("a block holds printable ASCII, begins with no space and ends with no line break")
    return "|-\n" + "\n".join(" " * indent + line if line else "" for line in text.split("\n"))


def _scalars(text: str) -> list[yaml.ScalarNode]:
    found: list[yaml.ScalarNode] = []
    pending: list[yaml.Node] = list(yaml.compose_all(text, yaml.SafeLoader))
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.ScalarNode):
            if re.fullmatch(r"\$[a-z_]+", node.value):
                found.append(node)
        elif isinstance(node, yaml.MappingNode):
            pending += [value for _key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
    return sorted(found, key=lambda node: node.start_mark.index)
