"""Several hubs of one cluster on one fleet repository: each decides on the jobs of its own namespaces."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.hub.connections import Connections
from carbonfleet.hub.cycle import Cycle
from carbonfleet.hub.settings import HubSettings
from carbonfleet.kube import ours, path
from carbonfleet.signals import Signals, TraceSource
from fixtures.hub_process import GRAMS, job_body
from fixtures.in_process_hub import KIND, InProcessHub, open_in_process_hub

NAMESPACES = ("team-a", "team-b", "nobodys")


class OneOfSeveral:
    """A hub of some namespaces, with a clone and a ledger of its own."""

    def __init__(self, stack: InProcessHub, name: str, job_namespaces: str) -> None:
        settings = HubSettings(
            fleet_url=stack.git.url,
            state=stack.root / name,
            kubeconfig=stack.api.kubeconfig,
            namespace=f"carbonfleet-{name}",
            job_namespaces=job_namespaces,
            baseline_region="us-east-2",
        )
        source = TraceSource(
            "grid", [(zone, KIND) for zone in GRAMS], lambda zone, _, hour: stack.grid.value(zone, hour)
        )
        self.connections = Connections.open(settings, stack.clock, Signals([source], stack.clock))
        self._cycle = Cycle(self.connections)

    def cycle(self) -> None:
        self.connections.mirror.resync(self.connections.kube)
        self.connections.signals.refresh([(zone, KIND) for zone in GRAMS])
        self._cycle.run()

    def close(self) -> None:
        self._cycle.close()
        self.connections.close()


class Fleet:
    """Two hubs, the spokes that they share, and their clock."""

    def __init__(self, stack: InProcessHub) -> None:
        self.stack, self.kube = stack, stack.kube
        self.a = OneOfSeveral(stack, "first", "team-a")
        self.b = OneOfSeveral(stack, "second", "team-b,team-c")

    def submit(self, namespace: str, name: str, behaviour: str = "train", **spec) -> None:
        self.stack.spokes.behaviours[name] = behaviour
        self.kube.create(ours("carbontrainingjobs", namespace), job_body(name, namespace, **spec))

    def forward(self, hours: float, *hubs: OneOfSeveral) -> None:
        """Everybody looks at everything, some times in each half an hour."""
        for _ in range(int(hours * 2)):
            self.stack.clock.forward(minutes=30)
            for _ in range(3):
                self.stack.spokes.look()
                for hub in hubs or (self.a, self.b):
                    hub.cycle()

    def body(self, namespace: str, name: str) -> dict:
        return self.kube.get(ours("carbontrainingjobs", namespace, name))

    def phase(self, namespace: str, name: str) -> str:
        return self.body(namespace, name).get("status", {}).get("phase", "")

    def placed(self) -> list[str]:
        """`namespace/name` of each placement that a commit ever brought."""
        log = self.stack.git.git("log", "--format=%B", "main").splitlines()
        return [job[9:] for change, job in pairwise(log) if change == "CTJ-Change: place"]

    def overfull(self) -> dict[tuple[str, str], int]:
        """Pools on which more GPUs are held than there are."""
        held = Counter[tuple[str, str]]()
        for attempt in self.stack.spokes.attempts.values():
            placed = attempt.placement
            held[placed.cluster, placed.pool] += 0 if attempt.report.phase.is_terminal else placed.gpus
        clusters = self.a.connections.repository.known().clusters
        there = {(name, pool.name): pool.gpus for name, facts in clusters.items() for pool in facts.pools}
        return {pool: gpus for pool, gpus in held.items() if gpus > there[pool]}

    def files(self) -> set[str]:
        return {placement.key for placement in self.a.connections.repository.fetch().placements.values()}


@pytest.fixture
def fleet(tmp_path) -> Iterator[Fleet]:
    stack = open_in_process_hub(tmp_path)
    for name in NAMESPACES:
        stack.kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": name}})
    made = Fleet(stack)
    yield made
    made.a.close()
    made.b.close()
    stack.close()


def test_each_hub_places_and_accounts_the_jobs_of_its_own_namespaces_alone(fleet):
    for namespace in NAMESPACES:
        fleet.submit(namespace, f"of-{namespace}")
    fleet.forward(6)
    ends = [fleet.phase(namespace, f"of-{namespace}") for namespace in NAMESPACES]
    assert ends == [Phase.SUCCEEDED, Phase.SUCCEEDED, ""]
    assert sorted(fleet.placed()) == ["team-a/of-team-a", "team-b/of-team-b"]
    lines = [[line.job for line in hub.connections.ledger.entries()] for hub in (fleet.a, fleet.b)]
    assert lines == [["of-team-a"], ["of-team-b"]]


def test_what_one_hub_left_behind_is_removed_by_itself_and_by_no_other(fleet):
    fleet.submit("team-a", "mine", "hold")
    fleet.submit("team-b", "theirs", "hold")
    fleet.forward(1)
    where = ours("carbontrainingjobs", "team-b", "theirs")
    fleet.kube.patch(where, {"metadata": {"finalizers": None}})
    fleet.kube.delete(where)
    fleet.forward(1, fleet.a)
    assert fleet.files() == {"team-a/mine", "team-b/theirs"}
    fleet.forward(1, fleet.b)
    assert fleet.files() == {"team-a/mine"}


def test_what_spokes_report_of_anothers_jobs_is_left_to_it(fleet):
    """Its placement has left Git, and the job waits: what it saved is told by that report alone."""
    fleet.submit("team-b", "ended")
    fleet.forward(6)
    assert fleet.phase("team-b", "ended") == Phase.SUCCEEDED
    before = fleet.kube.list(ours("trainingreports"))[0]
    assert [report["spec"]["job"]["name"] for report in before] == ["ended"]
    fleet.forward(2, fleet.a)
    assert len(fleet.kube.list(ours("trainingreports"))[0]) == 1
    assert fleet.a.connections.mirror.all("carbontrainingjobs") == []


def test_what_one_hub_proposes_another_neither_closes_nor_follows(fleet):
    fleet.submit("team-b", "asked", review="required")
    fleet.forward(0.5, fleet.b)
    branches = fleet.stack.git.git("branch", "--format=%(refname)")
    assert "asked" in branches
    fleet.forward(0.5, fleet.a)
    assert fleet.stack.git.git("branch", "--format=%(refname)") == branches
    assert fleet.phase("team-b", "asked") == Phase.PROPOSED


def test_hubs_that_push_at_once_place_every_job_once_and_overfill_nothing(fleet):
    names = [f"job-{number}" for number in range(6)]
    for name in names:
        for namespace in ("team-a", "team-b"):
            fleet.submit(namespace, f"{name}-{namespace}", resources={"duration": "30m", "gpus": 2})
    with ThreadPoolExecutor(2) as pool:
        for _ in range(24):
            fleet.stack.clock.forward(minutes=30)
            fleet.stack.spokes.look()
            list(pool.map(lambda hub: hub.cycle(), (fleet.a, fleet.b)))
            fleet.stack.spokes.look()
            assert fleet.overfull() == {}
    wanted = sorted(f"{namespace}/{name}-{namespace}" for name in names for namespace in ("team-a", "team-b"))
    assert sorted(fleet.placed()) == wanted
    assert {fleet.phase(*job.split("/")) for job in wanted} == {Phase.SUCCEEDED}
    assert fleet.stack.spokes.violations == []


def test_hubs_of_different_installations_are_told_apart_and_one_of_all_namespaces_is_its_clusters(fleet):
    fleet.a.cycle()
    fleet.b.cycle()
    fleet.stack.cycle()
    uids = [each.connections.mirror.hub_uid for each in (fleet.a, fleet.b, fleet.stack)]
    assert len(set(uids)) == 3
    assert uids[2] == fleet.kube.get(path("api/v1", "namespaces", name="kube-system"))["metadata"]["uid"]
    assert {len(uid) for uid in uids} == {36}
