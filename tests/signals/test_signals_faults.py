"""Whatever is raised over one zone or in one source, wherever it is, ends there and is named; others are known."""

from datetime import timedelta

import pytest

from carbonfleet.api import ClusterFacts
from carbonfleet.api.signal import SignalKind
from carbonfleet.signals import Market
from carbonfleet.signals.prices.cluster_files import ClusterPrices
from carbonfleet.signals.sources.static import StaticFactors
from fixtures.any_error import ANY_ERROR
from fixtures.fault_injection import FaultInjector

KIND = SignalKind.AVERAGE_LIFECYCLE
ONE, OTHER = "CA-QC", "NO-NO1"
BOTH = ((ONE, KIND), (OTHER, KIND))
FACTORS = {ONE: (30.0, "a test"), OTHER: (20.0, "a test")}


class Failing(StaticFactors):
    """A source that raises whatever it is asked."""

    name = "failing"

    def __init__(self, error: Exception) -> None:
        super().__init__(KIND, FACTORS)
        self.error = error

    def offers(self, *_):
        raise self.error

    def fetch(self, *_):
        raise self.error

    def check(self, *_):
        raise self.error


def ask_again(signals, now) -> list[float]:
    """What the other zone emitted, after every other question to the service."""
    signals.refresh(BOTH)
    signals.await_answers()
    past = now - timedelta(hours=24), now
    return [len(signals.settle(zone, KIND, *past)) + len(signals.intensities(zone, KIND, *past)) for zone, _ in BOTH]


def read_all(signals, now) -> tuple:
    return signals.forecasts(BOTH, now, now + timedelta(hours=24)), signals.overview(BOTH), signals.check([ONE, OTHER])


def test_any_error_over_one_zone_wherever_it_is_raised_ends_at_that_zone(make_signals, clock, caplog):
    injector = FaultInjector(("carbonfleet.signals",))
    factors = StaticFactors(KIND, FACTORS)
    with injector.watching(ONE):
        read_all(make_signals(factors), clock.now())
    assert len(injector.seen) > 8
    for number, place in enumerate(sorted(injector.seen)):
        error, signals = ANY_ERROR[number % len(ANY_ERROR)], make_signals(factors)
        caplog.clear()
        injector.fired = 0
        with injector.failing(place, error, ONE):
            reading, views, findings = read_all(signals, clock.now())
        assert (OTHER, KIND) in reading.forecasts, place
        assert [view.problem for view in views if view.zone == OTHER] == [""], place
        assert any(finding.ok and finding.zone == OTHER for finding in findings), place
        told = [*reading.problems.values(), *(view.problem for view in views), *map(str, findings), *caplog.messages]
        assert not injector.fired or any(ONE in text and type(error).__name__ in text for text in told), place


def test_any_error_over_one_zone_ends_there_whatever_is_asked(make_signals, electricitymaps, clock, caplog):
    injector = FaultInjector(("carbonfleet.signals",))
    with injector.watching(ONE):
        ask_again(make_signals(electricitymaps()), clock.now())
    assert len(injector.seen) > 12
    for number, place in enumerate(sorted(injector.seen)):
        error, signals = ANY_ERROR[number % len(ANY_ERROR)], make_signals(electricitymaps())
        caplog.clear()
        injector.fired = 0
        with injector.failing(place, error, ONE):
            assert ask_again(signals, clock.now())[1] == 48, place
        told = any(ONE in text and type(error).__name__ in text for text in caplog.messages)
        assert told or not injector.fired, place


def test_any_error_over_the_price_of_one_pool_ends_there(clock, caplog):
    pool = {"name": "a100", "gpuType": "A100", "gpus": 8, "memoryGib": 80, "usdPerGpuHour": 2.5}
    spoke = {"region": "norwayeast", "zone": "NO-NO1", "jurisdictions": ["NO"], "pools": [pool]}
    clusters = [ClusterFacts.model_validate({**spoke, "name": each}) for each in "ab"]
    injector = FaultInjector(("carbonfleet.signals",))

    def prices() -> set[str]:
        market = Market([ClusterPrices(clusters)], clock)
        return {name for name, _ in market.latest(clusters).prices}

    with injector.watching("a/a100"):
        assert prices() == {"a/a100", "b/a100"}
    assert len(injector.seen) > 4
    for number, place in enumerate(sorted(injector.seen)):
        error = ANY_ERROR[number % len(ANY_ERROR)]
        caplog.clear()
        with injector.failing(place, error, "a/a100"):
            assert "b/a100" in prices(), place
        assert any("a/a100" in text and type(error).__name__ in text for text in caplog.messages), place


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
def test_a_source_that_raises_anything_is_named_and_the_next_one_serves(make_signals, clock, error):
    signals = make_signals(Failing(error), StaticFactors(KIND, FACTORS))
    reading, views, findings = read_all(signals, clock.now())
    assert set(reading.forecasts) == set(BOTH)
    assert [view.problem for view in views] == ["", ""]
    failed = [finding for finding in findings if finding.source == "failing"]
    assert [(each.zone, each.ok, each.reason) for each in failed] == [
        (ONE, False, "Failed"),
        (OTHER, False, "Failed"),
    ]
    assert all(type(error).__name__ in each.message for each in failed)
    assert {each.zone for each in findings if each.ok} == {ONE, OTHER}
