"""`carbonfleet report verify`: whether a ledger is as it was written, and derives from its evidence."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.console import fail, say
from carbonfleet.cli.fleet.ledger_address import USUAL, Address, open_ledger

if TYPE_CHECKING:
    from carbonfleet.fleet import AuditedClone
    from carbonfleet.ledger import Anchor, ChainedRow, ChainFault

MOST_TOLD: Final = 20
"""Faults of a kind that are shown; all are counted."""


@dataclass(slots=True)
class _Source:
    """A ledger, or the export of one."""

    lines: Callable[[], Iterator["ChainedRow"]]
    documents: Callable[[Iterable[str]], Mapping[str, str]]


@dataclass(slots=True)
class _Seen:
    """What a walk along the chain finds beside faults."""

    wanted: frozenset[int]
    """The numbers of links that anchors name."""
    lines: int = 0
    digests: dict[int, str] = field(default_factory=dict)
    """By number: those links, the first and the last."""

    def watch(self, lines: Iterable["ChainedRow"]) -> Iterator["ChainedRow"]:
        """The same lines, each noted."""
        last = None
        for line in lines:
            self.lines += 1
            if line.link is not None:
                last = line.link
                if last.number in self.wanted or last.number == 1:
                    self.digests.setdefault(last.number, last.digest)
            yield line
        if last is not None:
            self.digests[last.number] = last.digest


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="What `report export` wrote; left out: the ledger itself is read.")
    ] = None,
    ledger: Address = USUAL,
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="A head that was noted before, as `report export` and this command print it."),
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(help="A clone of the fleet repository, whose commits name heads of the ledger.")
    ] = None,
) -> None:
    """Find what was changed in a ledger, and derive every line again from its evidence; nothing is asked of the hub.

    Each line carries a digest of itself and of the line before, so that one that was altered, removed, doubled or moved
    is found. That lines were cut off at the end, or that the whole ledger was made anew, shows an anchor: a head that
    was noted elsewhere, as every commit of the hub does. Then each line is computed again from the report, the grid's
    values and the other inputs that are archived with it, and held against its commit where --fleet is given. Lines
    from before evidence was kept can't be derived, and are counted. Ends with 1 where anything is wrong.
    """
    from carbonfleet.ledger import ExportError, LedgerError

    try:
        clone = _clone(fleet) if fleet is not None else None
        anchors = _anchors(anchor or [], clone)
        with _opened(file, ledger) as source:
            wrong = _chain(source, anchors) + _derivation(source, clone)
    except (LedgerError, ExportError, OSError, ValueError) as error:
        fail(error)
    if wrong:
        raise typer.Exit(1)


def _clone(folder: Path) -> "AuditedClone":
    from carbonfleet.fleet import AuditedClone, FleetError

    try:
        return AuditedClone(folder)
    except FleetError as error:
        fail(error)


@contextmanager
def _opened(file: Path | None, address: str) -> Iterator[_Source]:
    if file is not None:
        yield _Source(lambda: _rows(file), _evidence(file))
        return
    opened = open_ledger(address)
    try:
        yield _Source(opened.chained, opened.documents)
    finally:
        opened.close()


def _rows(file: Path) -> Iterator["ChainedRow"]:
    from carbonfleet.ledger import ChainedRow, exported

    with file.open(encoding="utf-8") as lines:
        for _, line in exported(lines, with_evidence=False):
            if isinstance(line, ChainedRow):
                yield line


def _evidence(file: Path) -> Callable[[Iterable[str]], Mapping[str, str]]:
    """All evidence of an export, read when it is first asked for."""
    from carbonfleet.ledger import Document, exported

    kept: dict[str, str] = {}

    def documents(_digests: Iterable[str]) -> Mapping[str, str]:
        if not kept:
            with file.open(encoding="utf-8") as lines:
                kept.update({one.digest: one.text for _, one in exported(lines) if isinstance(one, Document)})
        return kept

    return documents


def _anchors(said: Iterable[str], clone: "AuditedClone | None") -> list[tuple[str, "Anchor"]]:
    """Heads that were noted elsewhere, and where. Raises ValueError for one given here that is none."""
    from carbonfleet.ledger import Anchor

    found = [("the anchor given", Anchor.parse(text)) for text in said]
    for noted in clone.noted_heads() if clone is not None else ():
        try:
            found.append((f"commit {noted.commit[:10]}", Anchor.parse(noted.head)))
        except ValueError:
            say(f"commit {noted.commit[:10]} names a head that is none; it is passed over", err=True)
    return found


def _chain(source: _Source, anchors: list[tuple[str, "Anchor"]]) -> int:
    """Walk along the chain, and hold it against the anchors; how many faults were found."""
    from carbonfleet.ledger import Anchor, Link, chain_faults

    seen = _Seen(frozenset(anchor.link.number for _, anchor in anchors))
    wrong = _tell(chain_faults(seen.watch(source.lines())))
    first, last = seen.digests.get(1, ""), max(seen.digests, default=0)
    if not wrong:
        say(f"{seen.lines} lines: the chain is whole")
    if not first:
        return wrong
    head = Anchor.of(Link(1, first), Link(last, seen.digests[last]))
    say(f"head: {head}")
    return wrong + _anchored(head.ledger, seen.digests, anchors)


def _anchored(name: str, digests: Mapping[int, str], anchors: list[tuple[str, "Anchor"]]) -> int:
    """Hold the chain against heads that were noted; how many it does not have."""
    ours = [(where, anchor.link) for where, anchor in anchors if anchor.ledger == name]
    others = sorted({anchor.ledger for _, anchor in anchors} - {name})
    missing = [(where, link) for where, link in ours if digests.get(link.number) != link.digest]
    for where, link in missing[:MOST_TOLD]:
        say(f"{where} names a head of {link.number} lines that is not here: lines were cut or made anew")
    if others:
        say(f"{len(anchors) - len(ours)} anchors are of other ledgers: {', '.join(others[:MOST_TOLD])}")
    if not ours:
        say("no anchor is of this ledger, so nothing shows whether lines were cut off, or all of it made anew")
        return len(others)
    if not missing:
        newest = max(link.number for _, link in ours)
        say(f"{len(ours)} anchors, until line {newest}: all are here")
    return len(missing)


def _derivation(source: _Source, clone: "AuditedClone | None") -> int:
    from carbonfleet.hub.accounting import Derivation

    derivation = Derivation(source.documents, clone)
    wrong = _tell(derivation.faults(source.lines()))
    say(f"{derivation.derived} lines derive again from their evidence" if not wrong else "not all lines derive")
    if derivation.underivable:
        say(f"{derivation.underivable} lines are from before evidence was kept, and can't be derived")
    return wrong


def _tell(faults: Iterable["ChainFault"]) -> int:
    """Say what is wrong as it is found, up to some; how many there were."""

    count = 0
    for count, fault in enumerate(faults, 1):
        if count <= MOST_TOLD:
            say(fault)
    if count > MOST_TOLD:
        say(f"and {count - MOST_TOLD} more")
    return count
