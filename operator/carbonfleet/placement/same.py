"""Whether two snapshots ask the same."""

from dataclasses import replace
from operator import attrgetter

import numpy as np

from carbonfleet.forecast import Forecast
from carbonfleet.placement.snapshot import Snapshot

_name = attrgetter("name")


def without_queue(snapshot: Snapshot) -> Snapshot:
    """The snapshot without what changes as jobs come and go, in whatever order the spokes are given."""
    spokes = tuple(replace(spoke, free_gpus=None) for spoke in sorted(snapshot.spokes, key=_name))
    return replace(snapshot, jobs=(), reservations=(), spokes=spokes)


def is_same(old: Snapshot, new: Snapshot) -> bool:
    """Whether both ask the same, though forecasts may have been fetched again."""
    if old.forecasts.keys() != new.forecasts.keys():
        return False
    same_grid = all(_says_the_same(old.forecasts[key], forecast) for key, forecast in new.forecasts.items())
    return same_grid and replace(old, forecasts={}) == replace(new, forecasts={})


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
