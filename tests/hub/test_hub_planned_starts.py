"""A spoke whose hosts may sleep is told when they are needed next, and hears of it only when that changes."""

import json
from dataclasses import replace
from datetime import timedelta

import hub_values
import pytest
from kubernetes import client

from carbonfleet.hub.observe import Mirror
from carbonfleet.hub.status.events import EventRecorder
from carbonfleet.hub.status.spoke_status import MOST_STARTS, SpokeStatuses
from carbonfleet.kube import Kube
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.snapshot import Spoke
from fixtures.fleet_values import NOON, decide, facts_of, window_on
from fixtures.http_server import HttpServer, QuietHandler

HOUR = timedelta(hours=1)


class Writing(QuietHandler):
    """Takes each patch of a status, and keeps it."""

    def respond(self):
        name, sent = self.path.split("/")[-2], json.loads(self.body())
        self.server.written.append((name, sent["status"]))
        body = spoke(name, sent["status"], version=len(self.server.written) + 1)
        self.answer(200, json.dumps(body).encode())


def spoke(name, status, version=1):
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}, "status": status}


def sleeper(name):
    facts = facts_of(name)
    pools = tuple(pool.model_copy(update={"wake_time": timedelta(minutes=10)}) for pool in facts.pools)
    return Spoke(facts.model_copy(update={"pools": pools}))


@pytest.fixture
def told():
    """Tells decisions at noon, of which no-osl-1 has hosts that may sleep and us-oh-1 has none; what was written."""
    with HttpServer(Writing) as server:
        server.written = []
        configuration = client.Configuration()
        configuration.host = server.url
        kube, mirror = Kube(configuration), Mirror()
        for name in ("no-osl-1", "us-oh-1"):
            mirror.put("spokeclusters", spoke(name, {}))
        statuses = SpokeStatuses(kube, mirror, EventRecorder(kube))
        seen = hub_values.observation(now=NOON, spokes=(sleeper("no-osl-1"), Spoke(facts_of("us-oh-1"))))

        def tell(*decisions):
            before = len(server.written)
            statuses.tell_starts(seen, decisions)
            return server.written[before:]

        yield tell
        statuses.events.close()


def waiting(name, hours, cluster="no-osl-1", outcome=Outcome.WAIT, gpus=2):
    window = replace(
        window_on(cluster, gpus), segments=tuple((NOON + HOUR * at, NOON + HOUR * (at + 1)) for at in hours)
    )
    return decide(name, cluster, outcome=outcome, window=window)


def test_the_soonest_start_comes_first_and_nothing_is_written_twice(told):
    jobs = [waiting("late", [5, 9]), waiting("soon", [2], gpus=4), waiting("elsewhere", [1], "us-oh-1")]
    [(name, status)] = told(*jobs)
    assert name == "no-osl-1"
    assert [(each["at"][11:16], each["gpus"], each["pool"]) for each in status["plannedStarts"]] == [
        ("14:00", 4, "a100"),
        ("17:00", 2, "a100"),
        ("21:00", 2, "a100"),
    ]
    assert told(*reversed(jobs)) == []
    assert told() == [("no-osl-1", {"plannedStarts": []})]
    assert told() == []


def test_what_runs_there_and_what_starts_now_is_no_news(told):
    blocked = replace(waiting("blocked", [3]), outcome=Outcome.BLOCKED, window=None)
    assert told(waiting("keeps", [4], outcome=Outcome.KEEP), waiting("now", [0]), blocked) == []


def test_a_long_queue_tells_its_soonest(told):
    [(_, status)] = told(*(waiting(f"job-{number}", [number + 1]) for number in range(MOST_STARTS + 20)))
    assert len(status["plannedStarts"]) == MOST_STARTS
    assert status["plannedStarts"][0]["at"] == "2026-01-31T13:00:00Z"
