"""All placements of a tip by path, job and id; a changed index shares what did not change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from carbonfleet.fleet.manifests.placement import Placement


@dataclass(frozen=True, slots=True)
class Placements:
    """An immutable index; `changed` costs a copy of four dictionaries and work for what changed alone."""

    by_path: Mapping[str, Placement] = field(default_factory=dict)
    by_id: Mapping[str, Placement] = field(default_factory=dict)
    attempts: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    """All files of a job, by its UID: one, unless a person copied it."""
    latest: Mapping[str, Placement] = field(default_factory=dict)
    """By job UID the highest attempt; of equal ones the first path."""

    def changed(self, gone: Iterable[Placement], come: Iterable[Placement]) -> Self:
        """The index without `gone` and with `come`."""
        by_path, by_id = dict(self.by_path), dict(self.by_id)
        attempts, latest = dict(self.attempts), dict(self.latest)
        touched: dict[str, list[Placement]] = {}
        for placement in gone:
            del by_path[placement.path]
            by_id.pop(placement.placement_id, None)
            touched.setdefault(placement.uid, [])
        for placement in come:
            by_path[placement.path] = placement
            touched.setdefault(placement.uid, []).append(placement)
        for uid, new in touched.items():
            stayed = [p for p in attempts.pop(uid, ()) if by_path.get(p.path) is p]
            latest.pop(uid, None)
            if stayed or new:
                attempts[uid] = tuple(sorted((*stayed, *new), key=lambda p: (-p.attempt, p.path)))
                latest[uid] = attempts[uid][0]
                by_id |= {p.placement_id: p for p in reversed(attempts[uid])}
        return type(self)(by_path, by_id, attempts, latest)


NO_PLACEMENTS = Placements()
