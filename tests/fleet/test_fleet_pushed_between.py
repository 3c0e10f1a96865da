"""What others push between the hub's look at the branch and its commit is judged before anything is put on top."""

from dataclasses import replace

import pytest

from carbonfleet.fleet import AlreadyThere, Committed, Remove, Suspend
from fixtures.fleet_values import place, uid_of

REVIEWED = """apiVersion: carbonfleet.dev/v1alpha1
kind: FleetPolicy
metadata: {name: people-look}
spec:
  review: {mode: required}
"""
CLUSTER = "clusters/ca-qc-1/cluster.yaml"
PUSHED = {
    "a policy that wants a review": ("policies/people-look.yaml", REVIEWED),
    "a policy that nobody can read": ("policies/us-only.YAML", "spec: {}\n"),
    "a cluster's other price": (CLUSTER, lambda text: text.replace("usdPerGpuHour: ", "usdPerGpuHour: 9")),
    "a file beside the clusters": ("clusters/ca-qc-1.yaml", "maintenance: true\n"),
    "a file among the cluster's placements": ("clusters/ca-qc-1/jobs/ml/stop.yml", "suspend: true\n"),
    "a file that nobody can read under moves": ("moves/ml/no.yml", "no\n"),
}


@pytest.fixture
def live(repository):
    """A job that runs in Ohio, and one that is paused in Quebec."""
    repository.publish([place("runs", "us-oh-1"), place("waits", "ca-qc-1")])
    paused = repository.fetch().placements[uid_of("waits")]
    repository.publish([Suspend(paused, suspended=True, why="The grid is dirty.")])
    return repository.fetch().placements


def push(person, path, content):
    """A person pushes one file."""
    person.pull()
    file = person.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content(file.read_text()) if callable(content) else content)
    person.push(f"Change {path}")


def begins(live):
    """All that would begin something in Quebec: a placement, a move to there, and a pause that ends."""
    move = place("runs", "ca-qc-1", attempt=2)
    return [
        place("new", "ca-qc-1"),
        Remove(live[uid_of("runs")], "It moves.", finished=True, to=move),
        Suspend(live[uid_of("waits")], suspended=False, why="The grid is clean."),
    ]


@pytest.mark.parametrize(("path", "content"), PUSHED.values(), ids=PUSHED)
def test_nothing_begins_on_what_was_pushed_since_it_was_planned(repository, live, person, path, content):
    planned_on = repository.fetch()
    push(person, path, content)
    results = repository.publish(begins(live), planned_on=planned_on).results
    assert not [each for each in results.values() if isinstance(each, Committed)]
    assert repository.fetch().placements == live


@pytest.mark.parametrize(("path", "content"), PUSHED.values(), ids=PUSHED)
def test_what_ends_or_pauses_goes_in_whatever_was_pushed(repository, live, person, path, content):
    planned_on = repository.fetch()
    push(person, path, content)
    ends = Remove(live[uid_of("waits")], "It ended.", finished=True)
    pauses = Suspend(live[uid_of("runs")], suspended=True, why="The grid is dirty.")
    results = repository.publish([ends, pauses], planned_on=planned_on).results
    assert [type(each) for each in results.values()] == [Committed, Committed]


def test_what_bears_on_nothing_holds_nothing_up(repository, live, person):
    planned_on = repository.fetch()
    push(person, "README.md", "A fleet.\n")
    push(person, "clusters/us-oh-1/cluster.yaml", lambda text: text + "\n")
    wanted = begins(live)
    published = repository.publish(wanted, planned_on=planned_on)
    assert [type(published.results[each.id]) for each in wanted] == [Committed] * 3
    assert published.tries == 2


def test_a_move_that_people_agreed_to_meanwhile_is_not_made_without_their_word(repository, live, person):
    planned_on = repository.fetch()
    move = replace(place("runs", "ca-qc-1", attempt=2), approved_in="a" * 40)
    stop = Remove(live[uid_of("runs")], "It moves.", finished=True, to=move)
    assert repository.publish([stop], planned_on=planned_on).results[stop.id].reason == "ApprovalWithdrawn"
    assert isinstance(repository.publish([place("runs", "us-oh-1")]).results[place("runs", "us-oh-1").id], AlreadyThere)
