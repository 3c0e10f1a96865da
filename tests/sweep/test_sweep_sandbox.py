"""Code that a model wrote, run where it can do no harm: each hostile thing is tried for real."""

import os
import secrets
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from carbonfleet.sweep import SweepError
from carbonfleet.sweep.scoring import sandbox
from carbonfleet.sweep.scoring.sandbox import MEMORY_BYTES, MOST_PROCESSES, WALL_SECONDS, SandboxRun, run_isolated
from fixtures.kubeapi_server import eventually


@pytest.fixture(scope="module", autouse=True)
def isolating():
    """Where the machine allows no namespaces nothing can be run, which is all that there is to see."""
    try:
        run_isolated("", "")
    except SweepError as error:
        if allows_namespaces():
            raise
        pytest.skip(str(error))


def allows_namespaces() -> bool:
    """Whether this machine makes those that isolate, with nothing in them."""
    kinds = ("--user", "--map-root-user", "--net", "--pid", "--mount", "--ipc", "--uts")
    try:
        return subprocess.run(["unshare", *kinds, "--fork", "true"], timeout=60, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_what_its_caller_keeps_to_itself_does_not_shut_it_out(umask):
    before = os.umask(umask)
    try:
        assert run_isolated("", "") == SandboxRun(ended_well=True)
    finally:
        os.umask(before)


@pytest.fixture
def mark():
    """A name for processes that no other on this machine bears."""
    return secrets.token_hex(6)


def named(mark):
    """Code that gives its process a name, which those that it forks keep."""
    return f"import ctypes, os, time\nctypes.CDLL(None).prctl(15, {mark.encode()!r})\n"


def left(mark):
    """The processes of the whole machine that bear it."""
    return [one for one in psutil.process_iter(["name"]) if one.info["name"] == mark]


def test_code_that_does_what_is_asked_passes():
    assert run_isolated("def add(a, b):\n    return a + b", "assert add(3, 4) == 7") == SandboxRun(ended_well=True)
    assert run_isolated("if __name__ == '__main__':\n    print('on')", "import math, json, re, random") == SandboxRun(
        ended_well=True
    )


@pytest.mark.parametrize(
    ("code", "check", "words"),
    [
        ("def add(a, b):\n    return a - b", "assert add(3, 4) == 7, 'not seven'", "AssertionError: not seven"),
        ("def add(", "1", "SyntaxError: '(' was never closed"),
        ("pass\0", "1", "source code string cannot contain null bytes"),
        ("'\udcff'.encode()", "1", "UnicodeEncodeError: 'utf-8' codec can't encode character"),
        ("import numpy", "1", "ModuleNotFoundError: No module named 'numpy'"),
        ("import carbonfleet", "1", "ModuleNotFoundError: No module named 'carbonfleet'"),
        ("raise SystemExit(0)", "1", "it ended early with 0"),
        ("import os; os._exit(0)", "1", "it ended early with 0"),
        ("import os; os.kill(os.getpid(), 9)", "1", f"it took longer than {WALL_SECONDS} s, or was killed"),
        ("print('isolated'); print('names')\nraise SystemExit", "1", "names"),
    ],
)
def test_code_that_does_not_fails_with_its_last_words(code, check, words):
    ran = run_isolated(code, check)
    assert not ran.ended_well
    assert words in ran.last_words


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "/proc",
        str(Path.home() / ".bashrc"),
        "/home",
        "/sys",
        "/tmp",
        "/var",
        "/before",
        "/dev/shm",
        str(Path.cwd()),
    ],
)
def test_no_file_of_the_machine_is_there(path):
    assert run_isolated(f"import os; assert not os.path.exists({path!r})", "") == SandboxRun(ended_well=True)


def test_of_a_home_the_interpreter_alone_is_there_and_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("SECRET_OF_MINE", "abc")
    allowed = sandbox._folder() or "/usr"
    code = f"import os, pathlib\nfound = [str(p) for p in pathlib.Path({str(Path.home())!r}).rglob('*') if p.is_file()]"
    check = (
        f"assert all(p.startswith({allowed!r}) for p in found), found[:3]\nassert not set(os.environ) - {{'LC_CTYPE'}}"
    )
    assert run_isolated(code, check) == SandboxRun(ended_well=True)


