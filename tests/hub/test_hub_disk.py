"""A hub whose disk is full: it says so, loses nothing, and goes on once there is room."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from carbonfleet.api.job_status import Phase


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounts a file system: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits; the file."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(b"x" * 512)
    return file


def test_a_hub_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(hub, small_disk):
    (hub.stack.root / f"state-{hub.restarts + 1}").symlink_to(small_disk)
    hub.restart()
    hub.stack.submit("ends", behaviour="hold")
    hub.step(times=3)
    filler = fill(small_disk)
    hub.stack.submit("new")
    hub.stack.spokes.finish("ends")
    hub.step(times=3, minutes=1)
    assert hub.reason("new", "Committed") == "StateNotWritable"
    filler.unlink()
    hub.step(times=5, minutes=1)
    assert (hub.phase("ends"), hub.phase("new")) == (Phase.SUCCEEDED, Phase.SUCCEEDED)
    assert hub.stack.changes("new") == ["place 1", "remove 1"]
