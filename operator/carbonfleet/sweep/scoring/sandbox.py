"""Runs a stranger's Python where it can reach nothing: no network, no files but its own, little of the machine.

Linux namespaces (unshare) give it a network without devices, its own processes, and a root of 4 MiB in memory with
/usr and the interpreter read-only; rlimits bound each process, and a clock the whole. It has no capabilities. What
can't be set up like this is not run.
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carbonfleet.sweep.error import SweepError

WALL_SECONDS: Final = 10
CPU_SECONDS: Final = 5
MEMORY_BYTES: Final = 256 << 20
"""Of addresses, for each process."""
MOST_PROCESSES: Final = 8
"""Threads and the shell around it count too."""
MOST_FILE_BYTES: Final = 1 << 20
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the tools of util-linux and coreutils are."""
_READY: Final = "isolated"
_UNUSED_USER: Final = 61_184
"""Of those that systemd leaves to nobody: code that root has run is not root's."""
_AS_NOBODY: Final = f"""
umask 022  # the folders are another user's to enter, whatever its caller keeps to itself
if [ -n "$1" ]; then
  # Where only root may look, such as in /root, is the interpreter alone for others to see.
  mount --rbind "$1" /mnt
  mount -t tmpfs -o mode=755 tmpfs "/$(echo "$1" | cut -d/ -f2)"
  mkdir -p "$1"
  mount --rbind /mnt "$1"
fi
shift
exec setpriv --reuid={_UNUSED_USER} --regid={_UNUSED_USER} --clear-groups "$@"
"""
_ISOLATED: Final = f"""
umask 022
python=$1
shift
mount -t tmpfs -o size=4m,nr_inodes=1000,mode=755,nosuid,nodev tmpfs /tmp
cd /tmp
mkdir before dev proc work
for link in bin sbin lib lib32 lib64; do
  if [ -L "/$link" ]; then ln -s "$(readlink "/$link")" "$link"; fi
  if [ -d "/$link" ] && [ ! -L "/$link" ]; then mkdir "$link"; mount --rbind "/$link" "$link"; fi
done
for folder in /usr $python; do
  mkdir -p ".$folder"
  mount --rbind "$folder" ".$folder"
  mount -o remount,bind,ro,nosuid,nodev ".$folder"
done
for device in null zero urandom; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mount --rbind /proc proc
pivot_root . before
cd /
echo 0 > /proc/sys/user/max_user_namespaces  # in another, code would have capabilities, and could mount memory
umount -l /before /proc
rmdir /before /proc
cd /work
echo {_READY}
"$@"
"""


@dataclass(frozen=True, slots=True)
class SandboxRun:
    """How it ended: whether it came to its own end, and if not its last words."""

    ended_well: bool
    last_words: str = ""


def run_isolated(code: str, check: str) -> SandboxRun:
    """Run `code`, then `check` in the same names. Raises SweepError where it can't be isolated."""
    token = secrets.token_hex(16)
    # The token is printed only past both, so that code which ends the process early has not passed.
    script = (
        "names = {'__name__': '__main__'}\n"
        f"exec(compile({code!r}, 'answer', 'exec'), names)\n"
        f"exec(compile({check!r}, 'check', 'exec'), names)\n"
        f"print('\\n{token}', flush=True)\n"
    )
    with tempfile.TemporaryFile() as said:
        status = _run(script, said.fileno())
        size = os.fstat(said.fileno()).st_size
        said.seek(max(0, size - 10_000))
        lines = said.read().decode("utf-8", "replace").splitlines()
        said.seek(0)
        is_isolated = said.read(len(_READY) + 1).decode("utf-8", "replace") == f"{_READY}\n"
    if not is_isolated:
        why = " ".join(lines[-1:])[:200] or f"unshare ended with {status}"
        raise SweepError(f"code can't be isolated on this machine, so none is run: {why}")
    if token in lines:
        return SandboxRun(ended_well=True)
    return SandboxRun(False, _last_words(status, lines))


def _run(script: str, said: int) -> int:
    """The exit status; what is printed goes to the file `said`."""
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            _command(),
            input=script.encode("utf-8", "surrogatepass"),
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            timeout=WALL_SECONDS + 5,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return 137
    except OSError as error:
        raise SweepError(f"code can't be isolated on this machine, so none is run: {error.strerror}") from error


def _command() -> list[str]:
    python, folder = os.path.realpath(sys.executable), _folder()
    limits = {"cpu": CPU_SECONDS, "as": MEMORY_BYTES, "nproc": MOST_PROCESSES, "fsize": MOST_FILE_BYTES, "nofile": 64}
    as_nobody = ("unshare", "--mount", "sh", "-ec", _AS_NOBODY, "sh", folder) if os.geteuid() == 0 else ()
    return [
        *("timeout", "--signal=KILL", str(WALL_SECONDS)),
        *as_nobody,
        *("unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--ipc", "--uts", "--fork"),
        *("--kill-child", "sh", "-ec", _ISOLATED, "sh", folder),
        *("prlimit", "--core=0", *(f"--{name}={value}" for name, value in limits.items())),
        *("setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
        *("env", "-i", python, "-I", "-S", "-B", "-"),
    ]


def _folder() -> str:
    """Where the interpreter lies, if not in /usr. One that holds its user's home is none to show."""
    folder = Path(sys.base_prefix).resolve()
    if folder.is_relative_to("/usr"):
        return ""
    if Path.home().is_relative_to(folder) or not re.fullmatch(r"/[A-Za-z0-9._/+-]+", str(folder)):
        raise SweepError(f"code can't be isolated with the Python in {folder}: use one of a folder of its own")
    return str(folder)


def _last_words(status: int, lines: list[str]) -> str:
    if status in (137, -9):
        return f"it took longer than {WALL_SECONDS} s, or was killed"
    said = " ".join(lines[-1].split())[:200] if lines and lines[-1] != _READY else ""
    return said or f"it ended early with {status}"
