"""A ledger's export: JSON lines, each an entry with its link or a piece of evidence."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from carbonfleet.ledger.chain import ChainedRow, Link
from carbonfleet.ledger.entry import LedgerError
from carbonfleet.ledger.evidence import Document

_EVIDENCE: Final = '{"evidence": '
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What the reading of a line may raise."""


def unreadable(number: int, error: Exception) -> LedgerError:
    """What is wrong with a line of the file."""
    return LedgerError(f"line {number} is no entry of a ledger: {type(error).__name__}: {error}")


def exported(lines: Iterable[str], *, with_evidence: bool = True) -> Iterator[tuple[int, ChainedRow | Document]]:
    """Entries with their links, where they have one, and evidence, each with the number of its line in the file.

    Nothing is held against a digest here. Raises LedgerError.
    """
    for number, line in enumerate(lines, 1):
        if (not with_evidence and line.startswith(_EVIDENCE)) or not line.strip():
            continue
        try:
            yield number, _one_of(json.loads(line.encode("utf-8", "surrogateescape")))
        except UNREADABLE as error:
            raise unreadable(number, error) from error


def as_line(row: ChainedRow | Document) -> str:
    """The way out, without the line's end."""
    if isinstance(row, Document):
        return json.dumps({"evidence": row.digest, "body": row.text})
    link = {"number": row.link.number, "digest": row.link.digest} if row.link else {}
    return json.dumps({**(row.row or {}), **link}, sort_keys=True)


def _one_of(said: dict[str, Any]) -> ChainedRow | Document:
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
