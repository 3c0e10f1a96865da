"""Whatever is raised over one zone or in one source, wherever it is, ends there and is named; others are known."""

from datetime import timedelta

import pytest

from carbonfleet.api.signal import SignalKind
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
