"""The one reader of YAML that people write: JSON values, and every complaint with file, line and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from carbonfleet.api.problems import Location, name_of, problems_of
from carbonfleet.faults import said

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES: Final = 1 << 20
MOST_VALUES: Final = 50_000
DEEPEST: Final = 64
LONGEST_KEY: Final = 1024
_LONGEST_MESSAGE: Final = 1000
_Event = Any
"""Of libyaml's kinds, whose attributes have no types."""
_Mark = Any
"""A place in the text, or None."""


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong with a file, and where."""

    path: str
    line: int
    """From 1."""
    message: str
    column: int | None = None
    """From 1, where it is known."""

    def __str__(self) -> str:
        """`file:line: message`, which editors and CI make into a link, without what a terminal would obey."""
        return f"{printable(self.path)}:{self.line}: {printable(self.message)[:_LONGEST_MESSAGE]}"


class FileInvalid(ValueError):  # noqa: N818  named like its reason
    """A file that can't be used, with each problem found in it."""

    def __init__(self, *problems: FileProblem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A YAML document as JSON values, and the line of each of its fields."""

    path: str
    data: Any
    lines: dict[Location, int]

    def line_of(self, location: Location) -> int:
        """The line of a field, or of the nearest thing around it that the file does have."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problem(self, message: str, *location: str | int) -> FileProblem:
        """A complaint about the field at `location`."""
        return FileProblem(self.path, self.line_of(location), message)

    def read_as(self, model: type[Model]) -> Model:
        """The document as a model, with nothing left empty.

        Raises FileInvalid with a problem for each field at fault.
        """
        with blaming(self.path):
            if empty := list(empty_fields(self.data)):
                message = "is empty: write a value, or leave the field out"
                raise FileInvalid(*(self.problem(_sentence(at, message), *at) for at in empty[:10]))
            try:
                return model.model_validate(self.data)
            except ValidationError as error:
                found = list(problems_of(error, model))[:10]
                raise FileInvalid(*(self.problem(_sentence(*each), *each[0]) for each in found)) from error


@contextmanager
def blaming(path: str, kind: type[FileInvalid] = FileInvalid) -> Iterator[None]:
    """Make any error inside a problem of the file at `path`: what is unforeseen in one file harms no other."""
    try:
        yield
    except FileInvalid as error:
        if isinstance(error, kind):
            raise
        raise kind(*error.problems) from error
    except Exception as error:
        raise kind(FileProblem(path, 1, f"can't be read: {said(error)}")) from error


def read_document(path: str, content: bytes | str, first_line: int = 1) -> YamlDocument:
    """The one document of a file, or of a part of it that begins at `first_line`. Raises FileInvalid."""
    documents = read_documents(path, content, first_line)
    if len(documents) != 1:
        message = f"holds {len(documents)} YAML documents; write exactly one"
        raise FileInvalid(FileProblem(path, first_line, message))
    return documents[0]


def read_documents(path: str, content: bytes | str, first_line: int = 1) -> tuple[YamlDocument, ...]:
    """All documents of a file but the empty ones, in their order.

    Scalars mean what they mean to kubectl: `yes` and `y` are true, `0x1f`, `017`, `08` and `1e-4` are numbers. Dates,
    times and base-60 numbers stay text. Refused are tags, aliases, merge keys, a key written twice,
    numbers that JSON and 64 bits can't hold, and more than `MOST_BYTES`, `MOST_VALUES` or `DEEPEST`.

    Raises FileInvalid, whatever is wrong.
    """
    with blaming(path):
        return tuple(_Reader(path, _text(path, content), first_line).documents())


def empty_fields(value: Any, at: Location = ()) -> Iterator[Location]:  # noqa: ANN401
    """Where nothing stands: it may hide a rule that was meant, and would widen what the rest allows."""
    if value is None:
        yield at
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from empty_fields(inside, (*at, key))


def is_plain_text(text: str) -> bool:
    """Whether `text` written without quotes is read as text, by kubectl too: `1e3`, `y` and `08` are not."""
    return text not in _WORDS and isinstance(_number(text), str)


def printable(text: str) -> str:
    """`text` with everything that is no visible character written as an escape: `\\x1b`, `\\n`, `\\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text(path: str, content: bytes | str) -> str:
    if len(content) > MOST_BYTES:
        raise FileInvalid(FileProblem(path, 1, f"larger than {MOST_BYTES} bytes"))
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"not readable as YAML: byte {error.start} is not UTF-8; save it as UTF-8"
        raise FileInvalid(FileProblem(path, line, message)) from error


class _Reader:
    """Builds values straight from libyaml's events: its composer recurses without a bound and ends the process."""

    def __init__(self, path: str, text: str, first_line: int) -> None:
        self._path, self._text, self._first_line = path, text, first_line
        self._values = 0
        self._lines: dict[Location, int] = {}

    def documents(self) -> Iterator[YamlDocument]:
        try:
            events: Iterator[_Event] = yaml.parse(self._text, yaml.CSafeLoader)
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._lines = {}
                    data = self._value(next(events), events, ())
                    if data is not None:
                        yield YamlDocument(self._path, data, self._lines)
        except yaml.MarkedYAMLError as error:
            raise self._refused(error.problem_mark or error.context_mark, _complaint(error)) from error
        except yaml.reader.ReaderError as error:
            line = self._text.encode("utf-8", "surrogatepass").count(b"\n", 0, error.position) + self._first_line
            message = f"not readable as YAML: {error.reason} (U+{_code(error.character):04X})"
            raise FileInvalid(FileProblem(self._path, line, message)) from error

    def _value(self, event: _Event, events: Iterator[_Event], location: Location) -> Any:  # noqa: ANN401
        self._check(event, location)
        self._lines.setdefault(location, self._line(event.start_mark))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, location)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, location)
        return self._scalar(event) if event.implicit[0] else event.value

    def _check(self, event: _Event, location: Location) -> None:
        self._values += 1
        if isinstance(event, yaml.AliasEvent):
            # A few aliases of aliases make a file explode.
            raise self._refused(event.start_mark, "aliases (*name) are not allowed")
        if event.tag is not None:
            raise self._refused(event.start_mark, f"tags ({event.tag}) are not allowed; quote what is text")
        if len(location) > DEEPEST:
            raise self._refused(event.start_mark, f"nested deeper than {DEEPEST}")
        if self._values > MOST_VALUES:
            raise self._refused(event.start_mark, f"holds more than {MOST_VALUES} values")

    def _sequence(self, events: Iterator[_Event], location: Location) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            result.append(self._value(event, events, (*location, len(result))))
        return result

    def _mapping(self, events: Iterator[_Event], location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, location)
            if key in result:
                raise self._refused(event.start_mark, f"{key} is written twice; keep one")
            self._lines[(*location, key)] = self._line(event.start_mark)
            result[key] = self._value(next(events), events, (*location, key))
        return result

    def _key(self, event: _Event, location: Location) -> str:
        """A key as it is written, so that `on:` and `1:` need no quotes."""
        self._check(event, location)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refused(event.start_mark, "a key must be text, not a list or a mapping")
        if event.value == "<<" and event.implicit[0]:
            raise self._refused(event.start_mark, "merge keys (<<) are not allowed; write it out")
        if len(event.value) > LONGEST_KEY:
            raise self._refused(event.start_mark, f"a key is longer than {LONGEST_KEY} characters")
        return str(event.value)

    def _scalar(self, event: _Event) -> str | int | float | bool | None:
        text = event.value
        if text in _WORDS:
            return _WORDS[text]
        value = _number(text)
        if value is None:
            short = text if len(text) <= 24 else f"{text[:24]}..."
            raise self._refused(event.start_mark, f"{short} is no number that fits; put it in quotes if it is text")
        return value

    def _refused(self, mark: _Mark, message: str) -> FileInvalid:
        return FileInvalid(FileProblem(self._path, self._line(mark), message, mark.column + 1 if mark else None))

    def _line(self, mark: _Mark) -> int:
        return (mark.line if mark else 0) + self._first_line


