"""A file of prompts with checks, as people write it: YAML, or a JSON object on each line."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, field_validator, model_validator

from carbonfleet.api.wire import Wire
from carbonfleet.sweep.error import SweepError
from carbonfleet.yaml_reader import (
    MOST_BYTES,
    FileInvalid,
    FileProblem,
    YamlDocument,
    blaming,
    read_document,
)

MOST_PROMPTS: Final = 1000


def _listed(value: object) -> object:
    if isinstance(value, int | float):  # bool too
        raise ValueError(f"{value} is no text: put it in quotes")
    return [value] if isinstance(value, str) else value


Line = Annotated[str, Field(min_length=1, max_length=10_000)]
Lines = Annotated[
    tuple[Line, ...],
    BeforeValidator(_listed),
    Field(max_length=100),
]
"""One text, or a list of them."""


class ScoredPrompt(Wire):
    """A question, and what an answer to it must be: every check that is written must hold."""

    name: Annotated[str, Field(max_length=40)] = ""
    """What the table calls it; its number if left out."""
    prompt: Annotated[str, Field(min_length=1, max_length=100_000)]
    """What is asked."""
    system: Annotated[str, Field(max_length=100_000)] = ""
    """What the model is told first."""
    exact: Line | None = None
    """The answer, but for white space around it."""
    contains: Lines = ()
    """Texts that stand in it."""
    regex: Lines = ()
    """Regular expressions, as Python's, each found somewhere in it."""
    code: Line | None = None
    """Python that runs after the answer's own, and fails by an error; only with --allow-code."""

    @field_validator("regex")
    @classmethod
    def _expressions_are_sound(cls, expressions: tuple[str, ...]) -> tuple[str, ...]:
        for expression in expressions:
            try:
                re.compile(expression)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{expression[:100]} is no regular expression: {error}") from error
        return expressions

    @field_validator("code")
    @classmethod
    def _code_is_python(cls, code: str | None) -> str | None:
        try:
            compile(code or "", "code", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"is no Python: {error}") from error
        return code

    @model_validator(mode="after")
    def _something_is_checked(self) -> "ScoredPrompt":
        if self.exact is None and self.code is None and not self.contains and not self.regex:
            raise ValueError("nothing is checked: write exact, contains, regex or code")
        return self


class PromptFile(Wire):
    """The whole file, as YAML."""

    prompts: Annotated[tuple[ScoredPrompt, ...], Field(max_length=MOST_PROMPTS)]
    """What is asked, in this order."""


@dataclass(frozen=True, slots=True)
class PromptSuite:
    """The prompts of a file, each with a name of its own."""

    name: str
    """The file's."""
    prompts: tuple[ScoredPrompt, ...]
    digest: str
    """Of what is asked and checked, however it is written."""

    @property
    def has_code(self) -> bool:
        """Whether answers are run."""
        return any(prompt.code is not None for prompt in self.prompts)


def read_suite(path: Path) -> PromptSuite:
    """The prompts of a file.

    Raises:
        SweepError: it can't be read.
        FileInvalid: it is not such a file; problems with file and line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SweepError(f"{path} can't be read: {error.strerror}") from error
    if path.suffix in {".jsonl", ".ndjson"}:
        found = _lines_of(str(path), content)
    else:
        document = read_document(str(path), content)
        found = [
            (prompt, document.line_of(("prompts", number)))
            for number, prompt in enumerate(document.read_as(PromptFile).prompts)
        ]
    prompts = _named(str(path), found)
    said = json.dumps([prompt.model_dump(mode="json") for prompt in prompts], sort_keys=True)
    return PromptSuite(path.name, prompts, hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:16])


def _lines_of(path: str, content: bytes) -> list[tuple[ScoredPrompt, int]]:
    if len(content) > MOST_BYTES:
        raise FileInvalid(FileProblem(path, 1, f"larger than {MOST_BYTES} bytes"))
    found = []
    for line, text in enumerate(content.split(b"\n"), 1):
        if text.strip():
            document = YamlDocument(path, _object(path, line, text), {(): line})
            found.append((document.read_as(ScoredPrompt), line))
    if len(found) > MOST_PROMPTS:
        raise FileInvalid(FileProblem(path, 1, f"holds {len(found)} prompts; write at most {MOST_PROMPTS}"))
    return found


def _object(path: str, line: int, text: bytes) -> Any:  # noqa: ANN401 - any JSON
    with blaming(path):
        try:
            return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            raise FileInvalid(FileProblem(path, line, f"not a JSON object: {error}")) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is written twice; keep one")
    return found


def _named(path: str, found: list[tuple[ScoredPrompt, int]]) -> tuple[ScoredPrompt, ...]:
    if not found:
        raise FileInvalid(FileProblem(path, 1, "holds no prompts"))
    named: dict[str, ScoredPrompt] = {}
    for number, (prompt, line) in enumerate(found, 1):
        name = prompt.name or str(number)
        if name in named:
            raise FileInvalid(FileProblem(path, line, f"another prompt is called {name} already"))
        named[name] = prompt.model_copy(update={"name": name})
    return tuple(named.values())
