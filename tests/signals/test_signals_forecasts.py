"""Forecasts of every kind beside a zone's history: what its source got wrong so far excuses no lie."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.history import ZoneHistory
from carbonfleet.signals.reading import Reading, Unit
from carbonfleet.signals.source import Ask, Batch, Feed
from carbonfleet.signals.validation import beside_zone

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
HOUR = timedelta(hours=1)
BEGIN = datetime(2025, 11, 1, tzinfo=UTC)
BEFORE, AFTER, AHEAD = 28 * 24, 38 * 24, 48
"""Hours: of history before the source's first forecast, until its last one, and of each."""


def made_grid() -> np.ndarray:
    """A wave of a day about 400 g, and a slow walk like the wind's."""
    dice, steps = np.random.default_rng(1), np.arange(AFTER + AHEAD)
    walk = np.zeros(steps.size)
    for hour in steps[1:]:
        walk[hour] = 0.97 * walk[hour - 1] + dice.normal(0, 12)
    return 400 + 90 * np.sin(2 * np.pi * steps / 24) + walk


TRUE = made_grid()
FORECASTS = {
    "right": lambda hour: TRUE[hour : hour + AHEAD],
    "the mean": lambda hour: np.full(AHEAD, TRUE.mean()),
    "half a day late": lambda hour: TRUE[hour - 12 : hour - 12 + AHEAD],
    "a week old": lambda hour: TRUE[hour - 168 : hour - 168 + AHEAD],
    "at two thirds": lambda hour: TRUE[hour : hour + AHEAD] / 1.5,
    "threefold": lambda hour: TRUE[hour : hour + AHEAD] * 3,
    "upside down": lambda hour: 800 - TRUE[hour : hour + AHEAD],
}
LIES = {
    "constant": lambda hour: np.full(AHEAD, 5.0),
    "below the lowest": lambda hour: np.full(AHEAD, TRUE[hour - BEFORE : hour].min() / 1.5),
    "at a tenth": lambda hour: TRUE[hour : hour + AHEAD] / 10,
    "at a quarter": lambda hour: TRUE[hour : hour + AHEAD] / 4,
    "shifted down": lambda hour: np.maximum(5, TRUE[hour : hour + AHEAD] - 330),
    "with its sign turned": lambda hour: np.maximum(5, 400 - TRUE[hour : hour + AHEAD]),
    "at the highest": lambda hour: np.full(AHEAD, TRUE[hour - BEFORE : hour].max() * 4.1),
}


def batch(feed: Feed, hour: int, values: np.ndarray, now: int) -> Batch:
    start, moment = BEGIN + HOUR * hour, BEGIN + HOUR * now
    readings = tuple(
        Reading("PL", start + HOUR * i, HOUR, float(value), LIFECYCLE, Unit.GRAMS_PER_KWH, "source", False, moment)
        for i, value in enumerate(values)
    )
    return Batch(Ask("PL", LIFECYCLE, feed, start, start + HOUR * values.size), "source", moment, moment, readings)


@dataclass
class Followed:
    """A zone that was measured by the hour, and whose source forecast in one way for ten days."""

    way: str
    history: ZoneHistory = field(default_factory=lambda: ZoneHistory("PL", LIFECYCLE, ["source"]))
    kept: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history.take_readings(batch(Feed.MEASURED, 0, TRUE[:BEFORE], BEFORE).readings, BEGIN + HOUR * BEFORE)
        for hour in range(BEFORE, AFTER):
            measured = batch(Feed.MEASURED, hour - 1, TRUE[hour - 1 : hour], hour)
            self.history.take_readings(measured.readings, measured.fetched_at)
            found = self.judged(hour, FORECASTS[self.way](hour))
            self.kept.append(len(found.readings))
            if found.readings:
                self.history.take_issue(found.issue())

    def judged(self, hour: int, values: np.ndarray) -> Batch:
        return beside_zone(batch(Feed.FORECAST, hour, values, hour), self.history.known())[0]

    def error(self, ahead: int) -> float:
        return float(self.history.accuracy.errors()["source"][ahead])


@pytest.fixture(scope="module", params=FORECASTS)
def followed(request) -> Followed:
    return Followed(request.param)


def test_a_forecast_that_history_allows_is_kept_and_its_errors_are_measured(followed):
    """How far off it is makes its doubt; it is not dropped for it."""
    assert np.mean(followed.kept) > 0.95 * AHEAD
    off = [FORECASTS[followed.way](hour)[24] - TRUE[hour + 24] for hour in range(BEFORE, AFTER - AHEAD)]
    assert followed.error(24) == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=0.1, abs=1)


@pytest.mark.parametrize("lie", LIES)
def test_a_forecast_that_contradicts_all_of_history_is_dropped_whatever_its_source_got_wrong(followed, lie):
    found = followed.judged(AFTER, LIES[lie](AFTER))
    assert found.readings == ()
    assert len(found.rejected) == AHEAD


@pytest.mark.parametrize("hour", [6, 24, 40])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_single_hour_below_all_counts_as_the_lowest_or_not_at_all(followed, hour, share):
    low = min(TRUE[AFTER - BEFORE - 1 : AFTER - 1]) / 2
    value, said = share * low, TRUE[AFTER : AFTER + AHEAD].copy()
    said[hour] = value
    found = followed.judged(AFTER, said).readings
    kept = [each.value for each in found if each.start == BEGIN + HOUR * (AFTER + hour)]
    assert len(found) >= AHEAD - 1
    assert kept == ([pytest.approx(low)] if low - value <= 2 * followed.error(hour) else [])
