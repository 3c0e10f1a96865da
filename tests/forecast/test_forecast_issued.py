"""Issued forecasts beside our own: what counts how much, going by what both got wrong so far."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import HOUR, Issue, OwnForecast, PastForecasts, Span, ZoneData, blends_of, forecast_of
from carbonfleet.forecast.fallback import AgeLimits
from carbonfleet.forecast.values import Forecast

START = datetime(2025, 1, 1, tzinfo=UTC)
HOURS = 72
LIMITS = AgeLimits()


@dataclass
class Zone:
    """A zone whose grid is noise, followed for so many days by two that forecast it each hour."""

    days: int
    issued_off: float
    """Standard deviation of what is issued; our own forecasts' is `own_off`."""
    own_off: float

    def __post_init__(self) -> None:
        self.dice, self.count = np.random.default_rng(3), self.days * 24
        self.grid = self.dice.uniform(600, 900, self.count + 2 * HOURS)
        self.now = START + HOUR * self.count
        own = np.array([self.told(hour, self.own_off) for hour in range(self.count + 1)], dtype=np.float32)
        doubts = np.full((self.days, HOURS), 1.0, dtype=np.float32)
        self.past = PastForecasts(START, own[:-1], doubts, self.grid[: self.count])
        ours = own[-1].astype(np.float64)
        self.own = Forecast(
            "DE", SignalKind.MARGINAL, self.now, HOUR, ours, np.full(HOURS, 9.0), "history", "profile", self.now - HOUR
        )
        self.issues = [self.issue(hour, self.told(hour, self.issued_off)) for hour in range(self.count + 1)]

    def told(self, hour: int, off: float) -> np.ndarray:
        return self.grid[hour : hour + HOURS] + self.dice.normal(0, off, HOURS)

    @staticmethod
    def issue(hour: int, values: np.ndarray, *, exact: bool = False) -> Issue:
        made = START + HOUR * hour
        return Issue("maker", made, made, made, values, exact)

    def forecast(self, *, late: timedelta = timedelta(0)) -> Forecast:
        own = OwnForecast(self.own, blends_of(self.past, {"maker": self.issues}))
        span = Span(self.now + late, self.now, HOURS)
        found = forecast_of(
            ZoneData("DE", SignalKind.MARGINAL, (self.issues[-1],), own=lambda: own), span, ("forecast",), LIMITS
        )
        assert isinstance(found, Forecast)
        return found


def off(zone: Zone, values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values - zone.grid[zone.count : zone.count + HOURS]).mean()))


@pytest.mark.parametrize(("issued_off", "own_off"), [(4, 80), (80, 4), (40, 40)])
def test_a_blend_errs_no_more_than_the_better_of_both(issued_off, own_off):
    zone = Zone(28, issued_off, own_off)
    found = zone.forecast()
    better = min(off(zone, zone.issues[-1].grams_per_kwh), off(zone, zone.own.grams_per_kwh))
    assert off(zone, found.grams_per_kwh) < better + 6
    assert found.link == "forecast blend"
    assert found.doubt_grams_per_kwh.mean() == pytest.approx(off(zone, found.grams_per_kwh), rel=0.4)


def test_it_says_what_counts_how_much_and_why():
    assert Zone(28, 5, 80).forecast().blend == (
        "24 h ahead 92 % issued and 8 % our own, off by 5 and 79 g/kWh, "
        "48 h ahead 92 % issued and 8 % our own, off by 5 and 78 g/kWh so far"
    )


def test_what_is_issued_is_trusted_until_a_days_issues_have_been_judged():
    zone = Zone(28, 80, 4)
    zone.issues = zone.issues[-24:]
    found = zone.forecast()
    assert (found.link, found.blend) == ("forecast", "")
    assert found.grams_per_kwh.tolist() == zone.issues[-1].grams_per_kwh.tolist()
    zone = Zone(28, 80, 4)
    zone.issues = zone.issues[-25:]
    assert zone.forecast().link == "forecast blend"


def test_our_own_that_stands_on_stale_values_is_not_blended():
    assert Zone(28, 80, 4).forecast(late=timedelta(minutes=119)).link == "forecast blend"
    zone = Zone(28, 80, 4)
    zone.now += 3 * HOUR
    zone.issues.append(zone.issue(zone.count + 3, zone.told(zone.count + 3, 80)))
    assert zone.forecast().link == "forecast"


def test_an_exact_forecast_is_never_blended():
    zone = Zone(28, 80, 4)
    zone.issues[-1] = zone.issue(zone.count, zone.issues[-1].grams_per_kwh, exact=True)
    found = zone.forecast()
    assert (found.link, found.doubt_grams_per_kwh.max()) == ("forecast", 0)


def test_hours_that_are_never_issued_take_the_shares_of_those_before():
    zone = Zone(28, 80, 4)
    for issue in zone.issues[:-1]:
        issue.grams_per_kwh[30:] = np.nan
    (blend,) = blends_of(zone.past, {"maker": zone.issues}).values()
    assert set(blend.share[30:]) == {blend.share[29]}
    assert set(blend.error[30:]) == {blend.error[29]}


def test_an_issue_stands_for_a_day_until_the_next_comes():
    zone = Zone(28, 5, 80)
    hourly, zone.issues = zone.issues, zone.issues[::24]
    (daily,) = blends_of(zone.past, {"maker": zone.issues}).values()
    assert daily.issued_error == pytest.approx(5, rel=0.2)
    zone.issues = hourly[: -3 * 24]
    (old,) = blends_of(zone.past, {"maker": zone.issues}).values()
    assert old.issued_error == pytest.approx(5, rel=0.2)


def test_a_forecast_told_again_keeps_the_hours_gone_by_and_nothing_that_is_refused_now():
    first = Zone.issue(0, np.arange(6.0))
    again = Issue(
        "maker", START, START + 2 * HOUR + timedelta(minutes=9), START + 4 * HOUR, np.array([40.0, 50.0, 60.0])
    )
    joined = again.continuing(first)
    assert joined.start == START
    assert joined.grams_per_kwh[:2].tolist() == [0, 1]
    assert np.isnan(joined.grams_per_kwh[2:4]).all()
    assert joined.grams_per_kwh[4:].tolist() == [40, 50, 60]
