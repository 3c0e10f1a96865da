"""Whether the lines of a ledger derive again from their evidence, and stand in the commits that they name."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Final

import numpy as np

from carbonfleet import faults
from carbonfleet.fleet import AuditedClone
from carbonfleet.hub.accounting.account import derived
from carbonfleet.ledger import EVIDENCE_FIELDS, ChainedRow, ChainFault, Entry, EntryKind, EvidenceError
from carbonfleet.ledger.store import entry_of

TOLERANCE: Final = 1e-9
"""Relative: sums of floats differ so little between processors. The chain finds what is smaller."""
_AT_ONCE: Final = 500

Documents = Callable[[Iterable[str]], Mapping[str, str]]
"""The evidence of some digests, as far as there is any."""


@dataclass(slots=True)
class Derivation:
    """Goes through the lines of a ledger in the chain's order, and counts."""

    documents: Documents
    clone: AuditedClone | None = None
    """Of the fleet repository, where the auditor has one."""
    derived: int = 0
    underivable: int = 0
    """Lines from before evidence was kept."""
    unplaced: int = 0
    """Attempts that derive and name no commit, which a clone could be asked about."""

    def faults(self, lines: Iterable[ChainedRow]) -> Iterator[ChainFault]:
        """What does not derive; each line stands for itself."""
        firsts: dict[str, Entry] = {}
        remaining = iter(lines)
        while chunk := list(islice(remaining, _AT_ONCE)):
            digests = {
                str(line.row[name]) for line in chunk if line.row for name in EVIDENCE_FIELDS if line.row.get(name)
            }
            documents = self.documents(digests)
            for line in chunk:
                number = line.link.number if line.link else 0
                for message in self._wrong(line.row, firsts, documents):
                    yield ChainFault(number, str((line.row or {}).get("id", "")), message)

    def _wrong(
        self, row: Mapping[str, object] | None, firsts: dict[str, Entry], documents: Mapping[str, str]
    ) -> Iterator[str]:
        if row is None:
            return
        try:
            line = entry_of(row)
            first = firsts.get(line.placement_id)
            if line.kind is EntryKind.ATTEMPT:
                firsts[line.placement_id] = line
            if not line.signal_digest:
                yield from self._without_evidence()
                return
            yield from _differences(line, derived(line, first, documents))
        except EvidenceError as error:
            yield f"it does not derive: {error}"
            return
        except Exception as error:  # noqa: BLE001 - whatever a forged document raises is that line's fault
            yield f"it does not derive: its evidence can't be read: {faults.said(error)}"
            return
        self.derived += 1
        if line.kind is EntryKind.ATTEMPT and not line.commit:
            self.unplaced += 1
        elif line.kind is EntryKind.ATTEMPT and self.clone is not None:
            yield from _unlike_commit(line, self.clone)

    def _without_evidence(self) -> Iterator[str]:
        """Lines from before come first; one that comes later is not one of them."""
        if self.derived:
            yield "it names no evidence, though lines before it do: it came from elsewhere, or from other hands"
        else:
            self.underivable += 1


def _differences(line: Entry, again: Entry) -> Iterator[str]:
    """What of a line is not as it derives."""
    for field in fields(Entry):
        said, found = getattr(line, field.name), getattr(again, field.name)
        is_same = _is_same_curve if field.name == "energy_curve" else _is_close
        if said != found and not is_same(said, found):
            yield f"{field.name} is {said}, and derives as {found}"


def _is_close(said: object, found: object) -> bool:
    both = (said, found)
    return all(isinstance(value, float) for value in both) and math.isclose(*both, rel_tol=TOLERANCE)  # type: ignore[arg-type]


def _is_same_curve(said: str, found: str) -> bool:
    ours, theirs = (np.array(json.loads(curve or "[]"), dtype=float) for curve in (said, found))
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=TOLERANCE, atol=0)


def _unlike_commit(line: Entry, clone: AuditedClone) -> Iterator[str]:
    """Where the fleet repository says otherwise of the attempt."""
    placed = clone.placement(line.commit, line.cluster, line.namespace, line.job)
    if placed is None:
        yield f"the commit {line.commit[:10]} has no such placement here: fetch all history, or the line is forged"
        return
    said = {"placement_id": line.placement_id, "job_uid": line.job_uid, "attempt": line.attempt, "pool": line.pool}
    found = {
        "placement_id": placed.placement_id,
        "job_uid": placed.uid,
        "attempt": placed.attempt,
        "pool": placed.pool,
    }
    for name, value in said.items():
        if value != found[name]:
            yield f"{name} is {value}, and {found[name]} in the commit {line.commit[:10]}"
    if line.gpus > placed.gpus:
        yield f"gpus is {line.gpus}, and {placed.gpus} in the commit {line.commit[:10]}"
