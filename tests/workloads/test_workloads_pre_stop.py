"""What a pod does before it goes."""

import os
import signal
import subprocess
import sys

WAITING = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("up", flush=True)
signal.pause()
"""


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *command], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_only_the_training_of_an_attempt_is_found_and_asked_to_stop():
    """Not asserted on `main`: other tests of this machine may train beside us."""
    from workloads.lora.pre_stop import training_processes

    ours = start("workloads.lora.train", LORA_ATTEMPT="1")
    bystander = start("workloads.lora.train")
    try:
        found = training_processes()
        assert ours.pid in found
        assert bystander.pid not in found
        os.kill(ours.pid, signal.SIGTERM)
        assert ours.wait(timeout=120) == 143
        assert ours.pid not in training_processes()
    finally:
        for process in (ours, bystander):
            process.kill()
            process.wait(timeout=120)