_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"), False),
}
_WHOLE: Final = re.compile(r"[-+]?(?:0x[0-9a-f]+|0b[01]+|0o?[0-7]+|[0-9]+)")
_FRACTION: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:e[-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
"""Numbers as go-yaml reads them for kubectl, in lower case and without underscores: `1e-4`, `08`, `0o17` are some."""


def _number(text: str) -> int | float | str | None:
    """The value of a plain scalar: text where it is no number, None for a number that 64 bits or JSON can't hold."""
    if _NOT_FINITE.fullmatch(text):
        return None
    plain = text.replace("_", "").lower() if text[0] in "+-.0123456789" else ""
    if _WHOLE.fullmatch(plain):
        return _whole(plain)
    number = float(plain) if _FRACTION.fullmatch(plain) else inf
    return number if isfinite(number) else text


def _whole(plain: str) -> int | None:
    digits = plain.lstrip("+-")
    is_octal = digits.startswith("0o") or (digits[0] == "0" and not set(digits) - set("01234567"))
    base = 2 if digits.startswith("0b") else 16 if digits.startswith("0x") else 8 if is_octal else 10
    try:
        whole = int(plain, base)
    except ValueError:  # more digits than Python converts
        return None
    return whole if -(1 << 63) <= whole < 1 << 63 else None


def _complaint(error: yaml.MarkedYAMLError) -> str:
    return f"not YAML: {error.problem or error.context}"


def _code(character: Any) -> int:  # noqa: ANN401  libyaml gives a number, PyYAML's own reader a character
    return character if isinstance(character, int) else ord(character)


def _sentence(location: Location, message: str) -> str:
    return f"{name_of(location)}: {message}" if location else message
