"""OpenMetrics: a sample for each attempt at its end, to be filled into a Prometheus.

`promtool tsdb create-blocks-from openmetrics FILE` makes blocks of it. Each series has one sample, so that
`sum(sum_over_time(carbonfleet_attempt_emitted_grams[30d]))` adds up what ended in the last thirty days.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from carbonfleet.ledger.entry import Entry
from carbonfleet.ledger.exports.attempts import AccountedAttempt, attempts
from carbonfleet.ledger.exports.market import MarketFactors

_END: Final = b"# EOF\n"
_LABELS: Final = (
    *("placement_id", "namespace", "job", "sweep", "attempt", "phase", "settled"),
    *("cluster", "account", "region", "zone", "gpu_type", "energy_method", "signal"),
)
Value = Callable[[AccountedAttempt], float | None]
_METRICS: Final[tuple[tuple[str, str, Value], ...]] = (
    ("gpu_hours", "GPUs times the attempt's length", lambda each: each.entry.gpu_hours),
    ("energy_kwh", "Energy of the machines", lambda each: each.entry.energy_kwh),
    ("facility_energy_kwh", "Energy with the building's", lambda each: each.facility_kwh),
    (
        "energy_uncertainty_kwh",
        "By how much the energy may be off",
        lambda each: each.entry.energy_kwh * each.entry.energy_uncertainty,
    ),
    ("operational_grams", "CO2e of the energy, by the signal's factor", lambda each: each.entry.operational_grams),
    ("location_based_grams", "CO2e of the energy, by the grid's average", lambda each: each.location_based_grams),
    ("market_based_grams", "CO2e of the energy, by a declared factor", lambda each: each.market_based_grams),
    ("transfer_grams", "CO2e of moving data", lambda each: each.entry.transfer_grams),
    ("embodied_grams", "CO2e of the hardware's manufacture, its share", lambda each: each.entry.embodied_grams),
    ("emitted_grams", "CO2e in all: operational, transfer and embodied", lambda each: each.entry.grams),
    ("uncertainty_grams", "By how much operational CO2e may be off", lambda each: each.doubt_grams),
    ("baseline_grams", "CO2e of the same work in the baseline region", lambda each: each.entry.baseline_grams),
    ("saved_grams", "Baseline less emitted; below zero where it was worse", lambda each: each.entry.saved_grams),
    ("cost_usd", "Cost, where it is known", lambda each: each.entry.cost_usd),
)
_FACTORS: Final[tuple[tuple[str, str, tuple[str, ...], Callable[[AccountedAttempt], tuple[str, ...]], Value], ...]] = (
    (
        "location_factor_grams_per_kwh",
        "The grid's factor, and whose it is",
        ("source",),
        lambda each: (each.entry.source,),
        lambda each: each.entry.grams_per_kwh,
    ),
    (
        "market_factor_grams_per_kwh",
        "The declared factor, and whose it is",
        ("kind", "source"),
        lambda each: (each.factor.kind.value, each.factor.source) if each.factor else ("", ""),
        lambda each: each.factor.grams_per_kwh if each.factor else None,
    ),
)


def openmetrics_text(entries: Sequence[Entry], factors: MarketFactors) -> Iterator[bytes]:
    """The text, a metric at a time."""
    made = tuple(attempts(entries, factors))
    for name, about, value in _METRICS:
        yield _text(_family(name, about, (), made, lambda _: (), value))
    for name, about, labels, said, value in _FACTORS:
        yield _text(_family(name, about, labels, made, said, value))
    yield _END


def _family(
    name: str,
    about: str,
    labels: tuple[str, ...],
    made: Iterable[AccountedAttempt],
    said: Callable[[AccountedAttempt], tuple[str, ...]],
    value: Value,
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"carbonfleet_attempt_{name}", about, labels=(*_LABELS, *labels))
    for attempt in made:
        if (number := value(attempt)) is not None:
            family.add_metric((*_own(attempt), *said(attempt)), number, timestamp=attempt.entry.end.timestamp())
    return family


def _own(attempt: AccountedAttempt) -> tuple[str, ...]:
    known = {"settled": str(attempt.is_settled).lower()}
    return tuple(known.get(label) or str(getattr(attempt.entry, label)) for label in _LABELS)


class _One(Collector):
    def __init__(self, family: GaugeMetricFamily) -> None:
        self._family = family

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._family


def _text(family: GaugeMetricFamily) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_One(family))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # it ships none for this one
    return text.removesuffix(_END)