@pytest.mark.parametrize("place", ["/usr/x", "/usr/bin/x", "{base}/x", "/x"])
def test_nothing_is_written_but_into_its_own_memory(place):
    base = sandbox._folder() or "/usr"
    run_isolated(f"open({place.format(base=base)!r}, 'w').write('x')", "")
    assert not Path(place.format(base=base)).exists()


def test_what_it_may_write_is_bounded():
    big = run_isolated("open('x', 'w').write('x' * 10_000_000)", "")
    assert big.last_words == "OSError: [Errno 27] File too large"
    many = run_isolated("for n in range(10_000):\n    open(str(n), 'w').write('x' * 1000)", "")
    assert many.last_words.startswith("OSError: [Errno 28] No space left on device")
    printed = run_isolated("while True:\n    print('x' * 1000)", "")
    assert not printed.ended_well


def test_no_listener_of_this_machine_is_reached():
    abstract = f"\0{secrets.token_hex(8)}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(abstract)
        unix.listen()
        tcp.settimeout(0)
        unix.settimeout(0)
        to_tcp = f"import socket; socket.create_connection({tcp.getsockname()!r}, 2)"
        to_unix = f"import socket; socket.socket(socket.AF_UNIX).connect({abstract!r})"
        assert run_isolated(to_tcp, "").last_words == "OSError: [Errno 101] Network is unreachable"
        assert run_isolated(to_unix, "").last_words == "ConnectionRefusedError: [Errno 111] Connection refused"
        for server in (tcp, unix):
            with pytest.raises(BlockingIOError):
                server.accept()


@pytest.mark.parametrize("code", ["while True: pass", "time.sleep(1000)"])
def test_what_does_not_end_is_ended(code, mark):
    with ThreadPoolExecutor(1) as beside:
        ran = beside.submit(run_isolated, named(mark) + code, "")
        eventually(lambda: left(mark))
        assert ran.result().last_words == f"it took longer than {WALL_SECONDS} s, or was killed"
    eventually(lambda: not left(mark))


def test_memory_is_bounded():
    code = f"x = bytearray({MEMORY_BYTES})"
    assert run_isolated(code, "").last_words == "MemoryError"
    mapped = f"import mmap; mmap.mmap(-1, {MEMORY_BYTES})"
    assert run_isolated(mapped, "").last_words == "OSError: [Errno 12] Cannot allocate memory"


def test_a_fork_bomb_is_bounded_and_leaves_nothing(mark):
    code = "forks = 0\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(100)\n"
    code += "    except BlockingIOError:\n        break\n    forks += 1"
    ran = run_isolated(named(mark) + code, f"assert 0 < forks < {MOST_PROCESSES}, forks")
    assert ran == SandboxRun(ended_well=True)
    bomb = "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert not run_isolated(named(mark) + bomb, "").ended_well
    eventually(lambda: not left(mark))


def test_a_process_in_the_background_ends_with_it(mark):
    code = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n    os._exit(0)"
    assert run_isolated(named(mark) + code, "") == SandboxRun(ended_well=True)
    eventually(lambda: not left(mark))


def test_it_ends_with_the_process_that_began_it(mark):
    sleeps = named(mark) + "time.sleep(1000)"
    code = f"from carbonfleet.sweep.scoring.sandbox import run_isolated\nrun_isolated({sleeps!r}, '')"
    beginner = subprocess.Popen([sys.executable, "-c", code])
    eventually(lambda: left(mark))
    beginner.kill()
    beginner.wait()
    eventually(lambda: not left(mark))


def test_it_has_no_rights_to_gain():
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
tried = {
    "mount": libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, 0),
    "unmount": libc.umount2(b"/usr", 2),
    "user namespace": libc.unshare(0x10000000),
    "network": libc.unshare(0x40000000),
    "chroot": libc.chroot(b"/usr"),
}
"""
    assert run_isolated(code, "assert set(tried.values()) == {-1}, tried") == SandboxRun(ended_well=True)


def test_what_can_not_be_isolated_is_not_run(monkeypatch, tmp_path):
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(sandbox, "PATH", f"{tmp_path}:{sandbox.PATH}")
    with pytest.raises(SweepError, match="none is run: unshare: unshare failed: Operation not permitted"):
        run_isolated("open('/tmp/ran', 'w')", "")
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path / "nothing"))
    with pytest.raises(SweepError, match="can't be isolated on this machine, so none is run"):
        run_isolated("", "")
