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
from dataclasses import dataclass, replace
from pathlib import Path

from hub_observers import Observers
from measured_hub import TEAM, MeasuredHub, eventually, job, measured

from carbonfleet.kube import Kube, Object, ours

JOBS = ours("carbontrainingjobs", TEAM)
PUSHES = 15
FLOOR_JOBS = 200
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
    floor: "Floor | None" = None

    def figures(self) -> dict[str, str]:
        rate = self.jobs / max(self.decision_seconds, self.pushed_seconds)
        cpu = {name: 1000 * seconds / self.jobs for name, seconds in self.used.items()}
        return {
            "jobs": str(self.jobs),
            "last create, s": f"{self.create_seconds:.2f}",
            "last decision shown, s": f"{self.decision_seconds:.2f}",
            "last push, s": f"{self.pushed_seconds:.2f}",
            "placements/s": f"{rate:.0f}",
            "commits": str(self.commits),
            "decision shown p50 / p99, ms": percentiles(self.decision),
            "pushed p50 / p99, ms": percentiles(self.pushed),
            "commit shown p50 / p99, ms": percentiles(self.known),
            "CPU ms/job: hub": f"{cpu['hub']:.1f}",
            "CPU ms/job: API, git, client": f"{cpu['api']:.1f}, {cpu['git']:.1f}, {cpu['client']:.1f}",
            "writes to a job": f"{self.writes / self.jobs:.1f}",
            "hub MiB at peak": f"{self.hub_mib:.0f}",
            "load": f"{self.load:.1f}",
            "floor, jobs/s": f"{self.floor.jobs_per_second:.0f}" if self.floor else "",
            "floor, one git push, ms": f"{self.floor.push_milliseconds:.0f}" if self.floor else "",
            "placements of the floor, %": f"{100 * rate / self.floor.jobs_per_second:.0f}" if self.floor else "",
        }


def table(columns: list[Measured]) -> str:
    """A line for each figure, a column for each flow."""
    figures = [column.figures() for column in columns]
    lines = [["", *(column.title for column in columns)], ["---"] * (1 + len(columns))]
    lines += [[name, *(each[name] for each in figures)] for name in figures[0]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=500, help="jobs of the burst")
    parser.add_argument("--rate", type=float, default=5.0, help="steady jobs a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of steady arrivals")
    parser.add_argument("--waiting", type=int, default=1000, help="jobs that the idle hub holds")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument(
        "--spokes", type=int, default=3, help="the seed fleet has 3; each is a candidate in each status"
    )
    parser.add_argument("--beside", type=int, default=0, help="jobs that wait meanwhile, of burst and steady")
    parser.add_argument("--repeat", type=int, default=1, help="measure burst and steady so many times")
    parser.add_argument("--only", choices=("burst", "steady", "idle"))
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {options.spokes} spokes")
    if options.only != "idle":
        flows(options)
    if options.only in (None, "idle"):
        with temporary() as folder, measured(Path(folder), options.spokes) as idle:
            print(quiet(idle, options.waiting, options.idle_seconds))


def temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="carbonfleet-bench-")


def flows(options: argparse.Namespace) -> None:
    columns: list[Measured] = []
    for number in range(options.repeat):
        with temporary() as folder, measured(Path(folder), options.spokes) as fresh:
            wait(fresh, options.beside)
            measure(fresh, f"warm {number}", 20, 0.05)
            found = []
            if options.only != "burst":
                steady = round(options.rate * options.seconds)
                found.append(measure(fresh, f"steady {options.rate:g}/s", steady, 1 / options.rate))
            if options.only != "steady":
                found.append(measure(fresh, f"burst of {options.burst}", options.burst, 0.0))
            beside = floor(fresh, FLOOR_JOBS)
            columns += [replace(each, floor=beside) for each in found]
    print("\n" + table(columns) + "\n")


def measure(hub: MeasuredHub, title: str, count: int, every: float) -> Measured:
    """Create `count` jobs, one each `every` seconds, and watch what becomes of them."""
    names = [f"{title.split('/')[0].replace(' ', '-').replace('.', '-')}-{n:04d}" for n in range(count)]
    observers, before = Observers(hub), hub.usage()
    observers.start()
    began = time.perf_counter()
    created = {name: create(hub.kube, job(name), began + n * every) for n, name in enumerate(names)}
    end_of_creation = time.perf_counter()
    try:
        eventually(lambda: len(observers.committed) >= count, 120)
    finally:
        observers.stop()
    after, (pushed, commits) = hub.usage(), observers.pushed()
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


def floor(hub: MeasuredHub, count: int) -> Floor:
    """Measured with the hub stopped; the status is one that the hub wrote."""
    hub.children["hub"].stop()
    status = {"status": hub.kube.list(JOBS)[0][-1]["status"]}
    began = time.perf_counter()
    for number in range(count):
        name = f"floor-{number:04d}"
        hub.kube.create(JOBS, job(name))
        hub.kube.patch(f"{JOBS}/{name}/status", status)
    seconds = time.perf_counter() - began
    return Floor(count / seconds, 1000 * statistics.median(push_seconds(hub)))


def push_seconds(hub: MeasuredHub) -> list[float]:
    work = hub.folder / "person"
    where = hub.git_url.replace("://", f"://git:{hub.git_token.read_text()}@")
    git(hub.folder, "clone", "--quiet", where, str(work))
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


def wait(hub: MeasuredHub, count: int) -> None:
    """Have the hub hold `count` waiting jobs, each with its decision shown."""
    observers = Observers(hub)
    observers.start()
    for number in range(count):
        hub.kube.create(JOBS, job(f"waiting-{number:04d}", waits=True))
    eventually(lambda: len(observers.decided) >= count, 600)
    observers.stop()


def quiet(hub: MeasuredHub, count: int, seconds: float) -> str:
    """A hub that holds `count` waiting jobs while nothing happens but heartbeats."""
    observers, before = Observers(hub), hub.usage()
    observers.start()
    began = time.perf_counter()
    wait(hub, count)
    settled, planned = time.perf_counter() - began, hub.usage()
    time.sleep(SETTLE_SECONDS)
    start, written, at = hub.usage(), observers.writes, time.perf_counter()
    time.sleep(seconds)
    elapsed, end = time.perf_counter() - at, hub.usage()
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
