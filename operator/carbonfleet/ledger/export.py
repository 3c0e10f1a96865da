"""A ledger's export: JSON lines, each an entry with its link or a piece of evidence."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from carbonfleet.ledger.chain import ChainedRow, Link
from carbonfleet.ledger.evidence import Document, digest_of

_EVIDENCE: Final = '{"evidence": '
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What the reading of a line may raise."""


class ExportError(Exception):
    """A line of an export that is none; the message names it."""

    @classmethod
    def of(cls, number: int, error: Exception) -> Self:
        """What is wrong with a line of the file."""
        return cls(f"line {number} is no entry of a ledger: {type(error).__name__}: {error}")


def exported(lines: Iterable[str], *, with_evidence: bool = True) -> Iterator[tuple[int, ChainedRow | Document]]:
    """Entries with their links, where they have one, and evidence that fits its digest, each with the number of its
    line in the file. Raises ExportError.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip() or (not with_evidence and line.startswith(_EVIDENCE)):
            continue
        try:
            yield number, _one_of(json.loads(line))
        except UNREADABLE as error:
            raise ExportError.of(number, error) from error


def as_line(row: ChainedRow | Document) -> str:
    """The way out, without the line's end."""
    if isinstance(row, Document):
        return json.dumps({"evidence": row.digest, "body": row.text})
    link = {"number": row.link.number, "digest": row.link.digest} if row.link else {}
    return json.dumps({**(row.row or {}), **link}, sort_keys=True)


def _one_of(said: dict[str, Any]) -> ChainedRow | Document:
    if "evidence" in said:
        if digest_of(said["body"]) != said["evidence"]:
            raise ValueError(f"the evidence {said['evidence']} was altered")
        return Document(said["evidence"], said["body"])
    link = Link(said["number"], said["digest"]) if "digest" in said else None
    return ChainedRow(link, said if "id" in said else None)
