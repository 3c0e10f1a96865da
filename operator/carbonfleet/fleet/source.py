"""YAML files that people write, read so that every complaint says file, line and what to do."""

from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from carbonfleet.api.problems import Location, name_of, problems_of

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES = 1 << 20
DEEPEST = 64


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
            found = list(problems_of(error, model))[:10]
            raise SourceInvalid(*(self.problem(_sentence(*each), *each[0]) for each in found)) from error


def check_shape(path: str, content: bytes | str, first_line: int = 1) -> None:
    """Refuse text that no YAML reader should be given: too long, too deep, or with aliases.

    libyaml's composer recurses without a bound and ends the process; its parser does not.
    Raises SourceInvalid, or yaml.YAMLError where it is not YAML.
    """
    if len(content) > MOST_BYTES:
        raise SourceInvalid(Problem(path, first_line, f"larger than {MOST_BYTES} bytes"))
    depth = 0
    for event in yaml.parse(content, yaml.CSafeLoader):
        line = (event.start_mark.line if event.start_mark else 0) + first_line
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise SourceInvalid(Problem(path, line, f"nested deeper than {DEEPEST}"))
        if isinstance(event, yaml.AliasEvent):
            # A few aliases of aliases make a file explode.
            raise SourceInvalid(Problem(path, line, "aliases (*name) are not allowed"))


def read_source(path: str, content: bytes | str, first_line: int = 1) -> Source:
    """One YAML document: no duplicate keys, no tags, no aliases. Raises SourceInvalid."""
    reader = _Reader(path, first_line)
    try:
        check_shape(path, content, first_line)
        documents = [node for node in yaml.compose_all(content, yaml.CSafeLoader) if node is not None]
        if len(documents) != 1:
            raise SourceInvalid(Problem(path, first_line, f"holds {len(documents)} YAML documents; write exactly one"))
        data = reader.read(documents[0], ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + first_line if mark else first_line
        raise SourceInvalid(Problem(path, line, f"not YAML: {error.problem or error.context}")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceInvalid(Problem(path, first_line, f"not readable as YAML text: {error}")) from error
    return Source(path, data, reader.lines)


class _Reader:
    """Turns nodes into values and notes the line of each."""

    def __init__(self, path: str, first_line: int) -> None:
        self._path, self._first_line = path, first_line
        self._scalars = yaml.SafeLoader("")
        self.lines: dict[Location, int] = {}

    def read(self, node: yaml.Node, location: Location) -> Any:  # noqa: ANN401  YAML holds anything
        self.lines.setdefault(location, self._line(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        return self._scalars.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value in node.value:
            key = str(key_node.value)
            if key in result:
                raise SourceInvalid(Problem(self._path, self._line(key_node), f"{key} is written twice; keep one"))
            self.lines[(*location, key)] = self._line(key_node)
            result[key] = self.read(value, (*location, key))
        return result

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + self._first_line


def _sentence(location: Location, message: str) -> str:
    return f"{name_of(location)}: {message}" if location else message
