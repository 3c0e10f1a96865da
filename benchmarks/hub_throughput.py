"""How fast a job becomes a decision and a placement in Git, and what a hub with nothing to do costs.

Each measurement has an embedded Kubernetes API, a Git server and the real hub of its own, each a process, and
spokes that send heartbeats. Latency runs from the client's create request to the moment when a watch shows the
decision, and to the moment when the branch on the server holds the placement. The floor in the same run: one
client that creates a job and writes one status for each, one after the other; and one `git push` of one file.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hub_house import TEAM, House, eventually, house, job
from hub_observers import Observers

from carbonfleet.kube import Kube, Object, ours

JOBS = ours("carbontrainingjobs", TEAM)
PUSHES = 15
SETTLE_SECONDS = 5.0


@dataclass
class Measured:
    """One flow of jobs, seen from outside."""

    title: str
    jobs: int
    create_seconds: float
    decision_seconds: float
    pushed_seconds: float
    commits: int
    decision: list[float]
    pushed: list[float]
    known: list[float]
    used: dict[str, float]
    writes: int
    hub_mib: float
    load: float

    def row(self) -> str:
        rate = self.jobs / max(self.decision_seconds, self.pushed_seconds)
        cells = [self.title, f"{self.create_seconds:.2f}", f"{self.decision_seconds:.2f}", f"{self.pushed_seconds:.2f}"]
        cells += [str(self.commits), f"{rate:.0f}", *map(percentiles, (self.decision, self.pushed, self.known))]
        cells += [f"{1000 * self.used[name] / self.jobs:.1f}" for name in ("hub", "api", "git")]
        cells += [f"{self.writes / self.jobs:.1f}", f"{self.hub_mib:.0f}", f"{self.load:.1f}"]
        return "| " + " | ".join(cells) + " |"


HEAD = (
    "| flow | last create, s | last decision, s | last push, s | commits | placements/s "
    "| decision p50 / p99, ms | pushed p50 / p99, ms | Committed shown p50 / p99, ms "
    "| hub CPU ms/job | API CPU ms/job | git CPU ms/job | API writes/job | hub MiB at peak | load |\n"
    + 15 * "|---"
    + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=500, help="jobs of the burst")
    parser.add_argument("--rate", type=float, default=5.0, help="steady jobs a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of steady arrivals")
    parser.add_argument("--waiting", type=int, default=1000, help="jobs that the idle hub holds")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--spokes", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=1, help="measure burst and steady so many times")
    parser.add_argument("--only", choices=("burst", "steady", "idle"))
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {options.spokes} spokes")
    if options.only != "idle":
        flows(options)
    if options.only in (None, "idle"):
        with temporary() as folder, house(Path(folder), options.spokes) as idle:
            print(quiet(idle, options.waiting, options.idle_seconds))


def temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="carbonfleet-bench-")


def flows(options: argparse.Namespace) -> None:
    rows: list[Measured] = []
    floors: list[str] = []
    for number in range(options.repeat):
        with temporary() as folder, house(Path(folder), options.spokes) as fresh:
            measure(fresh, f"warm {number}", 20, 0.05)
            if options.only != "burst":
                steady = round(options.rate * options.seconds)
                rows.append(measure(fresh, f"steady {options.rate:g}/s, {steady} jobs", steady, 1 / options.rate))
            if options.only != "steady":
                rows.append(measure(fresh, f"burst of {options.burst}", options.burst, 0.0))
            floors.append(str(floor(fresh, 200)))
    print("\n" + HEAD)
    for row in rows:
        print(row.row())
    print("\n".join(["", *floors, ""]))


def measure(house: House, title: str, count: int, every: float) -> Measured:
    """Create `count` jobs, one each `every` seconds, and watch what becomes of them."""
    names = [f"{title.split(',')[0].split('/')[0].replace(' ', '-').replace('.', '-')}-{n:04d}" for n in range(count)]
    observers, before = Observers(house), house.usage()
    observers.start()
    began = time.perf_counter()
    created = {name: create(house.kube, job(name), began + n * every) for n, name in enumerate(names)}
    end_of_creation = time.perf_counter()
    try:
        eventually(lambda: len(observers.committed) >= count, 120)
    finally:
        observers.stop()
    after, (pushed, commits) = house.usage(), observers.pushed()
    assert created.keys() == pushed.keys() == observers.decided.keys(), "each job has one decision and one placement"
    return Measured(
        title=title,
        jobs=count,
        create_seconds=end_of_creation - began,
        decision_seconds=max(observers.decided.values()) - began,
        pushed_seconds=max(pushed.values()) - began,
        commits=commits,
        decision=since(created, observers.decided),
        pushed=since(created, pushed),
        known=since(created, observers.committed),
        used={name: after[name].cpu - before[name].cpu for name in after},
        writes=observers.writes - count,
        hub_mib=after["hub"].peak_mib,
        load=os.getloadavg()[0],
    )


def create(kube: Kube, body: Object, due: float) -> float:
    """Create it once its time has come; when the request was sent."""
    if (ahead := due - time.perf_counter()) > 0:
        time.sleep(ahead)
    sent = time.perf_counter()
    kube.create(JOBS, body)
    return sent


def since(created: dict[str, float], seen: dict[str, float]) -> list[float]:
    return [seen[name] - moment for name, moment in created.items()]


def percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"{1000 * cuts[49]:.0f} / {1000 * cuts[98]:.0f}"


@dataclass
class Floor:
    """What no hub can beat on this machine: the same writes by one client, one after the other."""

    jobs_per_second: float
    push_milliseconds: float

    def __str__(self) -> str:
        both = f"one create and one status write for each job: {self.jobs_per_second:.0f} jobs/s"
        return f"floor: {both}; one git push of one file: p50 {self.push_milliseconds:.0f} ms"


def floor(house: House, count: int) -> Floor:
    """Measured with the hub stopped; the status is one that the hub wrote."""
    house.children["hub"].stop()
    status = {"status": house.kube.list(JOBS)[0][-1]["status"]}
    began = time.perf_counter()
    for number in range(count):
        name = f"floor-{number:04d}"
        house.kube.create(JOBS, job(name))
        house.kube.patch(f"{JOBS}/{name}/status", status)
    seconds = time.perf_counter() - began
    return Floor(count / seconds, 1000 * statistics.median(push_seconds(house)))


def push_seconds(house: House) -> list[float]:
    work = house.folder / "person"
    git(house.folder, "clone", "--quiet", house.git_url, str(work))
    seconds = []
    for number in range(PUSHES):
        (work / f"floor-{number}.txt").write_text("one file\n")
        git(work, "add", "--all")
        git(work, "-c", "user.name=Floor", "-c", "user.email=floor@example.org", "commit", "--quiet", "-m", "Floor")
        began = time.perf_counter()
        git(work, "push", "--quiet", "origin", "HEAD:main")
        seconds.append(time.perf_counter() - began)
    return seconds


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def quiet(house: House, count: int, seconds: float) -> str:
    """A hub that holds `count` waiting jobs while nothing happens but heartbeats."""
    observers, before = Observers(house), house.usage()
    observers.start()
    began = time.perf_counter()
    for number in range(count):
        house.kube.create(JOBS, job(f"waiting-{number:04d}", waits=True))
    eventually(lambda: len(observers.decided) >= count, 300)
    settled, planned = time.perf_counter() - began, house.usage()
    time.sleep(SETTLE_SECONDS)
    start, written, at = house.usage(), observers.writes, time.perf_counter()
    time.sleep(seconds)
    elapsed, end = time.perf_counter() - at, house.usage()
    observers.stop()
    planned_ms = 1000 * (planned["hub"].cpu - before["hub"].cpu) / count
    share = {name: 100 * (end[name].cpu - start[name].cpu) / elapsed for name in end}
    growth = 1024 * (end["hub"].resident_mib - before["hub"].resident_mib) / count
    return (
        f"idle: {count} waiting jobs were decided {settled:.1f} s after the first create, with {planned_ms:.1f} ms "
        f"of hub CPU a job; then, over {elapsed:.0f} s, hub CPU {share['hub']:.2f} %, API CPU {share['api']:.2f} %, "
        f"{observers.writes - written} writes to jobs; hub {end['hub'].resident_mib:.0f} MiB, {growth:.0f} KiB a job; "
        f"load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
