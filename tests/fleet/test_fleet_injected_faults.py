"""Whatever is raised over one intent, proposal or branch, wherever it is, ends there and is named; others go on."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from carbonfleet.fleet import AlreadyThere, Committed, Intent, Refused, Remove, Repository, Reviews, Suspend
from carbonfleet.fleet.review import ForgeSettings, ProposalLimits, ProposalStage, Propose
from carbonfleet.fleet.review.forges.github import GitHub
from carbonfleet.fleet.review.pull_requests import branch_of, job_of
from fixtures.any_error import ANY_ERROR
from fixtures.fault_injection import FaultInjector, Place
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of
from fixtures.forge_server import ForgeServer
from fixtures.hand_clock import HandClock

NOW, HOUR = CLOCK.now(), timedelta(hours=1)
HUB = "a-hub"
NO_PLACES = "fleet.publish.intents", "Reviews._done"
"""A wish's own names, of which all else is made, and what catches errors."""
FEWEST_PLACES = 100
"""At which publishing and review call something about a job."""
Arm = Callable[[], AbstractContextManager[None]]


class Fleet:
    """A repository, its forge and a hub, under which one of two jobs is failed over."""

    def __init__(self, root: Path, forge: ForgeServer, url: str) -> None:
        self.root, self.forge, self.url, self.count = root, forge, url, 0
        (root / "token").write_text(forge.token)
        self.injector, self.told = FaultInjector(("carbonfleet.fleet.publish", "carbonfleet.fleet.review")), list[str]()

    def begin(self) -> None:
        """Two new jobs, and a hub that knows nothing but what stands in Git and on the forge."""
        self.count += 1
        self.one, self.other, self.told = f"one-{self.count}", f"other-{self.count}", []
        settings = ForgeSettings(self.forge.url, "acme/fleet", self.root / "token", pause_seconds=0.001)
        self.repository = Repository(quick_settings(self.url, self.root / f"hub-{self.count}"), CLOCK)
        self.reviews = Reviews(self.repository, GitHub(settings, HandClock()), ProposalLimits(100, 100))

    def names(self) -> tuple[str, ...]:
        """All that a call about the first job may hold."""
        branch = branch_of(self.wish(self.one))
        aside = branch.replace("carbon/", "carbon-rejected/")
        placed = place(self.one)
        return self.one, f"ml/{self.one}", uid_of(self.one), placed.id, placed.path, branch, aside

    @staticmethod
    def wish(name: str, cluster: str = "no-osl-1") -> Propose:
        """That people be asked."""
        made = place(name, cluster)
        record = made.record.model_copy(update={"hub": HUB})
        return Propose(replace(made, record=record, expires_at=NOW + HOUR), NOW + HOUR)

    def write(self, make: Callable[[str], Intent], arm: Arm) -> None:
        """Publish for both; the other's is written whatever happens, and the one's once nothing happens any more."""
        wanted = [make(self.one), make(self.other)]
        with arm():
            done = self.repository.publish(wanted)
        assert isinstance(done.results[wanted[1].id], Committed | AlreadyThere)
        refused = done.results[wanted[0].id]
        self.told += [f"{self.one}: {refused.message}"] if isinstance(refused, Refused) else []
        assert isinstance(self.repository.publish(wanted).results[wanted[0].id], Committed | AlreadyThere)

    def ask(self, stage: ProposalStage, arm: Arm, cluster: str = "no-osl-1") -> None:
        """Advance both; the other gets there whatever happens, and the one once nothing happens any more."""
        wanted = [self.wish(self.one, cluster), self.wish(self.other, cluster)]
        with arm():
            said = self.reviews.advance(wanted, NOW, hint=True)
        assert said[wanted[1].place.id].stage is stage
        first = said[wanted[0].place.id]
        self.told += [f"{self.one}: {first.reason}"] if first.stage is ProposalStage.HELD else []
        self.reviews = Reviews(self.repository, self.reviews._forge, ProposalLimits(100, 100))
        assert {each.stage for each in self.reviews.advance(wanted, NOW).values()} == {stage}

    def close(self) -> None:
        """People say no to both."""
        for pull in self.forge.pulls:
            if pull.branch in {branch_of(self.wish(name)) for name in (self.one, self.other)}:
                self.forge.close(pull)

    def forget(self, arm: Arm, prefix: str, **more: object) -> None:
        """Nothing is wanted any more: the other's branches go whatever happens, and then the one's."""
        with arm():
            self.reviews.advance([], NOW, hub=HUB, **more)
        assert self.branches(prefix, self.other) == []
        self.reviews.advance([], NOW, hub=HUB, **more)
        assert self.branches(prefix, self.one) == []

    def outlive(self, arm: Arm, jobs: Mapping[str, int]) -> None:
        """That a no is kept for the other's job, which is gone, is found whatever happens over the one's."""
        self.reviews.advance([], NOW, hub=HUB)
        with arm():
            assert self.reviews.has_outlived(jobs)

    def branches(self, prefix: str, name: str) -> list[str]:
        """A job's branches on the server."""
        found = self.repository.session
        found.fetch(("carbon", "carbon-rejected"))
        start = f"refs/remotes/origin/{prefix}/{job_of(self.wish(name))}/"
        return [ref for ref in found.git.references if ref.startswith(start)]

    def live(self, arm: Arm = nullcontext) -> None:
        """A proposal that is changed and refused, one that is taken back, and a placement's life."""
        self.begin()
        self.ask(ProposalStage.OPEN, arm)
        self.ask(ProposalStage.OPEN, arm, "us-oh-1")
        self.forget(arm, "carbon")
        self.ask(ProposalStage.OPEN, arm)
        self.close()
        self.ask(ProposalStage.REJECTED, arm)
        gone = {uid_of(name): 99 for name in (self.one, self.other)}
        self.outlive(arm, gone)
        self.forget(arm, "carbon-rejected", jobs=gone)
        self.write(place, arm)
        placed = self.repository.fetch().placements
        self.write(lambda name: Suspend(placed[uid_of(name)], suspended=True, why="The grid is dirty."), arm)
        self.write(lambda name: Remove(placed[uid_of(name)], "It ended.", finished=True), arm)


