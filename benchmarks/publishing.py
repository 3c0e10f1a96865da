"""How fast placements reach Git, beside the git command line doing the same work on the same server.

Three questions: placements per second at 1 and at 50 a commit; writers at once; and whether building the
trees of a commit costs the same in a fleet of 100 and of 100,000 placements.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pygit2

from carbonfleet.fleet import Committed, Repository, render
from carbonfleet.fleet.git import changed_tree
from fixtures.fleet_values import CLOCK, facts_of, place, quick_settings
from fixtures.git_server import GitServer, git

CLUSTERS = ("no-osl-1", "ca-qc-1", "us-oh-1")
WRITER = Path(__file__).parents[1] / "tests" / "fixtures" / "fleet_writer.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=20, help="commits of each run")
    parser.add_argument("--sizes", default="100,1000,10000,100000", help="placements in the fleet")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; git daemon on loopback\n")
    rates(options.commits)
    writers(options.commits)
    trees([int(size) for size in options.sizes.split(",")])


@contextmanager
def served() -> Iterator[tuple[GitServer, Path]]:
    with tempfile.TemporaryDirectory(prefix="carbonfleet-bench-") as folder:
        server = GitServer(Path(folder) / "server")
        server.start()
        try:
            yield server, Path(folder)
        finally:
            server.stop()


def rates(commits: int) -> None:
    print("| placements a commit | ours: p50 s a commit | placements/s | git command line: p50 s | placements/s |")
    print("|---|---|---|---|---|")
    for batch in (1, 50):
        ours, theirs = ours_seconds(commits, batch), command_line_seconds(commits, batch)
        cells = [f"{statistics.median(s):.3f} | {batch / statistics.mean(s):.0f}" for s in (ours, theirs)]
        print(f"| {batch} | {cells[0]} | {cells[1]} |")


def batch_of(name: str, number: int, size: int) -> list:
    return [place(f"{name}-{number}-{n}", CLUSTERS[n % 3]) for n in range(size)]


def ours_seconds(commits: int, batch: int) -> list[float]:
    with served() as (server, folder):
        repository = Repository(quick_settings(server.url, folder / "hub"), CLOCK)
        repository.fetch()
        seconds = []
        for number in range(commits):
            intents = batch_of("ours", number, batch)
            start = time.perf_counter()
            published = repository.publish(intents)
            seconds.append(time.perf_counter() - start)
            assert all(isinstance(result, Committed) for result in published.results.values())
        return seconds


def command_line_seconds(commits: int, batch: int) -> list[float]:
    """The same files: written to a work tree, added, committed, fetched and pushed by git itself."""
    with served() as (server, _folder):
        person = server.checkout()
        seconds = []
        for number in range(commits):
            files = {i.path: file_of(i) for i in batch_of("theirs", number, batch)}
            start = time.perf_counter()
            for path, content in files.items():
                (person.path / path).parent.mkdir(parents=True, exist_ok=True)
                (person.path / path).write_bytes(content)
            person.run("add", "--", "clusters")
            person.run("commit", "--quiet", "-m", "place")
            person.run("fetch", "--quiet", "origin")
            person.run("push", "--quiet", "origin", "HEAD:main")
            seconds.append(time.perf_counter() - start)
        return seconds


def file_of(intent) -> bytes:
    return render(intent.decision, intent.spec, intent.record, facts_of(intent.window.cluster))


def writers(commits: int) -> None:
    print("\n| writers at once | commits | tries | commits/s | placements/s (10 a commit) |")
    print("|---|---|---|---|---|")
    for count in (1, 4, 8):
        with served() as (server, folder):
            each = max(2, commits // count)
            running = [
                subprocess.Popen(
                    [sys.executable, str(WRITER), server.url, str(folder / f"w{n}"), f"w{n}", str(each), "10"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for n in range(count)
            ]
            told = [process.communicate(timeout=600)[0].split() for process in running]
            tries = sum(int(line[0]) for line in told)
            seconds = max(float(line[2]) for line in told) - min(float(line[1]) for line in told)
            found = len(Repository(quick_settings(server.url, folder / "reader"), CLOCK).fetch().files)
            assert found == count * each * 10, f"{found} of {count * each * 10} placements arrived"
            rate = count * each / seconds
            print(f"| {count} | {count * each} | {tries} | {rate:.1f} | {10 * rate:.0f} |")


def trees(sizes: list[int]) -> None:
    print(
        "\n| placements in the fleet | tree of one new placement, ms | beside the first "
        "| git read-tree, update-index, write-tree, ms |"
    )
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="carbonfleet-bench-") as folder:
        fleets = [Fleet.of(Path(folder) / str(size), f"{size:,}", spread(size)) for size in sizes]
        one = [f"clusters/c000/jobs/ns0/job-{n}.yaml" for n in range(2000)]
        fleets.append(Fleet.of(Path(folder) / "one", "2,000 in one folder", one))
        # In turns, so that whatever else the machine does falls on all alike.
        for number in range(TREE_ROUNDS):
            for fleet in fleets:
                fleet.build(number)
        for fleet in fleets:
            ours = 1000 * statistics.median(fleet.seconds)
            first = 1000 * statistics.median(fleets[0].seconds)
            print(f"| {fleet.title} | {ours:.2f} | x {ours / first:.2f} | {fleet.index_milliseconds():.1f} |")


TREE_ROUNDS = 300


def spread(size: int) -> list[str]:
    """So many placements over 100 spokes and 10 namespaces."""
    return [f"clusters/c{n % 100:03d}/jobs/ns{n // 100 % 10}/job-{n}.yaml" for n in range(size)]


@dataclass
class Fleet:
    """A repository whose tip holds some placements."""

    path: Path
    title: str
    repository: pygit2.Repository
    root: pygit2.Tree
    content: bytes
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, title: str, paths: list[str]) -> "Fleet":
        repository = pygit2.init_repository(str(path), bare=True)
        content = file_of(place("llama"))
        root = repository[changed_tree(repository, None, dict.fromkeys(paths, content))]
        author = pygit2.Signature("bench", "bench@example.org")
        repository.create_commit("refs/heads/main", author, author, "Fill", root.id, [])
        git(path, "repack", "-adq")
        return cls(path, title, repository, root, content)

    def build(self, number: int) -> None:
        start = time.perf_counter()
        changed_tree(self.repository, self.root, {f"clusters/c000/jobs/ns0/new-{number}.yaml": self.content})
        self.seconds.append(time.perf_counter() - start)

    def index_milliseconds(self) -> float:
        """The same by the git command line, whose index holds the whole fleet."""
        blob, seconds = str(self.repository.create_blob(self.content)), []
        for number in range(5):
            change = f"100644,{blob},clusters/c000/jobs/ns0/new-{number}.yaml"
            start = time.perf_counter()
            git(self.path, "read-tree", str(self.root.id))
            git(self.path, "update-index", "--add", "--cacheinfo", change)
            git(self.path, "write-tree")
            seconds.append(time.perf_counter() - start)
        return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main()
