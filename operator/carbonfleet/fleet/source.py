"""YAML files that people write, read so that every complaint says file, line and what to do."""

from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, and where."""

    path: str
    line: int
    """From 1."""
    message: str

    def __str__(self) -> str:
        """`file:line: message`, which editors and CI make into a link."""
        return f"{self.path}:{self.line}: {self.message}"


class SourceInvalid(ValueError):  # noqa: N818  named like its reason
    """A file that can't be used, with each problem found in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Source:
    """A YAML document and the line of each of its fields."""

    path: str
    data: Any
    lines: dict[Location, int]

    def line_of(self, location: Location) -> int:
        """The line of a field, or of the nearest thing around it that the file does have."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problem(self, message: str, *location: str | int) -> Problem:
        """A complaint about the field at `location`."""
        return Problem(self.path, self.line_of(location), message)

    def read_as(self, model: type[Model]) -> Model:
        """The document as a model. Raises SourceInvalid with a problem for each field at fault."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise SourceInvalid(
                *(self.problem(_sentence(e["loc"], e["msg"]), *e["loc"]) for e in found[:10])
            ) from error


def read_source(path: str, content: bytes | str, first_line: int = 1) -> Source:
    """One YAML document: no duplicate keys, no tags, no aliases. Raises SourceInvalid."""
    if len(content) > MOST_BYTES:
        raise SourceInvalid(Problem(path, 1, f"larger than {MOST_BYTES} bytes"))
    try:
        documents = [node for node in yaml.compose_all(content, _Loader) if node is not None]
        if len(documents) != 1:
            raise SourceInvalid(Problem(path, 1, f"holds {len(documents)} YAML documents; write exactly one"))
        lines: dict[Location, int] = {}
        data = _read(path, documents[0], (), lines, first_line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + first_line if mark else first_line
        raise SourceInvalid(Problem(path, line, f"not YAML: {error.problem or error.context}")) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, SourceInvalid):
            raise
        raise SourceInvalid(Problem(path, first_line, f"not readable as YAML text: {error}")) from error
    return Source(path, data, lines)


class _Loader(yaml.SafeLoader):
    """Composes nodes; aliases are refused, since a few of them make a file explode."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", event.start_mark)
        return super().compose_node(parent, index)


def _read(path: str, node: yaml.Node, location: Location, lines: dict[Location, int], first_line: int) -> Any:  # noqa: ANN401  YAML holds anything
    lines[location] = node.start_mark.line + first_line
    if isinstance(node, yaml.SequenceNode):
        return [_read(path, item, (*location, i), lines, first_line) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + first_line
            if key in result:
                raise SourceInvalid(Problem(path, line, f"{key} is written twice; keep one"))
            result[key] = _read(path, value, (*location, key), lines, first_line)
            lines[(*location, key)] = line
        return result
    return yaml.SafeLoader("").construct_object(node)


def _sentence(location: Location, message: str) -> str:
    field = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    message = {"Extra inputs are not permitted": "no such field", "Field required": "is missing"}.get(message, message)
    return f"{field}: {message}" if field else message
