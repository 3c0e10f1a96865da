"""Spokes whose clocks go wrong: how long one is silent is told by the hub's clock alone."""

from datetime import timedelta

from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.api.wire import format_time
from carbonfleet.spoke import HubLink
from fixtures.hub_process import CLUSTERS
from fixtures.reviewed_hub import ReviewedHub

SPOKE = "no-osl-1"


def beat(hub: ReviewedHub, ahead: timedelta) -> None:
    """A heartbeat by a clock that goes before the hub's by so much."""
    HubLink(hub.stack.kube, SPOKE).beat(SpokeStatus(heartbeat_time=hub.clock.now() + ahead))


def says(hub: ReviewedHub, kind: str) -> tuple[str, str, str]:
    """What a condition that the hub wrote of the spoke says: status, reason, message."""
    body = hub.stack.kube.get(f"/apis/carbonfleet.dev/v1alpha1/spokeclusters/{SPOKE}")
    [said] = [each for each in body["status"]["conditions"] if each["type"] == kind]
    return said["status"], said["reason"], said["message"]


def test_a_heartbeat_from_the_future_keeps_no_dead_spoke_ready(hub):
    hub.stack.spokes.silent.add(SPOKE)
    hub.step(minutes=1)
    beat(hub, timedelta(hours=9))
    hub.step(minutes=1)
    assert says(hub, "Ready")[:2] == ("True", "Ready")
    hub.step(minutes=20)
    assert says(hub, "Ready")[:2] == ("False", "Unreachable")
    hub.restart()
    hub.step(minutes=20)
    assert says(hub, "Ready")[:2] == ("False", "Unreachable")


def test_a_second_agent_under_one_name_is_named_while_it_asks(hub):
    where = f"/apis/carbonfleet.dev/v1alpha1/spokeclusters/{SPOKE}/status"
    asked = {"rivalIdentity": "other-host_2", "rivalTime": format_time(hub.clock.now() + timedelta(hours=9))}
    hub.stack.kube.patch(where, {"status": asked})
    hub.step()
    assert says(hub, "AgentUnique")[:2] == ("False", "SecondAgent")
    assert says(hub, "Ready")[0] == "True"
    hub.step(minutes=6)
    assert says(hub, "AgentUnique") == ("True", "OneAgent", "one agent alone asks for its name")
    told, _ = hub.stack.kube.list("/api/v1/namespaces/default/events")
    assert "SecondAgent" in {each["reason"] for each in told if each["involvedObject"]["name"] == SPOKE}


def test_a_spoke_whose_clock_is_behind_is_ready_and_told_so(hub):
    hub.stack.spokes.silent.add(SPOKE)
    for _ in range(3):
        hub.step(minutes=2)
        beat(hub, -timedelta(minutes=7))
        hub.step()
        assert says(hub, "Ready")[0] == "True"
    what = "its clock is 7 min behind the hub's: set it right, for what it reports is dated by it"
    assert says(hub, "ClockInSync") == ("False", "ClockSkewed", what)
    hub.step(minutes=2)
    beat(hub, timedelta())
    hub.step()
    assert says(hub, "ClockInSync")[:2] == ("True", "InSync")


def test_a_spoke_whose_clock_is_ahead_is_told_so(hub):
    hub.stack.spokes.silent.add(SPOKE)
    for _ in range(2):
        hub.step(minutes=2)
        beat(hub, timedelta(hours=9))
        hub.step()
    assert says(hub, "Ready")[0] == "True"
    what = "its clock is 9 h ahead of the hub's: set it right, for what it reports is dated by it"
    assert says(hub, "ClockInSync") == ("False", "ClockSkewed", what)


def test_the_next_cycle_is_due_as_soon_as_a_spoke_is_silent_for_too_long(hub):
    hub.stack.spokes.silent.update(CLUSTERS)
    hub.step()
    heard_at = hub.clock.now()
    hub.clock.forward(minutes=3)
    assert hub.cycle.run().recheck_at == heard_at + timedelta(minutes=5)
    hub.clock.forward(minutes=2, seconds=1)
    assert hub.cycle.run().recheck_at is None
    assert says(hub, "Ready")[:2] == ("False", "Unreachable")
