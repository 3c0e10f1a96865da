"""What a replay is told of the grid is what the hub's service says, to the last bit."""

from datetime import timedelta

import pytest

from carbonfleet.forecast import HISTORY
from carbonfleet.signals import Signals, SignalSettings
from carbonfleet.signals.sources.trace import TraceSource
from carbonfleet.simulator.grid import HOUR, FromHistory
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
