"""`carbonfleet report verify`: whether a ledger is as it was written, and derives from its evidence.

The chain is walked before anything else is loaded, so that an altered line is told at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.fleet.ledger_address import USUAL, Address, open_ledger

if TYPE_CHECKING:
    from carbonfleet.fleet import AuditedClone
    from carbonfleet.ledger import Anchor, ChainedRow, ChainFault

MOST_TOLD: Final = 20
"""Faults of a kind that are shown; all are counted."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A ledger, or the export of one."""

    lines: Callable[[], Iterator["ChainedRow"]]
    documents: Callable[[Iterable[str]], Mapping[str, str]]
    unread: dict[str, None] = field(default_factory=dict)
    """Of an export: what is wrong with lines that are none, in the order in which they were found."""


@dataclass(slots=True)
class _Walked:
    """What a walk along the chain finds beside faults."""

    lines: int = 0
    digests: dict[int, str] = field(default_factory=dict)
    """Of each link, by its number."""
    placed: dict[str, int] = field(default_factory=dict)
    """By commit: the first line that says it was placed by it."""

    def noting(self, lines: Iterable["ChainedRow"]) -> Iterator["ChainedRow"]:
        """The same lines, each noted."""
        for line in lines:
            self.lines += 1
            if line.link is not None:
                self.digests.setdefault(line.link.number, line.link.digest)
                if line.row is not None:
                    self.placed.setdefault(str(line.row.get("commit")), line.link.number)
            yield line

    def head(self) -> "Anchor | None":
        """The last link; None where there is none, or the first is missing."""
        from carbonfleet.ledger import Anchor, Link

        if 1 not in self.digests:
            return None
        last = max(self.digests)
        return Anchor.of(Link(1, self.digests[1]), Link(last, self.digests[last]))


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

    What this can't find: lines cut off after the newest anchor, a ledger made anew together with the history of the
    repository, and what a spoke or a grid's provider said falsely before it was written down.
    """
    from carbonfleet.ledger import Anchor, LedgerError

    try:
        given = [Anchor.parse(text) for text in anchor or []]
        with _opened(file, ledger) as source:
            walked = _Walked()
            wrong = _chain(source, walked)
            clone = _clone(fleet) if fleet is not None else None
            wrong += _anchored(walked, given, _noted(clone) if clone is not None else {})
            wrong += _derivation(source, clone)
            wrong += _tell(source.unread)
    except (LedgerError, OSError, ValueError) as error:
        fail(error)
    if wrong:
        raise typer.Exit(ExitCode.WRONG)


def _clone(folder: Path) -> "AuditedClone":
    from carbonfleet.fleet import AuditedClone, FleetError

    try:
        return AuditedClone(folder)
    except FleetError as error:
        fail(error)


@contextmanager
def _opened(file: Path | None, address: str) -> Iterator[_Source]:
    if file is not None:
        unread: dict[str, None] = {}

        def tell(error: Exception) -> None:
            unread[str(error)] = None

        yield _Source(lambda: _rows(file, tell), _evidence(file, tell), unread)
        return
    opened = open_ledger(address)
    try:
        yield _Source(opened.chained, opened.documents)
    finally:
        opened.close()


def _rows(file: Path, tell: Callable[[Exception], None]) -> Iterator["ChainedRow"]:
    from carbonfleet.ledger import ChainedRow, exported, lines_in

    for _, line in exported(lines_in(file), with_evidence=False, told=tell):
        if isinstance(line, ChainedRow):
            yield line


def _evidence(file: Path, tell: Callable[[Exception], None]) -> Callable[[Iterable[str]], Mapping[str, str]]:
    """All evidence of an export, read when it is first asked for."""
    from carbonfleet.ledger import Document, exported, lines_in

    kept: dict[str, str] = {}

    def documents(_digests: Iterable[str]) -> Mapping[str, str]:
        if not kept:
            found = exported(lines_in(file), told=tell)
            kept.update({one.digest: one.text for _, one in found if isinstance(one, Document)})
        return kept

    return documents


def _noted(clone: "AuditedClone") -> dict[str, "Anchor"]:
    """By commit: the heads that the fleet repository names."""
    from carbonfleet.ledger import Anchor

    found = {}
    for noted in clone.noted_heads():
        try:
            found[noted.commit] = Anchor.parse(noted.head)
        except ValueError:
            say(f"commit {noted.commit[:10]} names a head that is none; it is passed over", err=True)
    return found


def _chain(source: _Source, walked: _Walked) -> int:
    """Walk along the chain; how many faults were found."""
    from carbonfleet.ledger import chain_faults

    wrong = _tell(chain_faults(walked.noting(source.lines())))
    if not wrong:
        say(f"{walked.lines} lines: the chain is whole")
    if (head := walked.head()) is not None:
        say(f"head: {head}")
    return wrong


def _anchored(walked: _Walked, given: Iterable["Anchor"], noted: Mapping[str, "Anchor"]) -> int:
    """Hold the chain against heads that were noted; how many it does not have."""
    anchors = [("the anchor given", anchor) for anchor in given]
    anchors += [(f"commit {commit[:10]}", anchor) for commit, anchor in noted.items()]
    head = walked.head()
    name = head.ledger if head is not None else ""
    ours = [(where, anchor.link) for where, anchor in anchors if anchor.ledger == name]
    others = sorted({anchor.ledger for _, anchor in anchors} - {name})
    wrong = [
        f"{where} names a head of {link.number} lines that is not here: lines were cut or made anew"
        for where, link in ours
        if walked.digests.get(link.number) != link.digest
    ]
    wrong += [
        f"line {walked.placed[commit]} says that commit {commit[:10]} placed it, which names a head of another ledger, "
        f"{anchor.ledger}: this one was made anew, or another hub placed it"
        for commit, anchor in noted.items()
        if commit in walked.placed and anchor.ledger != name
    ]
    _tell(wrong)
    if others:
        say(f"{len(anchors) - len(ours)} anchors are of other ledgers: {', '.join(others[:MOST_TOLD])}")
    if not ours:
        say("no anchor is of this ledger, so nothing shows whether lines were cut off, or all of it made anew")
        return len(wrong) + len(others)
    if not wrong:
        say(f"{len(ours)} anchors, until line {max(link.number for _, link in ours)}: all are here")
    return len(wrong)


def _derivation(source: _Source, clone: "AuditedClone | None") -> int:
    from carbonfleet.hub.accounting import Derivation

    derivation = Derivation(source.documents, clone)
    wrong = _tell(derivation.faults(source.lines()))
    say(f"{derivation.derived} lines derive again from their evidence" if not wrong else "not all lines derive")
    if clone is not None and derivation.unplaced:
        say(f"{derivation.unplaced} lines name no commit that placed them, so that the clone says nothing of them")
    if derivation.underivable:
        say(f"{derivation.underivable} lines are from before evidence was kept, and can't be derived")
    return wrong


def _tell(faults: Iterable["ChainFault | str"]) -> int:
    """Say what is wrong as it is found, up to some; how many there were."""
    count = 0
    for count, fault in enumerate(faults, 1):
        if count <= MOST_TOLD:
            say(fault)
    if count > MOST_TOLD:
        say(f"and {count - MOST_TOLD} more")
    return count
