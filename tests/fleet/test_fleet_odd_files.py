"""One file of the fleet repository with anything at all in it: it is read or named, and no other is touched."""

import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pygit2
import pytest
from hypothesis import HealthCheck, given, settings

from carbonfleet.fleet import Placement
from carbonfleet.fleet.check import read_checkout
from carbonfleet.fleet.git import Tip, TipReader, changed_tree
from carbonfleet.spoke.wanted import WantedSet, folder_of, read_folder
from fixtures.fleet_values import NOON
from fixtures.git_server import git
from fixtures.odd_yaml import MOVE, ODD, PLACEMENT, SERVED, changed_files, fleet_files

FILES = fleet_files()
POLICY, OHIO = "policies/default.yaml", "clusters/us-oh-1/cluster.yaml"
CLUSTERS = ("ca-qc-1", "no-osl-1", "us-oh-1")
EACH = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@dataclass
class Fleet:
    """A clone in which nothing was wrong, as hub and agents have read it, and will read it again."""

    git: pygit2.Repository
    hub: TipReader = field(init=False)

    def __post_init__(self) -> None:
        self.hub = TipReader(self.git)
        self.whole = changed_tree(self.git, None, FILES)
        self.before = self.tip({})
        self.folders = {cluster: folder_of(self.before, cluster) for cluster in CLUSTERS}
        self.wanted = {cluster: read_folder(cluster, folder) for cluster, folder in self.folders.items()}

    def tip(self, changes: dict[str, bytes]) -> Tip:
        """What the hub reads after a commit with the changes."""
        who = pygit2.Signature("Pat", "pat@example.org", int(NOON.timestamp()), 0)
        tree = changed_tree(self.git, self.git[self.whole], changes)
        return self.hub.read(self.git[self.git.create_commit(None, who, who, "Change", tree, [])])

    def read(self, tip: Tip, cluster: str) -> WantedSet:
        """What that cluster's agent reads, which is the same of the same folder."""
        folder, before = folder_of(tip, cluster), self.folders[cluster]
        return self.wanted[cluster] if replace(folder, commit=before.commit) == before else read_folder(cluster, folder)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    yield Fleet(pygit2.init_repository(str(tmp_path / "fleet"), bare=True))
    shutil.rmtree(tmp_path / "fleet")


def mktree(folder: Path, listed: bytes) -> str:
    """A tree of what `git ls-tree` prints, names in any encoding."""
    made = subprocess.run(["git", "-C", str(folder), "mktree"], input=listed + b"\n", capture_output=True, check=True)
    return made.stdout.decode().strip()


def without(found, path: str) -> dict:
    return {key: value for key, value in found.items() if key != path and getattr(value, "path", "") != path}


def differs(placed: Placement | None) -> bool:
    """Whether a file still says which attempt it is about, but is not as the hub writes one."""
    return placed is not None and placed.differs is not None


def complaints(fleet: Fleet, path: str, content: bytes) -> list[str]:
    """What hub and agents say of the file; all else must read as before."""
    tip = fleet.tip({path: content})
    home = path.split("/")[1]
    is_cluster, is_policy = path.endswith("/cluster.yaml"), path.startswith("policies/")
    assert without(tip.files, path) == without(fleet.before.files, path)
    assert without(tip.moves, path) == without(fleet.before.moves, path)
    assert tip.policies == fleet.before.policies or is_policy
    assert without(tip.problems, path) == {}
    for cluster in CLUSTERS:
        assert is_cluster or tip.clusters[cluster] == fleet.before.clusters[cluster]
        assert (is_cluster and cluster == home) or tip.clusters.get(cluster) == fleet.before.clusters[cluster]
    said = [*tip.problems.values(), *tip.cluster_problems.values(), *tip.policies.problems]
    judged = read_checkout(FILES | {path: content}).problems
    assert not said or any(problem.path == path for problem in judged)
    for cluster in CLUSTERS:
        wanted = fleet.read(tip, cluster)
        said += wanted.problems
        before = {name: each.placement for name, each in fleet.wanted[cluster].placements.items()}
        after = {name: each.placement for name, each in wanted.placements.items()}
        assert without(after, path) == without(before, path)
    placed = tip.files.get(path)
    assert (placed is not None) + (path in tip.problems) == ("/jobs/" in path or path in tip.problems) + differs(placed)
    return said


def check(fleet: Fleet, path: str, content: bytes) -> None:
    said = complaints(fleet, path, content)
    assert all(f"{path}:" in each for each in said)
    assert all(each.isprintable() for each in said)


