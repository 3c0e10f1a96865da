"""What is kept is for its own user alone from the first moment, whatever umask a process was started with."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository
from carbonfleet.ledger.store import Ledger
from carbonfleet.local import fleet_server
from carbonfleet.local.child import Child
from carbonfleet.local.grid_settings import write_signals
from carbonfleet.private_files import IN_USE, FolderInUseError, held, make_folder, replace_file
from carbonfleet.signals.store import HistoryStore
from carbonfleet.spoke.memory import Memory
from fixtures.fleet_values import SEED, place, quick_settings
from fixtures.git_server import GitServer
from fixtures.ledger_values import entry


@pytest.fixture(params=[0o000, 0o022], ids=oct)
def wide_umask(request) -> Iterator[int]:
    """A umask that would let others in."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(root: Path) -> list[str]:
    """Files, folders and sockets at and below a folder that others may read, write or enter."""
    found = [root, *root.rglob("*")]
    modes = {each: each.lstat().st_mode for each in found if not each.is_symlink()}
    return [f"{each.relative_to(root)} {stat.filemode(mode)}" for each, mode in modes.items() if mode & 0o077]


def keep_ledger(state: Path) -> None:
    ledger = Ledger.at(state / "deep" / "ledger.sqlite")
    ledger.record(entry())
    assert {each.name for each in (state / "deep").iterdir()} >= {"ledger.sqlite", "ledger.sqlite-wal"}
    assert open_to_others(state) == []
    ledger.close()


def keep_history(state: Path) -> None:
    make_folder(state)
    HistoryStore(f"sqlite:///{state}/signals.sqlite").close()


def keep_memory(state: Path) -> None:
    memory = Memory(state / "agent")
    memory.save()
    memory.close()
    assert (state / "agent" / "attempts.json").exists()


def keep_signals(state: Path) -> None:
    make_folder(state)
    write_signals(state, "demo")


def keep_fleet(state: Path) -> None:
    fleet_server.seed(state / "git", SEED)


def keep_child(state: Path) -> None:
    program = "import pathlib, sys; pathlib.Path(sys.argv[1]).mkdir(); pathlib.Path(sys.argv[1], 'f').touch()"
    child = Child("made", [sys.executable, "-c", program, str(state / "made")], state / "logs" / "made.log")
    child.start()
    child.wait(60)
    assert (state / "made" / "f").exists()


def keep_token(state: Path) -> None:
    replace_file(state / "accounts" / "hub.kubeconfig", "token")
    replace_file(state / "accounts" / "hub.kubeconfig", "another")


@pytest.mark.parametrize(
    "keep", [keep_ledger, keep_history, keep_memory, keep_signals, keep_fleet, keep_child, keep_token]
)
def test_what_is_kept_is_private_whatever_the_umask(tmp_path, wide_umask, keep: Callable[[Path], None]):
    keep(tmp_path / "state")
    assert open_to_others(tmp_path / "state") == []
    assert os.umask(wide_umask) == wide_umask


def test_a_clone_is_private_whatever_the_umask(tmp_path, wide_umask):
    server = GitServer(tmp_path / "server", SEED)
    server.start()
    try:
        hub = Repository(quick_settings(server.url, tmp_path / "state" / "fleet.git"), Clock())
        hub.publish([place("llama")])
    finally:
        server.stop()
    assert len([*(tmp_path / "state").rglob("objects/**/*")]) > 3
    assert open_to_others(tmp_path / "state") == []


@pytest.mark.parametrize("command", ["import", "hub"])
def test_a_command_keeps_its_state_private(tmp_path, command):
    state = tmp_path / "state"
    arguments = {
        "import": ["report", "import", "-", "--ledger", str(state / "ledger.sqlite")],
        "hub": ["hub", "run", "--fleet-url", "git://127.0.0.1:1/x", "--state", str(state), "--kubeconfig", "none"],
    }[command]
    subprocess.run(
        [sys.executable, "-m", "carbonfleet", *arguments],
        stdin=subprocess.DEVNULL,
        umask=0,
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert (state / "ledger.sqlite").exists()
    assert open_to_others(state) == []


def test_a_folder_is_one_process_s_at_a_time_and_free_once_it_has_ended(tmp_path):
    folder = tmp_path / "state"
    hold = "import sys, pathlib; from carbonfleet.private_files import held\n"
    hold += "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match=f"it runs already as process {other.pid} in {folder}"), held(folder):
            pass
        other.kill()
        other.wait()
    with held(folder):
        assert (folder / IN_USE).read_text() == str(os.getpid())
    (folder / IN_USE).write_text("what\x1b[2Jever")
    with held(folder):
        pass
