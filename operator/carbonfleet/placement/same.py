"""Whether two snapshots ask the same."""

from dataclasses import replace

import numpy as np

from carbonfleet.placement.snapshot import Forecast, Snapshot


def is_same(old: Snapshot, new: Snapshot) -> bool:
    """Nothing that a plan depends on is otherwise."""
    if old.forecasts is not new.forecasts:
        if old.forecasts.keys() != new.forecasts.keys():
            return False
        if not all(_says_the_same(old.forecasts[key], forecast) for key, forecast in new.forecasts.items()):
            return False
    return replace(old, forecasts={}) == replace(new, forecasts={})


def is_same_ground(old: Snapshot, new: Snapshot) -> bool:
    """Only jobs, and what GPUs are taken, may be otherwise."""
    return is_same(_without_queue(old), _without_queue(new))


def _without_queue(snapshot: Snapshot) -> Snapshot:
    spokes = tuple(replace(spoke, free_gpus=None) for spoke in snapshot.spokes)
    return replace(snapshot, jobs=(), reservations=(), spokes=spokes)


def _says_the_same(old: Forecast, new: Forecast) -> bool:
    """The figures and where they come from; that the same was measured again does not matter."""
    if old is new:
        return True
    same_slots = (old.start, old.step, old.source, old.link) == (new.start, new.step, new.source, new.link)
    return (
        same_slots
        and np.array_equal(old.grams_per_kwh, new.grams_per_kwh)
        and np.array_equal(old.doubt_grams_per_kwh, new.doubt_grams_per_kwh)
    )
