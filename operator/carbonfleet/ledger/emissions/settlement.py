"""The same attempt once more, when the grid's values are final."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.emissions.account import EnergyUse, Intensities, emitted_grams, mean_grams_per_kwh
from carbonfleet.ledger.entry import Entry, EntryKind

FINAL_AFTER: Final = timedelta(hours=48)
"""After an attempt's end, its grid's values are asked for again; providers revise for a day or two."""

Grid = Callable[[str, SignalKind, datetime, datetime], Intensities | None]
"""What a zone's grid emitted over a time, as far as it is known."""


def settlement(entry: Entry, grid: Grid, now: datetime) -> Entry | None:
    """The correction of an attempt's account; None while any value it needs is missing or not final.

    Energy, transfer and embodied share stay as they were accounted, and so do the regions that it is
    compared with; what they emitted is integrated anew.
    """
    if entry.kind is not EntryKind.ATTEMPT or now < entry.end + FINAL_AFTER:
        return None
    use, signal = energy_use(entry), SignalKind(entry.signal)
    moved = use.unpaused().shifted(entry.submitted_at - entry.start)
    until = entry.submitted_at + (entry.end - entry.start)

    def would_have_emitted(first: float | None, zone: str, pue: float) -> float | None:
        if first is None or not zone:
            return first
        held = _final(grid(zone, signal, entry.submitted_at, until))
        return emitted_grams(moved, held, pue) + entry.embodied_grams

    try:
        held = _final(grid(entry.zone, signal, entry.start, entry.end))
        baseline = would_have_emitted(entry.baseline_grams, entry.baseline_zone, entry.baseline_pue)
        same_spoke = would_have_emitted(entry.same_spoke_grams, entry.zone, entry.pue)
        best = would_have_emitted(entry.best_static_grams, entry.best_static_zone, entry.best_static_pue)
    except _NotFinalError:
        return None
    operational = emitted_grams(use, held, entry.pue)
    return replace(
        entry,
        id=f"settlement:{entry.placement_id}:1",
        kind=EntryKind.SETTLEMENT,
        source=held.source,
        settled=True,
        operational_grams=operational,
        grams=operational + entry.transfer_grams + entry.embodied_grams,
        grams_per_kwh=mean_grams_per_kwh(use, held),
        baseline_grams=baseline,
        same_spoke_grams=same_spoke,
        best_static_grams=best,
        recorded_at=now,
    )


def energy_use(entry: Entry) -> EnergyUse:
    """The energy over time that an entry was made from."""
    if not entry.energy_curve:
        return EnergyUse.constant(entry.start, entry.end, entry.energy_kwh)
    points = np.array(json.loads(entry.energy_curve), dtype=float)
    return EnergyUse(points[:, 0] + entry.start.timestamp(), points[:, 1])


def curve_of(use: EnergyUse) -> str:
    """The same as an entry keeps it; nothing for constant power."""
    if use.times.size <= 2:
        return ""
    seconds = use.times - use.times[0]
    return json.dumps([[float(at), float(kwh)] for at, kwh in zip(seconds, use.kwh, strict=True)])


class _NotFinalError(Exception):
    """A grid's values are missing, or estimates still."""


def _final(held: Intensities | None) -> Intensities:
    if held is None or not held.settled:
        raise _NotFinalError
    return held
