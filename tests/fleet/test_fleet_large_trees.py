"""Trees and files of any size in the fleet repository: named, and never held."""

import subprocess
import sys
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode, ObjectType

from carbonfleet.fleet.check import MOST_CHECKED_BYTES, read_files
from carbonfleet.fleet.errors import HistoryUntrusted
from carbonfleet.fleet.git import Trust, changed_tree
from carbonfleet.fleet.git.trees import MOST_ENTRIES
from carbonfleet.yaml_reader import MOST_BYTES
from fixtures.fleet_values import NOON
from fixtures.git_server import SEED

READ = """
import sys
import pygit2
from carbonfleet.fleet import RepositoryInvalid
from carbonfleet.fleet.git import TipReader
from carbonfleet.fleet.publish.history import PlacementHistory
from carbonfleet.spoke.wanted import folder_of, read_folder
def peak_mebibytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
git = pygit2.Repository(sys.argv[1])
reader, history = TipReader(git), PlacementHistory("hub@example.org")
before = reader.read(git.revparse_single("HEAD~1").peel(pygit2.Commit))
history.advance(git, pygit2.Oid(hex=before.commit))
start = peak_mebibytes()
try:
    tip = reader.read(git.revparse_single("HEAD").peel(pygit2.Commit))
except RepositoryInvalid as error:
    print(peak_mebibytes() - start)
    sys.exit(print(error))
history.advance(git, pygit2.Oid(hex=tip.commit))
said = [*tip.problems.values(), *tip.cluster_problems.values(), *tip.policies.problems]
said += read_folder("us-oh-1", folder_of(tip, "us-oh-1")).problems
assert tip.clusters.keys() == before.clusters.keys(), tip.clusters.keys()
print(peak_mebibytes() - start)
print(*sorted({each.partition(":")[0] for each in said}), sep="\\n")
"""
FOLDERS = ("policies", "clusters/us-oh-1/jobs/ml", "moves/ml")
SERVED = (*FOLDERS, "serving/us-oh-1/ml")
DEPTH = 300
"""As far as `git` itself follows folders within a second or so; nothing here looks further than 16."""


@pytest.fixture
def fleet(tmp_path: Path) -> pygit2.Repository:
    """A clone of the seed, to which a commit of anything is added."""
    made = pygit2.init_repository(str(tmp_path / "fleet"), bare=True)
    commit(made, changed_tree(made, None, read_files(SEED)))
    return made


def commit(fleet: pygit2.Repository, tree: pygit2.Oid) -> None:
    who = pygit2.Signature("Pat", "pat@example.org", int(NOON.timestamp()), 0)
    fleet.create_commit("HEAD", who, who, "Change", tree, [] if fleet.is_empty else [fleet.head.target])


def tree_of(fleet: pygit2.Repository, mode: FileMode, oid: pygit2.Oid, *names: str) -> pygit2.Oid:
    """A tree that holds one object under each of the names, which come in Git's order."""
    return fleet.write(ObjectType.TREE, b"".join(b"%o %s\0%s" % (mode, name.encode(), oid.raw) for name in names))


def place_at(fleet: pygit2.Repository, paths: tuple[str, ...], mode: FileMode, oid: pygit2.Oid) -> None:
    """Commit an object at each of the paths."""
    tree = fleet.head.peel(pygit2.Tree)
    for path in paths:
        tree = fleet[placed(fleet, tree, path.split("/"), mode, oid)]
    commit(fleet, tree.id)


def placed(fleet: pygit2.Repository, tree: pygit2.Tree | None, path: list[str], mode: FileMode, oid: pygit2.Oid):
    name, *below = path
    if below:
        inside = tree[name] if tree is not None and name in tree else None
        mode, oid = FileMode.TREE, placed(fleet, inside, below, mode, oid)
    builder = fleet.TreeBuilder(tree) if tree is not None else fleet.TreeBuilder()
    builder.insert(name, oid, mode)
    return builder.write()


