"""Before a pod goes (preStop): ask the training in it to save itself, and wait until it has."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

ATTEMPT = b"LORA_ATTEMPT="
LONGEST_SECONDS = 150.0
"""Less than the pod's grace period of 180 s."""


def training_processes(proc: Path = Path("/proc")) -> list[int]:
    """The processes of this pod that train: the script itself, and Ray Train's workers."""
    found = []
    for entry in proc.iterdir():
        with suppress(OSError):  # it ended meanwhile, or belongs to somebody else
            if entry.name.isdigit() and int(entry.name) != os.getpid() and _trains(entry):
                found.append(int(entry.name))
    return found


def _trains(process: Path) -> bool:
    command = (process / "cmdline").read_bytes()
    is_ours = b"workloads.lora.train" in command or command.startswith(b"ray::RayTrainWorker")
    return is_ours and ATTEMPT in (process / "environ").read_bytes()


def main() -> int:
    """0 when nothing trains any more, 1 when time ran out."""
    for pid in training_processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + LONGEST_SECONDS
    while training_processes():
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
