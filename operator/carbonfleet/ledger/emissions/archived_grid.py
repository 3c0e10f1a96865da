"""The grid as it was known when a line was accounted, as a document of the line's evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.emissions.account import Intensities
from carbonfleet.ledger.emissions.settlement import Grid
from carbonfleet.ledger.evidence import Document

_Ask = tuple[str, SignalKind, datetime, datetime]


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
