"""What is found in files: mistakes, what keeps a job from ever running, and what is doubtful; how it is written out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from carbonfleet.cli.console import say
from carbonfleet.yaml_reader import FileProblem


class Output(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class Severity(StrEnum):
    """What comes of it."""

    ERROR = "error"
    """The API, or whoever reads the file, refuses it."""
    BLOCKED = "blocked"
    """The API takes the job, and the fleet has no place for it."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class FileFinding:
    """Something about a file that a person should know."""

    severity: Severity
    problem: FileProblem

    def under(self, folder: str | Path) -> "FileFinding":
        """The same with a path that begins at a folder."""
        return replace(self, problem=replace(self.problem, path=str(Path(folder, self.problem.path))))

    def __str__(self) -> str:
        if self.severity is Severity.ERROR:
            return str(self.problem)
        return str(replace(self.problem, message=f"{self.severity}: {self.problem.message}"))

    def to_wire(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"severity": str(self.severity), **problem_to_wire(self.problem)}


def problem_to_wire(problem: FileProblem) -> dict[str, Any]:
    """A problem as JSON has it."""
    where = {"path": problem.path, "line": problem.line, "column": problem.column}
    return {key: value for key, value in where.items() if value is not None} | {"message": problem.message}


def has(findings: Iterable[FileFinding], severity: Severity) -> bool:
    """Whether any is that bad."""
    return any(finding.severity is severity for finding in findings)


def write_findings(findings: Sequence[FileFinding], *, err: bool = False) -> None:
    """A line for each."""
    for finding in findings:
        say(finding, err=err)


def write_data(value: object, output: Output) -> None:
    """A JSON value as JSON or YAML."""
    import yaml

    if output is Output.JSON:
        say(json.dumps(value, indent=2))
    else:
        say(yaml.safe_dump(value, sort_keys=False, width=120).rstrip())
