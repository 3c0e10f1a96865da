"""Trees and files of any size in the fleet repository: named, and never held."""

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.git_server import SEED, git

READ = """
import sys
import pygit2
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
tip = reader.read(git.revparse_single("HEAD").peel(pygit2.Commit))
history.advance(git, pygit2.Oid(hex=tip.commit))
said = [*tip.problems.values(), *tip.cluster_problems.values(), *tip.policies.problems]
said += read_folder("us-oh-1", folder_of(tip, "us-oh-1")).problems
assert tip.clusters.keys() == before.clusters.keys(), tip.clusters.keys()
print(peak_mebibytes() - start)
print(*sorted({each.partition(":")[0] for each in said}), sep="\\n")
"""
FOLDERS = ("policies", "clusters/us-oh-1/jobs/ml", "moves/ml")
DEPTH = 300
"""As far as `git` itself follows folders within a second or so; nothing here looks further than 16."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone of the seed, to which a commit of anything is added."""
    made = tmp_path / "fleet"
    subprocess.run(["cp", "-r", str(SEED), str(made)], check=True)
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@a", "commit", "-qm", "Seed")):
        git(made, *words)
    return made


def tree(folder: Path, *entries: tuple[str, str, str]) -> str:
    """A tree of (mode, name, object), in Git's order."""
    content = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in entries)
    return written(folder, content, "tree")


def written(folder: Path, content: bytes, kind: str = "blob") -> str:
    command = ["git", "-C", str(folder), "-c", "core.compression=1", "hash-object", "-t", kind, "-w", "--stdin"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()


def mebibytes_and_named(folder: Path) -> tuple[int, list[str]]:
    """By how much a process grows that reads the last commit after the one before, and which paths it names."""
    done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    most, *named = done.stdout.splitlines()
    return int(most), named


def place_at(folder: Path, path: str, mode: str, oid: str) -> None:
    """Commit an object at a path."""
    *above, name = path.split("/")
    for depth in range(len(above), -1, -1):
        where = "/".join(above[:depth])
        listed = git(folder, "ls-tree", f"HEAD:{where}").splitlines() if is_there(folder, where) else []
        kept = {line.split("\t")[1]: (line.split()[0].lstrip("0"), line.split()[2]) for line in listed}
        kept[name] = mode, oid
        mode, oid = "40000", tree(folder, *((kept[each][0], each, kept[each][1]) for each in sorted(kept)))
        name = above[depth - 1] if depth else ""
    commit = git(folder, "-c", "user.name=a", "-c", "user.email=a@a", "commit-tree", "-p", "HEAD", "-m", "Add", oid)
    git(folder, "update-ref", "HEAD", commit.strip())


def is_there(folder: Path, path: str) -> bool:
    return not path or bool(git(folder, "ls-tree", "HEAD", path).strip())


@pytest.mark.parametrize("path", [*FOLDERS, "serving/us-oh-1/ml"])
def test_a_file_of_three_hundred_megabytes_is_named_and_never_held(folder, path):
    place_at(folder, f"{path}/large.yaml", "100644", written(folder, bytes(300_000_000)))
    most, named = mebibytes_and_named(folder)
    assert (most < 50, named) == (True, [f"{path}/large.yaml"])


@pytest.mark.parametrize("path", [*FOLDERS, "clusters/us-oh-1/jobs", "serving/us-oh-1/ml"])
def test_a_folder_of_a_million_files_is_named_and_takes_little(folder, path):
    small = written(folder, b"x")
    many = tree(folder, *(("100644", f"f{number:07}.yaml", small) for number in range(1_000_000)))
    place_at(folder, path, "40000", many)
    most, named = mebibytes_and_named(folder)
    assert (most < 512, path in named) == (True, True)


@pytest.mark.parametrize("path", [f"{each}/deep" for each in FOLDERS])
def test_folders_within_folders_without_end_are_named(folder, path):
    oid = tree(folder, ("100644", "x.yaml", written(folder, b"x")))
    for _ in range(DEPTH):
        oid = tree(folder, ("40000", "d", oid))
    place_at(folder, path, "40000", oid)
    most, named = mebibytes_and_named(folder)
    assert (most < 50, [each for each in named if each.startswith(path)] != []) == (True, True)