@pytest.fixture
def fleet(git_server, tmp_path):
    forge = ForgeServer.over(git_server, "github", CLOCK.now)
    yield Fleet(tmp_path, forge, git_server.url)
    forge.stop()


def check(fleet: Fleet, place: Place, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Fail over one job at a place, whenever it is about that job."""
    caplog.clear()
    fleet.injector.fired = 0
    fleet.live(lambda: fleet.injector.failing(place, error, *fleet.names()))
    told = [*fleet.told, *caplog.messages]
    if fleet.injector.fired:
        assert any(type(error).__name__ in text or fleet.one in text for text in told), place


def places_of(fleet: Fleet) -> list[Place]:
    """All calls about one of two jobs."""
    fleet.live(lambda: fleet.injector.watching(*fleet.names()))
    return sorted(
        each for each in fleet.injector.seen if not any(name in f"{each.caller} {each.called}" for name in NO_PLACES)
    )


def test_any_error_over_one_job_of_two_ends_there_and_is_named(fleet, caplog):
    places = places_of(fleet)
    assert len(places) > FEWEST_PLACES
    for each, error in zip(Random(1).sample(places, 5), ANY_ERROR, strict=False):
        check(fleet, each, error, caplog)


def test_an_error_over_one_kept_no_hides_no_other(fleet, caplog):
    places = [each for each in places_of(fleet) if "has_outlived" in each.caller]
    assert places
    for each in places:
        check(fleet, each, ANY_ERROR[0], caplog)


@pytest.mark.soak
def test_each_place_may_fail_over_a_job(fleet, caplog):
    for number, each in enumerate(places_of(fleet)):
        check(fleet, each, ANY_ERROR[number % len(ANY_ERROR)], caplog)


class Unsayable:
    """Words of which nothing can be said."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    def __iter__(self):
        raise self.error


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
def test_an_intent_that_no_message_can_be_made_of_holds_up_no_other(repository, error):
    names = [f"job-{number}" for number in range(5)]
    repository.publish([place(name) for name in names])
    placed = repository.fetch().placements
    intents = [Suspend(placed[uid_of(name)], suspended=True, why="The grid is dirty.") for name in names]
    intents[3] = replace(intents[3], why=Unsayable(error))
    results = repository.publish(intents).results
    assert [isinstance(results[each.id], Committed) for each in intents] == [True, True, True, False, True]
    assert results[intents[3].id].reason in ("NotRenderable", "StateNotWritable")
    suspended = {each.name for each in repository.fetch().placements.values() if each.suspended}
    assert suspended == {name for name in names if name != "job-3"}
