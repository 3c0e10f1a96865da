"""A spoke on a real Ray head: what Git wants runs once, and the hub hears of it."""

import pytest
from spoke_house import intent, name_of

from carbonfleet.api.report import AttemptPhase, EnergyMethod

pytestmark = pytest.mark.ray


def test_a_placement_is_trained_and_reported(house):
    house.publish(intent("llama", steps=8))
    agent = house.agent()
    house.cycle_until(agent, lambda: house.phase(name_of("llama")) is AttemptPhase.SUCCEEDED)
    report = house.reports()[name_of("llama")]
    assert report.progress.step == 8
    assert report.progress.validation_loss < report.progress.initial_validation_loss
    assert report.checkpoint.step == 5
    assert report.energy.method is EnergyMethod.ESTIMATE
    assert report.start_time < report.end_time
    assert len(house.starts("llama")) == 1
