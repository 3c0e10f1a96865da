"""A ledger's export: JSON lines, each an entry with its link or a piece of evidence."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from carbonfleet.faults import said
from carbonfleet.ledger.chain import ChainedRow, Link
from carbonfleet.ledger.entry import LedgerError
from carbonfleet.ledger.evidence import Document

_EVIDENCE: Final = '{"evidence": '
LONGEST_LINE: Final = 1 << 24
"""Characters of a line, its end included; a line of evidence has some thousands."""
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What the reading of a line may raise."""


def unreadable(number: int, error: Exception) -> LedgerError:
    """What is wrong with a line of the file."""
    return LedgerError(f"line {number} is no entry of a ledger: {said(error)}")


def lines_in(file: Path) -> Iterator[str]:
    """A file's lines, whatever bytes they hold; of one that is too long, its begin. Raises OSError."""
    with file.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        while line := lines.readline(LONGEST_LINE):
            yield line
            while len(line) == LONGEST_LINE and not line.endswith("\n"):
                line = lines.readline(LONGEST_LINE)


def _refuse(error: LedgerError) -> None:
    raise error


def exported(
    lines: Iterable[str], *, with_evidence: bool = True, told: Callable[[LedgerError], object] = _refuse
) -> Iterator[tuple[int, ChainedRow | Document]]:
    """Entries with their links, where they have one, and evidence, each with the number of its line in the file.

    Nothing is held against a digest here. A line that is none is `told`, and the next one read; raises LedgerError
    where nobody is to be told.
    """
    for number, line in enumerate(lines, 1):
        if (not with_evidence and line.startswith(_EVIDENCE)) or not line.strip():
            continue
        try:
            found = _one_of(json.loads(_whole_line(line).encode("utf-8", "surrogateescape")))
        except UNREADABLE as error:
            told(unreadable(number, error))
        else:
            yield number, found


def _whole_line(line: str) -> str:
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"it has more than {LONGEST_LINE} characters")
    return line


def as_line(row: ChainedRow | Document) -> str:
    """The way out, without the line's end."""
    if isinstance(row, Document):
        return json.dumps({"evidence": row.digest, "body": row.text})
    link = {"number": row.link.number, "digest": row.link.digest} if row.link else {}
    return json.dumps({**(row.row or {}), **link}, sort_keys=True)


def _one_of(said: object) -> ChainedRow | Document:
    if not isinstance(said, dict):
        raise TypeError("it is no JSON object")
    if "evidence" in said:
        return Document(_text(said["evidence"]), _text(said["body"]))
    link = Link(_whole(said["number"]), _text(said["digest"])) if "digest" in said else None
    return ChainedRow(link, said if said.get("id") else None)


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise TypeError(f"{said!r:.40} stands where a digest does")
    return said


def _whole(said: object) -> int:
    if type(said) is not int:
        raise TypeError(f"{said!r:.40} stands where a line's number does")
    return said