def test_in_the_valid_files_nothing_is_wrong(fleet):
    assert read_checkout(FILES).problems == ()
    assert [wanted.problems for wanted in fleet.wanted.values()] == [(), (), ()]
    assert set(fleet.before.clusters) == set(CLUSTERS)
    assert len(fleet.before.files) == 3
    assert len(fleet.before.moves) == 1


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        (POLICY, b"kind:", b"lastReviewed: 2026-02-30\nkind:", ":2: lastReviewed: no such field"),
        (POLICY, b"kind:", b"reviewed: !!bool maybe\nkind:", ":2: tags (tag:yaml.org,2002:bool) are"),
        (OHIO, b"metadata:", b"reviewed: 2026-02-30\nmetadata:", ":3: reviewed: no such field"),
        (OHIO, b"    region:", b"    reviewed: 2026-02-30\n    region:", ":7: reviewed: no such field"),
        (OHIO, b"    region:", b"    pue: !!float 1k\n    region:", ":7: tags (tag:yaml.org,2002:float) are"),
        (PLACEMENT, b"\ndata:", b"\ndata:\n  more: !!timestamp abc", ":15: tags (tag:yaml.org,2002:timestamp) are"),
        (PLACEMENT, b'/attempt: "1"', b"/attempt: 0x_", "/attempt is '0x_', but must be a whole number from 1 to"),
        (PLACEMENT, b'/start: "2026', b'/start: "9999', "/start is '9999-01-31T12:00:00Z', but must be a time"),
        (PLACEMENT, b'-seconds: "7200"', b'-seconds: "99999999999999"', "-seconds is '99999999999999', but must be"),
        (MOVE, b"\ndata:", b"\ndata:\n  more: !!int 1k", ":15: tags (tag:yaml.org,2002:int) are"),
    ],
)
def test_an_odd_scalar_is_named_with_file_and_line_by_hub_and_check(fleet, path, old, new, says):
    content = FILES[path].replace(old, new)
    assert content != FILES[path]
    said = complaints(fleet, path, content)
    assert any(says in each for each in said), said
    assert any(says in str(each) for each in read_checkout(FILES | {path: content}).problems)


def test_an_odd_scalar_in_what_is_served_is_named_by_its_agent_and_by_check(fleet):
    content = FILES[SERVED.path].replace(b"replicas: 1", b"replicas: !!int 1k")
    [said] = complaints(fleet, SERVED.path, content)
    assert "tags (tag:yaml.org,2002:int) are not allowed" in said
    [judged] = read_checkout(FILES | {SERVED.path: content}).problems
    assert said.startswith(str(judged))


def test_a_file_named_in_no_encoding_denies_and_is_named(fleet):
    folder = Path(fleet.git.path)
    listed = git(folder, "ls-tree", f"{fleet.whole}:policies").encode()
    entry = listed.splitlines()[0].replace(b"default.yaml", b"caf\xe9.yaml")
    policies = mktree(folder, listed + b"\n" + entry)
    whole = git(folder, "ls-tree", str(fleet.whole)).replace(str(fleet.git[fleet.whole]["policies"].id), policies)
    fleet.whole = pygit2.Oid(hex=mktree(folder, whole.encode()))
    tip = fleet.tip({})
    [problem] = tip.policies.problems
    assert problem.startswith("policies/caf\\udce9.yaml:3: metadata.name is default, but the file is caf\\udce9")


@pytest.mark.parametrize("path", [POLICY, OHIO, PLACEMENT, MOVE, SERVED.path])
def test_a_file_of_any_size_is_named_and_never_held(fleet, path):
    fleet.whole = changed_tree(fleet.git, fleet.git[fleet.whole], {path: bytes(100_000_000)})
    tracemalloc.start()
    tip = fleet.tip({})
    said = [*tip.problems.values(), *tip.cluster_problems.values(), *tip.policies.problems]
    said += [problem for cluster in CLUSTERS for problem in fleet.read(tip, cluster).broken.values()]
    _now, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {f"{path}:1: larger than 1048576 bytes"} == {each.partition(";")[0] for each in said}
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("path", [POLICY, OHIO, PLACEMENT, MOVE, SERVED.path])
def test_a_file_of_nothing_but_an_odd_scalar_harms_no_other(fleet, path):
    for odd in ODD:
        check(fleet, path, odd.encode("utf-8", "surrogatepass"))


@given(changed_files(FILES))
@EACH
def test_a_file_with_anything_in_it_harms_no_other(fleet, change):
    check(fleet, *change)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(200))  # a repository each, since nothing in one goes away
@given(change=changed_files(FILES))
@settings(EACH, max_examples=1000)
def test_a_file_with_anything_in_it_harms_no_other_of_many(fleet, batch, change):
    check(fleet, *change)
