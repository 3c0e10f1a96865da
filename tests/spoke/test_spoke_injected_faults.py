"""Whatever the agent raises over one attempt, wherever it does, ends there and is named; others train and report."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent, name_of, opened

from carbonfleet.api.report import AttemptPhase
from carbonfleet.fleet import Remove
from carbonfleet.kube import KubeError
from fixtures.any_error import ANY_ERROR
from fixtures.fault_injection import FaultInjector, Place
from fixtures.fleet_values import uid_of
from fixtures.kubeapi_server import eventually

FEWEST_PLACES = 60
"""At which the agent calls something about an attempt."""
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""One place is no simpler than another."""
CLEARED = [HealthCheck.function_scoped_fixture]
Arm = Callable[[], AbstractContextManager[None]]


class Attempts:
    """An agent under which attempts begin, train, end and leave Git, while it fails over one of two."""

    def __init__(self, stack) -> None:
        self.stack, self.runtime = stack, SimulatedRuntime(SPOKE)
        self.agent = stack.agent(self.runtime)
        self.injector, self.count = FaultInjector(("carbonfleet.spoke",)), 0
        one, other = self.submit()
        self.live(one, other, lambda: self.injector.watching(*self.names(one)))
        self.end()
        self.places = sorted(self.injector.seen)

    def submit(self) -> tuple[str, str]:
        """Two jobs of which Git wants an attempt here."""
        self.count += 1
        jobs = f"one-{self.count}", f"other-{self.count}"
        self.stack.publish(*(intent(job, gpus=1) for job in jobs))
        return jobs

    def names(self, job: str) -> tuple[str, ...]:
        """All that a call about the attempt may hold."""
        return job, uid_of(job), name_of(job), f"ml/{job}", f"clusters/{SPOKE}/jobs/ml/{job}.yaml"

    def cycle(self, arm: Arm = nullcontext) -> str:
        """One pass; what the spoke says of itself after it."""
        with arm():
            self.agent.cycle()
        return " ".join(self.stack.spoke().status.problems)

    def live(self, one: str, other: str, arm: Arm = nullcontext) -> list[str]:
        """Passes until the other attempt has ended well; what the spoke says of itself in their course."""
        said: list[str] = []

        def has_come_to(phase: AttemptPhase) -> bool:
            for job in (one, other):
                if name_of(job) in self.runtime.started:
                    self.runtime.phase[name_of(job)] = phase
            said.append(self.cycle(arm))
            return self.stack.phase(name_of(other)) is phase

        for phase in (AttemptPhase.RUNNING, AttemptPhase.SUCCEEDED):
            eventually(lambda wanted=phase: has_come_to(wanted), 60, every=0.05)
        return said

    def end(self) -> None:
        """Git forgets all attempts."""
        placed = self.stack.repository.fetch().placements.values()
        self.stack.publish(*(Remove(each, "it is over", finished=True) for each in placed))


@pytest.fixture(scope="module")
def attempts(hub_api, tmp_path_factory):
    quick = {"sync_seconds": 0.05, "progress_seconds": 0.05, "resync_seconds": 1.0}
    with opened(tmp_path_factory.mktemp("attempts"), hub_api, None) as stack:
        stack.settings |= quick
        yield Attempts(stack)


def check(attempts: Attempts, place: Place, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Fail over one attempt at a place, in each pass of its life."""
    print(place, type(error).__name__)
    caplog.clear()
    one, other = attempts.submit()
    attempts.injector.fired = 0
    names = attempts.names(one)

    def arm() -> AbstractContextManager[None]:
        return attempts.injector.failing(place, error, *names)

    told = attempts.live(one, other, arm)

    def is_named() -> bool:
        told.append(attempts.cycle(arm))
        texts = (*told, *caplog.messages)
        return any(type(error).__name__ in text and any(name in text for name in names) for text in texts)

    if attempts.injector.fired:
        eventually(is_named, 20)
    attempts.end()


def test_the_places_that_call_something_about_an_attempt_are_found(attempts):
    assert len(attempts.places) > FEWEST_PLACES


def test_an_attempt_of_which_nobody_can_tell_whether_it_runs_is_named(attempts, caplog):
    place = next(each for each in attempts.places if each.caller.endswith(":SpokeObservation.held"))
    check(attempts, place, ZeroDivisionError("a slip"), caplog)
    assert any("so that its GPUs count as held: ZeroDivisionError: a slip" in text for text in caplog.messages)


def test_a_report_that_the_hub_takes_not_now_holds_up_no_other_and_is_named(attempts, caplog):
    place = next(each for each in attempts.places if each.called.endswith(":HubLink.write"))
    one, other = attempts.submit()
    too_many = KubeError(429, "TooManyRequests", "slow down")

    def arm() -> AbstractContextManager[None]:
        return attempts.injector.failing(place, too_many, *attempts.names(one))

    attempts.live(one, other, arm)
    eventually(lambda: f"report {name_of(one)}: slow down" in attempts.cycle(arm), 20)
    eventually(lambda: attempts.cycle() == "" and attempts.stack.phase(name_of(one)) is AttemptPhase.SUCCEEDED, 20)
    attempts.end()


@settings(max_examples=8, phases=UNSHRUNK, suppress_health_check=CLEARED)
@given(number=st.integers(0, 10_000), error=st.sampled_from(ANY_ERROR))
def test_any_error_over_one_attempt_wherever_it_is_raised_ends_there_and_is_named(attempts, caplog, number, error):
    check(attempts, attempts.places[number % len(attempts.places)], error, caplog)


@pytest.mark.soak
def test_each_place_may_fail_over_an_attempt(attempts, caplog):
    for number, place in enumerate(attempts.places):
        check(attempts, place, ANY_ERROR[number % len(ANY_ERROR)], caplog)
