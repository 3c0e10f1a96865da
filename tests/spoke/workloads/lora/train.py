"""A training that only counts: the contract of workloads/lora, a tenth of a second a step.

A file `hold` in its output names a step at which it waits until the file is gone or it is asked to stop.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

config = json.loads(os.environ["LORA_CONFIG"])
# An object store is a folder here, which only the log tells of.
place, attempt = os.environ["LORA_OUTPUT"], int(os.environ["LORA_ATTEMPT"])
output = Path(place.replace("://", "-"))
steps = config["training"]["steps"]
stopping = []


def write(name, value):
    fresh = output / f".{name}"
    fresh.write_text(json.dumps(value))
    fresh.replace(output / name)


def lease():
    path = output / "LEASE"
    return json.loads(path.read_text()) if path.exists() else {"attempt": 0, "checkpoints": []}


def checkpoint(step):
    saved = {"step": step, "attempt": attempt, "sha256": f"{step:064x}", "size_bytes": 1}
    write("LEASE", {"attempt": attempt, "holder": str(os.getpid()), "config_digest": "", "checkpoints": [saved]})


def held_at():
    try:
        return int((output / "hold").read_text())
    except FileNotFoundError:
        return steps


def numbers(step):
    return {
        "attempt": attempt,
        "step": step,
        "total_steps": steps,
        "train_loss": 4 - step / steps,
        "initial_validation_loss": 4.0,
        "validation_loss": 4 - step / steps,
        "tokens_per_second": 100.0,
        "energy_kwh": None,
        "energy_source": None,
    }


def fail(reason, message, code):
    news = {"reason": reason, "message": message, "exit_code": code}
    print(f"LORA_FAILURE {json.dumps(news)}", flush=True)
    sys.exit(code)


signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
output.mkdir(parents=True, exist_ok=True)
with (output / "starts.log").open("a") as log:
    log.write(f"{attempt} {os.getpid()}\n")
if lease()["attempt"] > attempt:
    fail("Fenced", "overtaken", 42)
if config["model"] == "unknown/model":
    fail("UnknownModel", "no model called unknown/model", 10)
(output / "config.json").write_text(os.environ["LORA_CONFIG"])
first = lease()["checkpoints"][0]["step"] if lease()["checkpoints"] else 0
for step in range(first + 1, steps + 1):
    time.sleep(0.1)
    while step > held_at() and not stopping:
        time.sleep(0.02)
    write("progress.json", numbers(step))
    print(f"LORA_PROGRESS {json.dumps(numbers(step))}", flush=True)
    if stopping or step % 5 == 0:
        checkpoint(step)
    if stopping:
        fail("Stopped", "asked to stop", 143)
write("metrics.json", numbers(steps))
write("DONE", {"attempt": attempt, "config_digest": "", "step": steps, "validation_loss": 3.0})
