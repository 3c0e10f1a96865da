"""Several hubs write one branch at once, and hubs that are killed: nothing is lost, nothing is doubled."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from carbonfleet.fleet import AlreadyThere, Committed, Repository
from carbonfleet.fleet.publish import changes_in
from fixtures.fleet_values import CLOCK, place, quick_settings

WRITER = Path(__file__).parents[1] / "fixtures" / "fleet_writer.py"


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def write_at_once(server, tmp_path, writers, commits, batch):
    """Run the writers to their end; all tries they needed together."""
    running = [start(server.url, tmp_path / f"w{n}", f"w{n}", commits, batch) for n in range(writers)]
    tries = 0
    for process in running:
        output, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        tries += int(output.split()[0])
    return tries


def assert_each_exactly_once(server, tmp_path, wanted):
    tip = Repository(quick_settings(server.url, tmp_path / "reader"), CLOCK).fetch()
    on_tip = Counter(placement.placement_id for placement in tip.files.values())
    assert on_tip == Counter(wanted)
    log = server.git("log", "--format=%B%x00", "main").split("\0")
    placed = Counter(change.placement_id for message in log for change in changes_in(message.strip("\n")))
    assert placed == Counter(wanted)


@pytest.mark.parametrize(
    ("writers", "commits", "batch"),
    [
        (1, 4, 5),
        (4, 3, 5),
        pytest.param(1, 100, 50, marks=pytest.mark.soak),
        pytest.param(4, 50, 10, marks=pytest.mark.soak),
        pytest.param(8, 50, 10, marks=pytest.mark.soak),
    ],
)
def test_writers_at_once_lose_nothing(git_server, tmp_path, writers, commits, batch):
    before = git_server.commits()
    tries = write_at_once(git_server, tmp_path, writers, commits, batch)
    wanted = [
        place(f"w{writer}-{number}-{n}", "no-osl-1").id
        for writer in range(writers)
        for number in range(commits)
        for n in range(batch)
    ]
    assert_each_exactly_once(git_server, tmp_path, wanted)
    assert git_server.commits() == before + writers * commits
    print(f"{writers} writers, {writers * commits} commits, {tries} tries")


# The server's hooks know the moment: the ref has not moved yet, or it has and nobody was told.
KILLS = {"pre-receive": ("exit 1", False), "post-receive": ("exit 0", True)}


@pytest.mark.parametrize("hook", KILLS)
def test_a_hub_killed_around_the_push_writes_one_commit_in_all(git_server, tmp_path, hook):
    verdict, arrived = KILLS[hook]
    before = git_server.commits()
    git_server.hook(hook, f"read pid < {tmp_path}/pid; kill -9 $pid; {verdict}")
    (tmp_path / "pid").touch()
    process = start(git_server.url, tmp_path / "hub", "w0", 1, 1)
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    process.communicate(timeout=180)
    assert process.returncode == -9
    assert git_server.commits() == before + arrived
    git_server.unhook(hook)
    intent = place("w0-0-0")
    published = Repository(quick_settings(git_server.url, tmp_path / "hub"), CLOCK).publish([intent])
    assert isinstance(published.results[intent.id], AlreadyThere if arrived else Committed)
    assert git_server.commits() == before + 1
