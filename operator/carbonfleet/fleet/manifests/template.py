"""A YAML file in which scalars like `$name` stand for values: filled in, and found again in what people reformatted."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import yaml

from carbonfleet.api.problems import Location, name_of
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument, read_documents

Scalar = str | int | bool
_HOLE: Final = re.compile(r"\$[a-z_]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Text (JSON, say) to be written as a literal block where one can hold it, so that people can read it."""

    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """The text between the holes; each hole, with the indentation of a block there; and all of it as values."""

    literals: tuple[str, ...]
    holes: tuple[tuple[str, int], ...]
    documents: tuple[Any, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Find the scalars that are `$name`, wherever YAML has a scalar; comments go."""
        documents = tuple(document.data for document in read_documents("template", text))
        text = "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("#"))
        literals, holes, position = [], [], 0
        for node in _scalars(text):
            start, end = node.start_mark, node.end_mark
            literals.append(text[position : start.index])
            line = text[start.index - start.column : start.index]
            holes.append((node.value[1:], len(line) - len(line.lstrip()) + 2))
            position = end.index
        return cls((*literals, text[position:]), tuple(holes), documents)

    def fill(self, values: Mapping[str, Scalar | Block]) -> str:
        """The file with every hole filled. Raises KeyError for a hole without a value."""
        encoded = {hole: encode(values[hole[0]], hole[1]) for hole in set(self.holes)}
        parts = [self.literals[0]]
        for hole, literal in zip(self.holes, self.literals[1:], strict=True):
            parts += (encoded[hole], literal)
        return "".join(parts)

    def values_in(self, path: str, documents: Sequence[YamlDocument]) -> dict[str, Scalar]:
        """What stands in each hole of a file that is the template filled, however it is formatted.

        Raises FileInvalid at the first thing that the template would not have made.
        """
        if len(documents) != len(self.documents):
            message = (
                f"holds {len(documents)} objects; {len(self.documents)} are rendered, and nothing else belongs here"
            )
            raise FileInvalid(FileProblem(path, 1, message))
        values: dict[str, Scalar] = {}
        for expected, document in zip(self.documents, documents, strict=True):
            _match(expected, document.data, document, (), values)
        return values


def _match(expected: Any, found: Any, document: YamlDocument, at: Location, values: dict[str, Scalar]) -> None:  # noqa: ANN401
    """Compare a value with the template's, and note what stands in its holes. Raises FileInvalid."""
    if isinstance(expected, str) and _HOLE.fullmatch(expected):
        if not isinstance(found, str | int) or not _same(values.setdefault(expected[1:], found), found):
            raise _differs(document, at, "must be one value, the same wherever the template has it")
    elif isinstance(expected, dict) and isinstance(found, dict):
        for key in (*expected, *found):
            if key not in found:
                raise _differs(document, at, f"lacks {key}, which is rendered there")
            if key not in expected:
                raise _differs(document, (*at, key), "is never rendered; take it out")
        for key, value in expected.items():
            _match(value, found[key], document, (*at, key), values)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (value, other) in enumerate(zip(expected, found, strict=True)):
            _match(value, other, document, (*at, place), values)
    elif isinstance(expected, dict | list) or not _same(expected, found):
        raise _differs(document, at, f"is not as it is rendered, {json.dumps(expected)[:80]}")


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _differs(document: YamlDocument, at: Location, message: str) -> FileInvalid:
    return FileInvalid(document.problem(f"{name_of(at) or 'the object'}: {message}", *at))


def digest_of(values: Mapping[str, Scalar | Block]) -> str:
    """sha256 over the values of a file's holes, but for the one that holds this digest."""
    plain = {name: value.text if isinstance(value, Block) else value for name, value in values.items()}
    plain.pop("content_digest", None)
    return f"sha256:{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}"


def sealed(values: Mapping[str, Scalar | Block]) -> dict[str, Scalar | Block]:
    """The values with their digest among them, by which a person's change of one shows."""
    return {**values, "content_digest": digest_of(values)}


def encode(value: Scalar | Block, indent: int = 0) -> str:
    """A scalar as YAML that reads back as exactly itself, whatever it holds, on one line of ASCII."""
    if isinstance(value, Block):
        return _block(value.text, indent) or encode(value.text)
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
        return ""
    return "|-\n" + "\n".join(" " * indent + line if line else "" for line in text.split("\n"))


def _scalars(text: str) -> list[yaml.ScalarNode]:
    found: list[yaml.ScalarNode] = []
    pending: list[yaml.Node] = list(yaml.compose_all(text, yaml.SafeLoader))
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.ScalarNode):
            if _HOLE.fullmatch(node.value):
                found.append(node)
        elif isinstance(node, yaml.MappingNode):
            pending += [value for _key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
    return sorted(found, key=lambda node: node.start_mark.index)