def mebibytes_and_named(fleet: pygit2.Repository) -> tuple[int, list[str]]:
    """By how much a process grows that reads the last commit after the one before, and which paths it names."""
    done = subprocess.run([sys.executable, "-c", READ, fleet.path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    most, *named = done.stdout.splitlines()
    return int(most), named


def test_files_of_three_hundred_megabytes_are_named_and_never_held(fleet):
    paths = tuple(f"{each}/large.yaml" for each in SERVED)
    place_at(fleet, paths, FileMode.BLOB, fleet.create_blob(bytes(300_000_000)))
    most, named = mebibytes_and_named(fleet)
    assert (most < 50, named) == (True, sorted(paths))


@pytest.mark.parametrize("paths", [SERVED, ("clusters/us-oh-1/jobs",)], ids=" ".join)
def test_folders_of_a_million_files_are_named_and_take_little(fleet, paths):
    names = (f"f{number:07}.yaml" for number in range(1_000_000))
    place_at(fleet, paths, FileMode.TREE, tree_of(fleet, FileMode.BLOB, fleet.create_blob(b"x"), *names))
    most, named = mebibytes_and_named(fleet)
    assert (most < 512, set(paths) - set(named)) == (True, set()), most


@pytest.mark.parametrize("mode", [FileMode.BLOB, FileMode.TREE], ids=str)
def test_a_million_entries_beside_the_clusters_refuse_the_commit(fleet, mode):
    file = fleet.create_blob(b"x")
    oid = file if mode is FileMode.BLOB else tree_of(fleet, FileMode.BLOB, file, "cluster.yaml")
    names = (f"f{number:07}" for number in range(1_000_000))
    place_at(fleet, ("clusters",), FileMode.TREE, tree_of(fleet, mode, oid, *names))
    most, said = mebibytes_and_named(fleet)
    wanted = "clusters/ holds 1000000 entries, more than the 50000 that are read: take away what is no cluster's folder"
    assert (most < 512, said) == (True, [f"{wanted}; until then all goes on as it was"]), most


def test_a_check_refuses_a_folder_of_more_files_than_are_read(tmp_path):
    (folder := tmp_path / "clusters").mkdir()
    for number in range(MOST_ENTRIES + 1):
        (folder / f"f{number}").touch()
    # In a process of its own, whose error stream no server of another test shares.
    command = [sys.executable, "-m", "carbonfleet", "policy", "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    wanted = f"error: {folder} holds more than the {MOST_ENTRIES} entries that are read\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", wanted)


def test_folders_within_folders_without_end_are_named(fleet):
    oid = tree_of(fleet, FileMode.BLOB, fleet.create_blob(b"x"), "x.yaml")
    for _ in range(DEPTH):
        oid = tree_of(fleet, FileMode.TREE, oid, "d")
    place_at(fleet, tuple(f"{each}/deep" for each in FOLDERS), FileMode.TREE, oid)
    most, named = mebibytes_and_named(fleet)
    assert (most < 50, {each for each in FOLDERS if any(path.startswith(f"{each}/deep") for path in named)}) == (
        True,
        set(FOLDERS),
    )


def many(fleet: pygit2.Repository, count: int) -> pygit2.Oid:
    """A folder of so many files."""
    builder, blob = fleet.TreeBuilder(), fleet.create_blob(b"a: file")
    for number in range(count):
        builder.insert(f"job-{number:07d}.yaml", blob, FileMode.BLOB)
    return builder.write()


def put(fleet: pygit2.Repository, path: str, tree: pygit2.Oid) -> None:
    """A commit with a folder at a path."""
    base = fleet.head.peel(pygit2.Tree)
    made = changed_tree(fleet, base, {f"{path}/x": b""})
    levels, names = [fleet[made]], path.split("/")
    for name in names[:-1]:
        levels.append(levels[-1] / name)
    for parent, name in reversed(list(zip(levels, names, strict=True))):
        builder = fleet.TreeBuilder(parent)
        builder.insert(name, tree, FileMode.TREE)
        tree = builder.write()
    commit(fleet, tree)


@pytest.mark.parametrize(
    "path", ["policies", "policies/more", "clusters/us-oh-1/jobs", "clusters/us-oh-1/jobs/ml", "moves/ml"]
)
@pytest.mark.parametrize("is_new", [True, False], ids=["new-clone", "follows"])
def test_a_commit_with_more_entries_than_are_looked_at_is_not_followed_and_named(fleet, tmp_path, path, is_new):
    trust = Trust(fleet, tmp_path / "signers", "hub@example.org", begins_anywhere=False)
    if not is_new:
        trust.follow(fleet.head.target)
    put(fleet, path, many(fleet, MOST_ENTRIES + 1))
    with pytest.raises(HistoryUntrusted, match=rf"{path} holds {MOST_ENTRIES + 1} entries in .*, more than"):
        trust.check(fleet.head.target)


def test_a_commit_that_changes_more_files_than_are_looked_at_is_not_followed_and_named(fleet, tmp_path):
    (tmp_path / "signers").touch()
    trust = Trust(fleet, tmp_path / "signers", "hub@example.org", begins_anywhere=False)
    trust.follow(fleet.head.target)
    builder, folder = fleet.TreeBuilder(), many(fleet, MOST_ENTRIES // 4)
    for number in range(5):
        builder.insert(f"namespace-{number}", folder, FileMode.TREE)
    put(fleet, "clusters/us-oh-1/jobs", builder.write())
    with pytest.raises(
        HistoryUntrusted, match=r"changes 62500 files, more than the 50000 that are looked at: have who"
    ):
        trust.check(fleet.head.target)


def test_a_checkout_with_more_bytes_than_are_read_is_named_before_more_is_held(tmp_path):
    for folder in ("policies", "clusters"):
        (tmp_path / folder).mkdir()
    for number in range(MOST_CHECKED_BYTES // MOST_BYTES + 1):
        with (tmp_path / "policies" / f"{number:04d}.yaml").open("wb") as file:
            file.truncate(MOST_BYTES)
    with pytest.raises(FileNotFoundError, match=r"0512.yaml: with it, the files are more than 512 MiB in all"):
        read_files(tmp_path)
