"""A heartbeat's age by the hub's clock, whatever the spoke's says."""

from datetime import timedelta

import pytest
from hub_values import NOON

from carbonfleet.hub.observe.heartbeats import Heard, Heartbeats, next_silence
from fixtures.hand_clock import HandClock

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RIGHT = timedelta()


class Agent:
    """A spoke that beats by a clock of its own, and a hub that listens."""

    def __init__(self, skew):
        self.clock, self.skew = HandClock(), skew
        self.clock.set(NOON)
        self.heartbeats = Heartbeats(self.clock)
        self.written = None

    def beat(self):
        self.written = self.clock.now() + self.skew

    def heard(self, minutes=0):
        self.clock.forward(minutes=minutes)
        status = {"heartbeatTime": f"{self.written:%Y-%m-%dT%H:%M:%SZ}"} if self.written else {}
        body = {"metadata": {"name": "spoke"}, "status": status}
        return self.heartbeats.hear([body], self.clock.now()).get("spoke")


@pytest.mark.parametrize("skew", [RIGHT, 9 * HOUR, -7 * MINUTE, -9 * HOUR, 1000 * 365 * 24 * HOUR / 2])
def test_a_heartbeat_is_as_old_as_the_time_since_the_hub_saw_it_change(skew):
    agent = Agent(skew)
    agent.beat()
    agent.heard()
    for _ in range(3):
        agent.clock.forward(minutes=1)
        agent.beat()
        assert agent.heard().at == agent.clock.now()
    changed_at = agent.clock.now()
    assert agent.heard(minutes=4).at == changed_at
    assert agent.heard(minutes=480).at == changed_at


@pytest.mark.parametrize(("skew", "named"), [(RIGHT, RIGHT), (30 * MINUTE / 60, RIGHT), (9 * HOUR, 9 * HOUR)])
def test_a_clock_that_is_ahead_is_named_at_once(skew, named):
    agent = Agent(skew)
    agent.beat()
    assert agent.heard().skew == named
    agent.clock.forward(minutes=1)
    agent.beat()
    assert agent.heard().skew == named


def test_a_clock_that_is_behind_is_named_at_the_second_heartbeat_as_far_as_it_is_certain():
    agent, skews = Agent(-7 * MINUTE), []
    for _ in range(4):
        agent.beat()
        skews.append(agent.heard().skew)
        agent.clock.forward(minutes=1)
    assert skews == [RIGHT, RIGHT, -6 * MINUTE, -6 * MINUTE]
    agent.skew = RIGHT
    agent.beat()
    assert agent.heard().skew == RIGHT


def test_one_heartbeat_that_was_held_up_on_its_way_accuses_nobody():
    agent = Agent(RIGHT)
    for wait in (0, 0, 8, 0, 0):
        before = agent.written
        agent.beat()
        late, agent.written = agent.written, before
        agent.heard(minutes=wait)
        agent.written = late
        assert agent.heard().skew == RIGHT
        agent.clock.forward(minutes=1)


@pytest.mark.parametrize(
    ("skew", "heard"),
    [(-20 * MINUTE, Heard(NOON - 20 * MINUTE)), (RIGHT, Heard(NOON)), (9 * HOUR, Heard(None, 9 * HOUR))],
)
def test_after_a_start_a_heartbeat_is_as_old_as_it_says_but_for_one_from_the_future(skew, heard):
    agent = Agent(skew)
    agent.beat()
    assert agent.heard() == heard


def test_a_hub_s_clock_that_is_set_makes_nobody_silent():
    agent = Agent(RIGHT)
    agent.beat()
    agent.heard()
    jumped = agent.clock.now() + 9 * HOUR
    body = {"metadata": {"name": "spoke"}, "status": {"heartbeatTime": f"{agent.written:%Y-%m-%dT%H:%M:%SZ}"}}
    assert agent.heartbeats.hear([body], jumped) == {"spoke": Heard(jumped)}


def test_the_next_silence_is_that_of_the_alive_spoke_that_was_heard_longest_ago():
    minutes_ago = {"lost": 6, "first": 4, "last": 1}
    heard = {name: Heard(NOON - minutes * MINUTE) for name, minutes in minutes_ago.items()} | {"liar": Heard(None)}
    assert next_silence(heard, NOON, 5 * MINUTE) == NOON + MINUTE
    assert next_silence({"lost": heard["lost"], "liar": heard["liar"]}, NOON, 5 * MINUTE) is None


@pytest.mark.parametrize(
    "status", [None, {}, {"heartbeatTime": None}, {"heartbeatTime": "soon"}, {"heartbeatTime": []}]
)
def test_an_agent_that_says_nothing_readable_was_not_heard(status):
    clock = HandClock()
    assert Heartbeats(clock).hear([{"metadata": {"name": "spoke"}, "status": status}], NOON) == {}
