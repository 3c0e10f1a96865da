"""What Ray costs a training: throughput in a Ray job beside the same loop run plainly, and the time to the first step.

Runs of one thread each, turn about, so that a busy machine hurts both alike; beside the wall clock the CPU time of a
step, which others on the machine hardly stretch. Also: what a checkpoint costs.

    python benchmarks/training_in_ray.py [--runs 10] [--steps 80]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import requests

from carbonfleet.local.ray_head import HeadSettings, RayHead

REPOSITORY = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "workloads.lora.train")
INTERVAL_SECONDS = 600
LONGEST_RUN_SECONDS = 600


def settings(steps: int) -> str:
    training = {"learning_rate": 2e-3, "steps": steps, "batch_size": 8, "sequence_length": 128, "validations": 1}
    return json.dumps(
        {
            "model": "carbonfleet/tiny-qwen2",
            "dataset": {"name": "carbonfleet/tiny-instructions", "samples": 400},
            "lora": {"rank": 8, "alpha": 16},
            "training": training,
            "checkpoint": {"every_steps": steps // 2},
        }
    )


def environment(steps: int, output: Path) -> dict[str, str]:
    return {"LORA_CONFIG": settings(steps), "LORA_OUTPUT": str(output), "HF_HUB_OFFLINE": "1", "LORA_THREADS": "1"}


def plain(steps: int, output: Path) -> dict:
    """Run the loop as it is; its metrics, with the seconds from its start to its first step."""
    variables = {**os.environ, **environment(steps, output)}
    began = time.time()
    subprocess.run(
        COMMAND, env=variables, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, timeout=LONGEST_RUN_SECONDS
    )
    return measured(output, began)


def in_ray(head: RayHead, steps: int, output: Path) -> dict:
    """Run it as a job of Ray's; the same."""
    began = time.time()
    job = {
        "entrypoint": f"cd {REPOSITORY} && exec {' '.join(COMMAND)}",
        "runtime_env": {"env_vars": environment(steps, output)},
    }
    name = call(head, "POST", "/api/jobs/", job)["submission_id"]
    deadline = began + LONGEST_RUN_SECONDS
    while (status := call(head, "GET", f"/api/jobs/{name}")["status"]) in {"PENDING", "RUNNING"}:
        assert time.time() < deadline, f"{name} is still {status}"
        time.sleep(0.5)
    assert status == "SUCCEEDED", call(head, "GET", f"/api/jobs/{name}/logs")["logs"]
    return measured(output, began)


def call(head: RayHead, method: str, path: str, body: dict | None = None) -> dict:
    headers = {"Authorization": f"Bearer {head.token}"}
    answer = requests.request(method, f"{head.address}{path}", json=body, headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json()


def measured(output: Path, began: float) -> dict:
    metrics = json.loads((output / "metrics.json").read_text())
    first = datetime.fromisoformat(metrics["started_at"]).timestamp() + metrics["first_step_seconds"]
    return {**metrics, "submitted_to_first_step_seconds": first - began}


def median(runs: list[dict], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=80)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as folder:  # short: it holds sockets
        head = RayHead.start(HeadSettings(directory=Path(folder) / "ray"))
        try:
            pairs = []
            for number in range(given.runs):
                plainly = plain(given.steps, Path(folder) / f"plain-{number}")
                pairs.append((plainly, in_ray(head, given.steps, Path(folder) / f"ray-{number}")))
                print(
                    f"run {number + 1}: {pairs[-1][0]['tokens_per_second']:.0f} tokens/s plainly, "
                    f"{pairs[-1][1]['tokens_per_second']:.0f} in Ray",
                    flush=True,
                )
        finally:
            head.stop()
    report([p for p, _ in pairs], [r for _, r in pairs])


def report(plainly: list[dict], rayly: list[dict]) -> None:
    pairs = list(zip(plainly, rayly, strict=True))
    ratios = [r["tokens_per_second"] / p["tokens_per_second"] for p, r in pairs]
    by_cpu = [p["step_cpu_seconds"] / r["step_cpu_seconds"] for p, r in pairs]
    for name, runs in (("plainly", plainly), ("in Ray", rayly)):
        first = median(runs, "submitted_to_first_step_seconds")
        rate, step, cpu = (median(runs, n) for n in ("tokens_per_second", "step_seconds", "step_cpu_seconds"))
        print(
            f"{name:8} {rate:7.0f} tokens/s, {1000 * step:5.1f} ms a step ({1000 * cpu:.1f} ms of CPU), "
            f"{first:5.1f} s from submitted to first step"
        )
    for what, found in (("throughput", ratios), ("by CPU time", by_cpu)):
        print(
            f"Ray / plain, {what}, median of {len(found)}: {statistics.median(found):.3f} "
            f"(lowest {min(found):.3f}, highest {max(found):.3f}); wanted 0.95, aimed at 0.97"
        )
    runs = [*plainly, *rayly]
    seconds, step = median(runs, "checkpoint_seconds"), median(runs, "step_seconds")
    print(
        f"a checkpoint takes {1000 * seconds:.0f} ms = {seconds / step:.2f} steps, "
        f"{seconds / INTERVAL_SECONDS:.4%} of a 10-minute interval; wanted under 2 %"
    )


if __name__ == "__main__":
    main()
