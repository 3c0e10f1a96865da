"""Whatever the hub raises over one job, report or spoke, wherever it does, ends there and is named; others go on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carbonfleet.api.job_status import Phase
from carbonfleet.fleet import object_name, placement_id
from carbonfleet.kube import ours
from fixtures.any_error import ANY_ERROR
from fixtures.fault_injection import FaultInjector, Place
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

CYCLES = 4
"""In which a job goes from its creation to its end."""
MORE = 4
"""In which what a fault held up is made good."""
FEWEST_PLACES = 150
"""From which the hub calls something about a job: had it found fewer, the injector would miss some."""
SPOKE = "ca-qc-1"
"""Cleaner ones are there, so that no job here runs on it."""
CLEARED = [HealthCheck.function_scoped_fixture]
"""The log that was captured is cleared before each example."""
Arm = Callable[[], AbstractContextManager[None]]


class Lives:
    """A hub under which jobs live from creation to deletion while it fails over one of them, or over a spoke."""

    def __init__(self, hub: ReviewedHub) -> None:
        self.hub, self.injector, self.count, self.said = hub, FaultInjector(("carbonfleet.hub",)), 0, ""
        self.of_job, self.of_spoke = self._places(job=True), self._places(job=False)

    def _places(self, *, job: bool) -> list[Place]:
        self.injector.seen.clear()
        one, other = self.submit()
        item = self.names(one) if job else (SPOKE,)
        self.live(one, lambda: self.injector.watching(*item))
        self.end(one, other, lambda: self.injector.watching(*item))
        return sorted(self.injector.seen)

    def submit(self) -> tuple[str, str]:
        """Two new jobs."""
        self.count += 1
        one, other = f"one-{self.count}", f"other-{self.count}"
        for name in (one, other):
            self.hub.stack.submit(name)
        return one, other

    def names(self, job: str) -> tuple[str, ...]:
        """All that a call about the job may hold."""
        known = self.hub.stack.job(job)
        uid = known.metadata.uid
        return job, known.key, uid, placement_id(uid, 1, 1), object_name(job, uid, 1)

    def live(self, job: str, arm: Arm = nullcontext, cycles: int = CYCLES) -> None:
        """So many cycles; what the API says of the job and of the spokes in their course is added to `said`."""
        for _ in range(cycles):
            self.hub.clock.forward(minutes=2)
            self.hub.stack.spokes.look()
            self.hub.connections.mirror.resync(self.hub.connections.kube)
            with arm():
                self.hub.cycle.run()
            self.hub.stack.spokes.look()
            self.said += f"{self.hub.stack.body(job) if job else ''} {self.hub.stack.kube.list(ours('spokeclusters'))}"

    def end(self, one: str, other: str, arm: Arm = nullcontext) -> None:
        """Delete both, and see them go."""
        for job in (one, other):
            self.hub.stack.delete(job)
        self.live(one, arm, 2)


@pytest.fixture(scope="module")
def lives(hub_api, tmp_path_factory):
    """One hub for the tests here, and all places of its code that call something about a job, or about a spoke."""
    hub = ReviewedHub.open(tmp_path_factory.mktemp("lives") / "stack", hub_api, "github")
    yield Lives(hub)
    hub.close()


def fails_over(lives: Lives, place: Place, error: Exception, *item: str) -> Arm:
    """The hub fails there whenever it is about the item."""
    return lambda: lives.injector.failing(place, error, *item)


def lived_well(lives: Lives, one: str, other: str) -> None:
    """Neither is lost, doubled or stuck."""
    lives.live(one, cycles=MORE)
    assert (lives.hub.phase(one), lives.hub.phase(other)) == (Phase.SUCCEEDED, Phase.SUCCEEDED)
    for job in (one, other):
        assert [entry.attempt for entry in lives.hub.connections.ledger.entries() if entry.job == job] == [1]
    assert lives.hub.stack.spokes.violations == []


def check_job(lives: Lives, place: Place, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Fail over one job at a place, all its life."""
    caplog.clear()
    one, other = lives.submit()
    names, lives.said, lives.injector.fired = lives.names(one), "", 0
    lives.live(one, fails_over(lives, place, error, *names), CYCLES + 1)
    assert lives.hub.phase(other) is Phase.SUCCEEDED, place
    told = [lives.said, *caplog.messages]
    if lives.injector.fired:
        assert any(type(error).__name__ in text and any(name in text for name in names) for text in told), place
    lived_well(lives, one, other)
    lives.end(one, other, fails_over(lives, place, error, *names))
    lives.live(one, cycles=2)
    assert [lives.hub.stack.body(job) for job in (one, other)] == [None, None]


