"""`carbonfleet report verify`: whether a ledger is as it was written, and derives from its evidence.

The chain is walked before anything else is loaded, so that an altered line is told at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.ledger.address import USUAL, Address, open_ledger

if TYPE_CHECKING:
    from carbonfleet.cli.about.schemas import VerifyAnswer
    from carbonfleet.fleet import AuditedClone
    from carbonfleet.hub.accounting import Derivation
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
class _Findings:
    """What is found: said at once, or kept for an answer in data."""

    is_said: bool
    faults: list[str] = field(default_factory=list)
    """Up to MOST_TOLD of a kind."""
    wrong: int = 0
    """How many there are."""
    anchors: int = 0
    """Of this ledger, whose lines are all here."""

    def tell(self, faults: Iterable["ChainFault | str"]) -> int:
        """Take in what is wrong, one kind of it, as it is found; how many there were."""
        count = 0
        for count, fault in enumerate(faults, 1):
            if count <= MOST_TOLD:
                self.faults.append(str(fault))
                self.note(fault)
        if count > MOST_TOLD:
            self.note(f"and {count - MOST_TOLD} more")
        self.wrong += count
        return count

    def note(self, text: object) -> None:
        """Say something, where it is said."""
        if self.is_said:
            say(text)


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
    output: Output = Form.TEXT,
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

    found, walked = _Findings(is_said=output in (Form.TEXT, Form.WIDE)), _Walked()
    try:
        given = [Anchor.parse(text) for text in anchor or []]
        with _opened(file, ledger) as source:
            _chain(source, walked, found)
            clone = _clone(fleet) if fleet is not None else None
            _anchored(walked, given, _noted(clone) if clone is not None else {}, found)
            derivation = _derivation(source, clone, found)
            found.tell(source.unread)
    except (LedgerError, OSError, ValueError) as error:
        fail(error)
    if output.is_data:
        write(_answer(walked, derivation, found), output, "report verify")
    elif output is Form.NAME:
        write_names([str(head)] if (head := walked.head()) is not None else [])
    if found.wrong:
        raise typer.Exit(ExitCode.WRONG)


def _answer(walked: _Walked, derivation: "Derivation", found: _Findings) -> "VerifyAnswer":
    from carbonfleet.cli.about.schemas import VerifyAnswer

    head = walked.head()
    return VerifyAnswer(
        lines=walked.lines,
        head=None if head is None else str(head),
        anchors=found.anchors,
        derived=derivation.derived,
        underivable=derivation.underivable,
        unplaced=derivation.unplaced,
        wrong=found.wrong,
        faults=tuple(found.faults),
    )


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


def _chain(source: _Source, walked: _Walked, found: _Findings) -> None:
    """Walk along the chain."""
    from carbonfleet.ledger import chain_faults

    if not found.tell(chain_faults(walked.noting(source.lines()))):
        found.note(f"{walked.lines} lines: the chain is whole")
    if (head := walked.head()) is not None:
        found.note(f"head: {head}")


def _anchored(walked: _Walked, given: Iterable["Anchor"], noted: Mapping[str, "Anchor"], found: _Findings) -> None:
    """Hold the chain against heads that were noted."""
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
    found.tell(wrong)
    if others:
        found.note(f"{len(anchors) - len(ours)} anchors are of other ledgers: {', '.join(others[:MOST_TOLD])}")
    if not ours:
        found.note("no anchor is of this ledger, so nothing shows whether lines were cut off, or all of it made anew")
        found.wrong += len(others)
    elif not wrong:
        found.anchors = len(ours)
        found.note(f"{len(ours)} anchors, until line {max(link.number for _, link in ours)}: all are here")


def _derivation(source: _Source, clone: "AuditedClone | None", found: _Findings) -> "Derivation":
    from carbonfleet.hub.accounting import Derivation

    derivation = Derivation(source.documents, clone)
    wrong = found.tell(derivation.faults(source.lines()))
    found.note(f"{derivation.derived} lines derive again from their evidence" if not wrong else "not all lines derive")
    if clone is not None and derivation.unplaced:
        found.note(f"{derivation.unplaced} lines name no commit that placed them: the clone says nothing of them")
    if derivation.underivable:
        found.note(f"{derivation.underivable} lines are from before evidence was kept, and can't be derived")
    return derivation
