"""What `carbonfleet up` leaves and listens on, started with a umask that would let others in."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

import psutil
import pytest

from fixtures.kubeapi_server import PATIENCE, eventually

pytestmark = pytest.mark.ray


def test_all_that_up_leaves_is_its_users_alone_and_all_that_it_listens_on_is_loopback(tmp_path):
    state, log = tmp_path / "state", tmp_path / "log"
    command = [sys.executable, "-m", "carbonfleet", "up", "--state", str(state)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, umask=0)
    seen: set[str] = set()
    try:
        eventually(lambda: seen.update(_open_to_others(state)) or _is_up(log) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        ours = psutil.Process(process.pid)
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert second.returncode == 2
        assert f"it runs already as process {process.pid} in {state}" in second.stderr
        assert process.poll() is None
        addresses = {ip for each in (ours, *ours.children(recursive=True)) for ip in _listened_on(each)}
        # What Ray makes within has modes of Ray's own, and nobody comes that far.
        ray = Path((state / "ray.directory").read_text().strip())
        assert stat.filemode(ray.stat().st_mode) == "drwx------"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    assert process.returncode == 0
    assert {path.name for path in state.iterdir()} >= {"hub", "git", "logs"}
    assert seen | _open_to_others(state) == set()
    assert addresses == {"127.0.0.1"}


def _is_up(log: Path) -> bool:
    return "kubectl apply" in log.read_text()


def _open_to_others(root: Path) -> set[str]:
    """What others may read, write or enter at and below a folder, at this moment."""
    found: set[str] = set()
    # Scratch folders of tempfile let nobody in: a checkout in one keeps its source's modes.
    tops = ((top, files) for top, _, files in os.walk(root) if "/tmp" not in top.removeprefix(str(root)))
    walk = ([Path(top), *(Path(top, name) for name in files)] for top, files in tops)
    for path in chain.from_iterable(walk):
        with suppress(FileNotFoundError):  # it is there no more
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found.add(f"{path.relative_to(root)} {stat.filemode(mode)}")
    return found


def _listened_on(process: psutil.Process) -> set[str]:
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return {each.laddr.ip.removeprefix("::ffff:") for each in connections if each.status == psutil.CONN_LISTEN}
    return set()
