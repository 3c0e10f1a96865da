"""Spokes whose clocks go wrong: how long one is silent is told by the hub's clock alone."""

from datetime import timedelta

import pytest

from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.spoke import HubLink
from fixtures.review_house import ReviewHouse

SPOKE = "no-osl-1"


def beat(hub: ReviewHouse, ahead: timedelta) -> None:
    """A heartbeat by a clock that goes before the hub's by so much."""
    HubLink(hub.house.kube, SPOKE).beat(SpokeStatus(heartbeat_time=hub.clock.now() + ahead))


def ready(hub: ReviewHouse) -> tuple[str, str, str]:
    """What the hub says of the spoke: status, reason, message."""
    body = hub.house.kube.get(f"/apis/carbonfleet.dev/v1alpha1/spokeclusters/{SPOKE}")
    [said] = [each for each in body["status"]["conditions"] if each["type"] == "Ready"]
    return said["status"], said["reason"], said["message"]


@pytest.mark.xfail(strict=True, reason="heartbeats count by the spoke's clock")
def test_a_heartbeat_from_the_future_keeps_no_dead_spoke_ready(hub):
    hub.house.spokes.silent.add(SPOKE)
    hub.step(minutes=1)
    beat(hub, timedelta(hours=9))
    hub.step(minutes=1)
    assert ready(hub)[:2] == ("True", "Ready")
    hub.step(minutes=20)
    assert ready(hub)[:2] == ("False", "Unreachable")
    hub.restart()
    hub.step(minutes=20)
    assert ready(hub)[:2] == ("False", "Unreachable")


@pytest.mark.xfail(strict=True, reason="heartbeats count by the spoke's clock")
def test_a_spoke_whose_clock_is_behind_is_ready_and_told_so(hub):
    hub.house.spokes.silent.add(SPOKE)
    for _ in range(3):
        hub.clock.forward(minutes=2)
        beat(hub, -timedelta(minutes=7))
        hub.step()
        assert ready(hub)[0] == "True"
    assert "7 minutes behind" in ready(hub)[2]


@pytest.mark.xfail(strict=True, reason="heartbeats count by the spoke's clock")
def test_a_spoke_whose_clock_is_ahead_is_told_so(hub):
    hub.house.spokes.silent.add(SPOKE)
    for _ in range(2):
        hub.clock.forward(minutes=2)
        beat(hub, timedelta(hours=9))
        hub.step()
    assert ready(hub)[0] == "True"
    assert "540 minutes ahead" in ready(hub)[2]
