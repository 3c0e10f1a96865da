"""What is found in files: mistakes, what keeps a job from ever running, and what is doubtful; how it is written out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from carbonfleet.cli.console import say
from carbonfleet.yaml_reader import FileProblem


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
        where = {"path": self.problem.path, "line": self.problem.line, "column": self.problem.column}
        return {"severity": str(self.severity), **where, "message": self.problem.message}


def has(findings: Iterable[FileFinding], severity: Severity) -> bool:
    """Whether any is that bad."""
    return any(finding.severity is severity for finding in findings)


def write_findings(findings: Sequence[FileFinding], *, err: bool = False) -> None:
    """A line for each."""
    for finding in findings:
        say(finding, err=err)