def check_spoke(lives: Lives, place: Place, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Fail over a spoke at a place, while jobs run on another."""
    caplog.clear()
    one, other = lives.submit()
    lives.said, lives.injector.fired = "", 0
    lives.live(one, fails_over(lives, place, error, SPOKE), CYCLES + 1)
    assert (lives.hub.phase(one), lives.hub.phase(other)) == (Phase.SUCCEEDED, Phase.SUCCEEDED), place
    told = [lives.said, *caplog.messages]
    if lives.injector.fired:
        assert any(type(error).__name__ in text and SPOKE in text for text in told), place
    lived_well(lives, one, other)
    lives.end(one, other)


def test_the_places_that_call_something_about_a_job_or_a_spoke_are_found(lives):
    assert len(lives.of_job) > FEWEST_PLACES
    assert {"spokes_of", "SpokeStatuses.update"} <= {place.caller.split(":")[1] for place in lives.of_spoke}


def place_named(places: list[Place], called: str) -> Place:
    """One of the places, by the function that is called there."""
    return next(place for place in places if place.called.endswith(called))


def test_a_job_that_the_hub_fails_over_says_so_and_is_taken_up_again(lives):
    one, _other = lives.submit()
    place = place_named(lives.of_job, ":_between")
    lives.live(one, fails_over(lives, place, ZeroDivisionError("a slip"), *lives.names(one)), 1)
    told = condition(lives.hub.stack.job(one), "Committed")
    assert told.reason == "HubFault"
    assert told.message.startswith(f"{lives.hub.stack.job(one).key}: what it asks of the planner can't be told: ")
    assert "ZeroDivisionError: a slip. It is left as it is until a later cycle succeeds" in told.message
    lives.live(one, cycles=1)
    assert condition(lives.hub.stack.job(one), "Committed").reason != "HubFault"


def test_a_spoke_that_the_hub_fails_over_says_so_until_it_does_no_more(lives):
    def reconciled() -> dict[str, str]:
        body = lives.hub.stack.kube.get(ours("spokeclusters", "", SPOKE))
        return next(each for each in body["status"]["conditions"] if each["type"] == "Reconciled")

    place = place_named(lives.of_spoke, ":_found")
    lives.live("", fails_over(lives, place, ZeroDivisionError("a slip"), SPOKE), 1)
    assert (reconciled()["status"], reconciled()["reason"]) == ("False", "HubFault")
    assert "ZeroDivisionError: a slip" in reconciled()["message"]
    lives.live("", cycles=1)
    assert (reconciled()["status"], reconciled()["reason"]) == ("True", "Reconciled")


@settings(max_examples=25, suppress_health_check=CLEARED)
@given(number=st.integers(0, 10_000), error=st.sampled_from(ANY_ERROR))
def test_any_error_over_one_job_wherever_it_is_raised_ends_there_and_is_named(lives, caplog, number, error):
    check_job(lives, lives.of_job[number % len(lives.of_job)], error, caplog)


@settings(max_examples=10, suppress_health_check=CLEARED)
@given(number=st.integers(0, 10_000), error=st.sampled_from(ANY_ERROR))
def test_any_error_over_one_spoke_wherever_it_is_raised_ends_there_and_is_named(lives, caplog, number, error):
    check_spoke(lives, lives.of_spoke[number % len(lives.of_spoke)], error, caplog)


@pytest.mark.soak
def test_each_place_may_fail_over_a_job_or_a_spoke(lives, caplog):
    for number, place in enumerate(lives.of_job):
        check_job(lives, place, ANY_ERROR[number % len(ANY_ERROR)], caplog)
    for number, place in enumerate(lives.of_spoke):
        check_spoke(lives, place, ANY_ERROR[number % len(ANY_ERROR)], caplog)
