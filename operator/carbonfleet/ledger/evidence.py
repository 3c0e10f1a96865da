"""What a line of the ledger is derived from: documents in canonical JSON, each named by its digest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final, Self

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.account import Intensities
from carbonfleet.ledger.settlement import Grid

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_Ask = tuple[str, SignalKind, datetime, datetime]


def canonical(value: object) -> str:
    """JSON that is the same for equal values: sorted keys, no blanks, ASCII. Raises ValueError for NaN."""
    return _ENCODER.encode(value)


def digest_of(text: str) -> str:
    """SHA-256 of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of evidence, kept under its digest."""

    digest: str
    text: str

    @classmethod
    def of(cls, value: object) -> Self:
        """The document that says `value`. Raises ValueError for NaN."""
        text = canonical(value)
        return cls(digest_of(text), text)


class EvidenceError(Exception):
    """A document that a line names is not there, or is not what it must be."""


def document_in(documents: Mapping[str, str], digest: str) -> Any:  # noqa: ANN401 - any JSON
    """What a document says, after it was held against its digest. Raises EvidenceError."""
    text = documents.get(digest)
    if text is None:
        raise EvidenceError(f"its evidence {digest} is missing")
    if digest_of(text) != digest:
        raise EvidenceError(f"its evidence {digest} was altered")
    try:
        return json.loads(text)
    except ValueError as error:
        raise EvidenceError(f"its evidence {digest} is no JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class ArchivingGrid:
    """A grid that keeps its answers, each cut to the time that was asked for, as one document."""

    grid: Grid
    _answers: dict[_Ask, Intensities] = field(default_factory=dict)

    def __call__(self, zone: str, kind: SignalKind, start: datetime, end: datetime) -> Intensities | None:
        """The intensities over [start, end]; None when nothing is known of them."""
        asked = (zone, kind, start, end)
        if asked not in self._answers and (found := self.grid(zone, kind, start, end)) is not None:
            self._answers[asked] = _cut(found, start, end)
        return self._answers.get(asked)

    def document(self) -> Document:
        """Everything that was answered."""
        return Document.of([_as_json(asked, held) for asked, held in self._answers.items()])


def archived_grid(answers: Sequence[Mapping[str, Any]]) -> Grid:
    """The grid as such a document keeps it. Raises KeyError, TypeError, ValueError for what is none."""
    kept = dict(_from_json(each) for each in answers)
    return lambda zone, kind, start, end: kept.get((zone, kind, start, end))


def _cut(held: Intensities, start: datetime, end: datetime) -> Intensities:
    """The slots that [start, end] touches, one at least."""
    slots = held.grams_per_kwh.size
    first = min(max((start - held.start) // held.step, 0), slots - 1)
    last = min(max(ceil((end - held.start) / held.step), first + 1), slots)
    values = held.grams_per_kwh[first:last]
    return Intensities(held.zone, held.start + first * held.step, held.step, values, held.source, held.settled)


def _as_json(asked: _Ask, held: Intensities) -> dict[str, Any]:
    zone, kind, start, end = asked
    return {
        "zone": zone,
        "signal": kind.value,
        "from": start.isoformat(),
        "until": end.isoformat(),
        "start": held.start.isoformat(),
        "stepSeconds": held.step.total_seconds(),
        "gramsPerKwh": held.grams_per_kwh.tolist(),
        "source": held.source,
        "settled": held.settled,
    }


def _from_json(said: Mapping[str, Any]) -> tuple[_Ask, Intensities]:
    start, end = datetime.fromisoformat(said["from"]), datetime.fromisoformat(said["until"])
    step, values = timedelta(seconds=said["stepSeconds"]), np.array(said["gramsPerKwh"], dtype=float)
    if step <= timedelta() or values.ndim != 1 or not values.size:
        raise ValueError("a grid's answer needs a step and values")
    begun = datetime.fromisoformat(said["start"])
    held = Intensities(said["zone"], begun, step, values, said["source"], said["settled"])
    return (said["zone"], SignalKind(said["signal"]), start, end), held
