"""What a replay is told of the grid is what the hub's service says, to the last bit."""

from datetime import timedelta

import numpy as np
import pytest

from carbonfleet.forecast import HISTORY
from carbonfleet.signals import HistoryStore, Signals, SignalSettings
from carbonfleet.signals.reading import Reading, unit_of
from carbonfleet.signals.source import Batch, Feed
from carbonfleet.signals.sources.trace import TraceSource
from carbonfleet.simulator.grid import HOUR, Corrected, FromHistory, Recording
from fixtures.hand_clock import HandClock
from fixtures.made_grids import made_grid

AHEAD = 96


@pytest.mark.parametrize("days", [1.5, 11, 18.1, 40, 89, 92.7, 118.04, 140])
def test_the_hub_and_a_replay_forecast_the_same_to_the_last_bit(days):
    grid = made_grid(zones=2, days=150)
    hour = round(days * 24)
    replayed = FromHistory(grid, 24, grid.slots, AHEAD).at(hour)

    def curve(zone, signal, moment):
        return float(grid.grams_per_kwh[grid.row(zone), grid.slot(moment)]) if grid.start <= moment < grid.end else None

    clock = HandClock(hands=[grid.moment(hour)])
    source = TraceSource("made", set(replayed), curve, with_forecast=False)
    signals = Signals([source], clock, settings=SignalSettings(chain=("profile",)))
    try:
        told = signals.forecasts(set(replayed), clock.now(), clock.now() + AHEAD * HOUR).forecasts
    finally:
        signals.close()
    for key, forecast in replayed.items():
        assert told[key].start == forecast.start
        assert told[key].grams_per_kwh.tolist() == forecast.grams_per_kwh.tolist()
        assert told[key].doubt_grams_per_kwh.tolist() == forecast.doubt_grams_per_kwh.tolist()
        ours, theirs = told[key].past, forecast.past
        assert (ours.start, ours.grams_per_kwh.tobytes()) == (theirs.start, theirs.grams_per_kwh.tobytes())
        assert ours.measured.tobytes() == theirs.measured.tobytes()


def test_a_forecast_knows_nothing_of_what_is_older_than_the_hub_keeps():
    grid = made_grid(zones=1, days=150)
    key, oldest = (grid.zones[0], grid.signal), grid.slots - HISTORY // HOUR
    before = FromHistory(grid, grid.slots, grid.slots, AHEAD).at(grid.slots)[key]
    grid.grams_per_kwh[:, :oldest] *= 3
    after = FromHistory(grid, grid.slots, grid.slots, AHEAD).at(grid.slots)[key]
    assert after.grams_per_kwh.tolist() == before.grams_per_kwh.tolist()
    grid.grams_per_kwh[:, : oldest + timedelta(days=40) // HOUR] *= 3
    assert FromHistory(grid, grid.slots, grid.slots, AHEAD).at(grid.slots)[key].grams_per_kwh.tolist() != (
        before.grams_per_kwh.tolist()
    )


class Issuing(TraceSource):
    """A grid that is measured by the hour, and of which somebody issues a forecast each day."""

    def __init__(self, recording):
        grid = recording.grid
        self.recording = recording
        super().__init__("recorded", {(zone, grid.signal) for zone in grid.zones}, self.value)

    def value(self, zone, kind, at):
        grid = self.recording.grid
        return float(grid.grams_per_kwh[grid.row(zone), grid.slot(at)]) if grid.start <= at < grid.end else None

    def fetch(self, ask, now):
        if ask.feed is not Feed.FORECAST:
            return super().fetch(ask, now)
        grid, day = self.recording.grid, self.recording.grid.slot(now) // 24
        made = grid.moment(24 * day)
        readings = (
            Reading(ask.zone, made + HOUR * i, HOUR, float(value), ask.kind, unit_of(ask.kind), self.name, False, now)
            for i, value in enumerate(self.recording.issued[grid.row(ask.zone), day])
        )
        return Batch(ask, self.name, now, made, tuple(each for each in readings if each.start >= ask.start))


def issued_recording(days):
    """A made grid, and forecasts of it that are off by a tenth."""
    grid = made_grid(zones=2, days=days + 4)
    dice, values = np.random.default_rng(8), grid.grams_per_kwh
    true = np.array([[row[24 * day : 24 * day + AHEAD] for day in range(days)] for row in values])
    return Recording(grid, true * dice.normal(1, 0.1, true.shape))


@pytest.mark.parametrize("hour", [24 * 20, 24 * 33 + 7, 24 * 36 + 23])
def test_issued_forecasts_are_blended_in_the_hub_as_in_a_replay_to_the_last_bit(tmp_path, hour):
    recording = issued_recording(days=40)
    grid = recording.grid
    keys = {(zone, grid.signal) for zone in grid.zones}
    clock = HandClock(hands=[grid.start])
    url = f"sqlite:///{tmp_path / 'signals.db'}"

    def told(signals):
        return signals.forecasts(keys, clock.now(), clock.now() + AHEAD * HOUR).forecasts

    before = Signals([Issuing(recording)], clock, HistoryStore(url), SignalSettings(chain=("last",)))
    for day in range(hour // 24):  # each issue is fetched when it is made, and kept over a restart
        clock.hands[0] = grid.moment(24 * day)
        told(before)
    before.close()
    clock.hands[0] = grid.moment(hour // 24 * 24)
    signals = Signals([Issuing(recording)], clock, HistoryStore(url))
    try:
        told(signals)
        clock.hands[0] = grid.moment(hour)
        told(signals)
        signals.await_answers()
        found = told(signals)
        views = signals.overview(keys, AHEAD)
    finally:
        signals.close()
    assert [view.blend for view in views] == [found[zone, grid.signal].blend for zone in grid.zones]
    replayed = Corrected(recording, 24 * 10, grid.slots - AHEAD).at(hour)
    assert found.keys() == replayed.keys()
    for key, forecast in replayed.items():
        size = forecast.grams_per_kwh.size
        assert found[key].grams_per_kwh[:size].tolist() == forecast.grams_per_kwh.tolist()
        assert found[key].doubt_grams_per_kwh[:size].tolist() == forecast.doubt_grams_per_kwh.tolist()
        assert found[key].blend == forecast.blend != ""
        issued = recording.issued[grid.row(key[0]), hour // 24, hour % 24 :][:size]
        assert forecast.grams_per_kwh.tolist() != issued.tolist()
