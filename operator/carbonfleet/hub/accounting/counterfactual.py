"""What the same work would have emitted at its submission, in the places that an attempt is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Wire
from carbonfleet.ledger.emissions import EnergyUse, Grid, emitted_grams
from carbonfleet.signals import zone_of


@dataclass(frozen=True, slots=True)
class SameWork:
    """The same work at submission, elsewhere or here."""

    use: EnergyUse
    start: datetime
    submitted: datetime
    embodied_grams: float
    signal: SignalKind
    grid: Grid

    def emitted_at(self, place: "Location | None") -> "Counterfactual | None":
        """None where there is no such place, or nothing is known of its grid."""
        if place is None:
            return None
        moved = self.use.unpaused().shifted(self.submitted - self.start)
        length = timedelta(seconds=float(moved.times[-1] - moved.times[0]))
        held = self.grid(place.zone, self.signal, self.submitted, self.submitted + length)
        if held is None:
            return None
        return Counterfactual(place, emitted_grams(moved, held, place.pue) + self.embodied_grams, held.settled)


class Location(Wire):
    """Where it ran, or would have run."""

    region: str
    zone: str
    pue: float

    @classmethod
    def of(cls, facts: ClusterFacts) -> Self:
        """A spoke's."""
        return cls(region=facts.region, zone=facts.zone, pue=facts.pue)


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What the work would have emitted in a place."""

    place: Location
    grams: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """The same work in the places that an attempt is compared with; None where nothing is known of one."""

    baseline_region: str
    baseline: Counterfactual | None
    same_spoke: Counterfactual | None
    best_static: Counterfactual | None

    @property
    def settled(self) -> bool:
        """Whether what is known of them is final."""
        return all(there.settled for there in (self.baseline, self.same_spoke, self.best_static) if there)

    def fields(self) -> dict[str, Any]:
        """As an entry keeps them."""
        baseline, best = self.baseline, self.best_static
        return {
            "baseline_region": self.baseline_region,
            "baseline_grams": baseline.grams if baseline else None,
            "baseline_zone": baseline.place.zone if baseline else "",
            "baseline_pue": baseline.place.pue if baseline else 1.0,
            "same_spoke_grams": self.same_spoke.grams if self.same_spoke else None,
            "best_static_region": best.place.region if best else "",
            "best_static_grams": best.grams if best else None,
            "best_static_zone": best.place.zone if best else "",
            "best_static_pue": best.place.pue if best else 1.0,
        }


def counterfactuals(
    same_work: SameWork, here: Location, everywhere: Sequence[Location], baseline_region: str, baseline: Location | None
) -> Counterfactuals:
    """Of work that ran `here`: the baseline region, the same spoke at submission, and the cleanest region then."""
    return Counterfactuals(
        baseline_region,
        same_work.emitted_at(baseline),
        same_work.emitted_at(here),
        min(
            filter(None, map(same_work.emitted_at, everywhere)),
            key=lambda there: (there.grams, there.place.region),
            default=None,
        ),
    )


def baseline_of(region: str, everywhere: Sequence[Location], pue: float) -> Location | None:
    """A region in which no spoke is has the region table's zone, and our own building."""
    known = next((place for place in everywhere if place.region == region), None)
    zone = zone_of(region)
    return known or (Location(region=region, zone=zone, pue=pue) if zone is not None else None)
