"""A hash chain over the ledger's lines, by which one altered, missing, doubled or moved line is found.

Each link is the SHA-256 of the link before and of its line in canonical JSON, so that it vouches for everything until
then, and the last one, the head, for the whole (Haber and Stornetta, 1991). A head that was noted elsewhere, an anchor,
shows that lines were cut off at the end or that the whole chain was made anew.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from carbonfleet.ledger.entry import DEFAULTS, FIELDS
from carbonfleet.ledger.evidence import canonical, digest_of

START: Final = ""
"""The link before the first line."""
_FIELDS: Final = frozenset(FIELDS)


@dataclass(frozen=True, slots=True)
class Link:
    """One line's place in the chain."""

    number: int
    """From 1 on."""
    digest: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link as it is noted elsewhere: which ledger's, which line's, and its digest."""

    ledger: str
    """The first letters of its first link's digest."""
    link: Link

    def __str__(self) -> str:
        return f"{self.ledger} {self.link.number} {self.link.digest}"

    @classmethod
    def of(cls, first: Link, link: Link) -> Self:
        """The anchor of a link in the ledger that begins with `first`."""
        return cls(first.digest.removeprefix("sha256:")[:_NAME_LENGTH], link)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The way back from its text. Raises ValueError."""
        found = _ANCHOR.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                "an anchor is a ledger's name, a line's number and its digest: `3f2a9c1b04de 42 sha256:...`"
            )
        return cls(found[1], Link(int(found[2]), found[3]))


_NAME_LENGTH: Final = 12
_ANCHOR: Final = re.compile(r"([0-9a-f]{12}) ([0-9]{1,12}) (sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ChainedRow:
    """A line as it is kept: its link and its row. A row that nobody chained has no link, a link without a row none."""

    link: Link | None
    row: Mapping[str, Any] | None


def link_after(previous: str, number: int, row: Mapping[str, Any]) -> Link:
    """The link of a row that follows the link `previous`. Raises ValueError for NaN.

    Fields that came later and hold their default are left out, so that a row's digest outlives new fields.
    """
    told = {
        name: value
        for name, value in row.items()
        if name in _FIELDS and (name not in DEFAULTS or value != DEFAULTS[name])
    }
    return Link(number, digest_of(f"{previous}\n{canonical(told)}"))


@dataclass(frozen=True, slots=True)
class ChainFault:
    """What is wrong with one line of the chain."""

    number: int
    entry: str
    message: str

    def __str__(self) -> str:
        return f"line {self.number} ({self.entry or 'no entry'}): {self.message}"


def chain_faults(lines: Iterable[ChainedRow]) -> Iterator[ChainFault]:
    """Everything that is wrong, in the order of the lines. Each line is held against the link that stands before it."""
    previous, expected = START, 1
    seen: set[str] = set()
    for line in lines:
        row, link = line.row, line.link
        entry = str(row.get("id", "")) if row is not None else ""
        if link is None:
            yield ChainFault(expected, entry, "it is not in the chain: it was added by other hands than the ledger's")
            continue
        if link.number != expected:
            yield ChainFault(link.number, entry, _out_of_order(link.number, expected))
        if entry and entry in seen:
            yield ChainFault(link.number, entry, "it stands here a second time")
        elif row is None:
            yield ChainFault(link.number, entry, "it was removed: only its link is left")
        elif link.number == expected and not _follows(previous, link, row):
            yield ChainFault(link.number, entry, "it, or the link before it, is not as it was written")
        seen.add(entry)
        previous, expected = link.digest, link.number + 1


def _out_of_order(number: int, expected: int) -> str:
    if number < expected:
        return f"it stands after line {expected - 1}: lines were doubled or moved"
    missing = f"line {expected} is" if number == expected + 1 else f"lines {expected} to {number - 1} are"
    return f"{missing} missing before it, or moved"


def _follows(previous: str, link: Link, row: Mapping[str, Any]) -> bool:
    try:
        return link_after(previous, link.number, row) == link
    except (TypeError, ValueError):
        return False
