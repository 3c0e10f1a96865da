"""How much memory the hub takes for each job that waits, as its process' resident set once cycles over them have ended.

A real hub on an embedded API and a Git server, each a process. Jobs are added up to each of the given counts; the
growth beside the same hub without any job, divided by the count, is told.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measured_hub import TEAM, MeasuredHub, cpu_seconds, eventually, job, measured

from carbonfleet.kube import KubeError, ours

JOBS = ours("carbontrainingjobs", TEAM)
WRITERS = 4
AIM_KIB = 40
QUIET_SHARE = 0.2
"""Of a core: a hub that uses less over `QUIET_SECONDS` has ended its cycles over what is new."""
QUIET_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[1000, 10_000], help="waiting jobs, one count after another"
    )
    parser.add_argument(
        "--spokes", type=int, default=3, help="the seed fleet has 3; each is a candidate in each status"
    )
    parser.add_argument("--patience", type=float, default=3600, help="seconds until all are decided")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="carbonfleet-bench-") as folder,
        measured(Path(folder), options.spokes) as hub,
    ):
        for line in growth(hub, sorted(options.jobs), options.patience):
            print(line, flush=True)


def growth(hub: MeasuredHub, counts: list[int], patience: float) -> Iterator[str]:
    """A line for each count."""
    rest(hub, patience)
    alone = hub.usage()["hub"].resident_mib
    yield f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {hub.spokes} spokes; no job: {alone:.0f} MiB"
    there = 0
    for count in counts:
        add(hub, range(there, count))
        there = count
        eventually(lambda wanted=count: is_decided(hub, wanted), patience)
        rest(hub, patience)
        used = hub.usage()["hub"]
        each, peak = (1024 * (mib - alone) / count for mib in (used.resident_mib, used.peak_mib))
        yield (
            f"{count} waiting jobs: {used.resident_mib:.0f} MiB, {each:.1f} KiB a job, {each / AIM_KIB:.2f} of what is "
            f"aimed at ({AIM_KIB}); at its peak {used.peak_mib:.0f} MiB, {peak:.1f}"
        )


def add(hub: MeasuredHub, numbers: range) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda number: hub.kube.create(JOBS, job(f"waiting-{number:05d}", waits=True)), numbers))


def is_decided(hub: MeasuredHub, wanted: int) -> bool:
    """Whether the status of so many jobs says that they wait; each look takes the API's time from the hub."""
    time.sleep(QUIET_SECONDS)
    try:
        jobs, _ = hub.kube.list(JOBS)
    except KubeError as error:
        if error.status:
            raise
        return False  # it is busy
    return sum(body.get("status", {}).get("phase") == "Waiting" for body in jobs) >= wanted


def rest(hub: MeasuredHub, patience: float) -> None:
    """Wait until the hub does next to nothing."""

    def is_quiet() -> bool:
        before = cpu_seconds(hub.children["hub"].pid)
        time.sleep(QUIET_SECONDS)
        return cpu_seconds(hub.children["hub"].pid) - before < QUIET_SHARE * QUIET_SECONDS

    eventually(is_quiet, patience)


if __name__ == "__main__":
    main()
