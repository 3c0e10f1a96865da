"""A hub to measure: the embedded API, a Git server and the real hub, each a process; spokes send heartbeats only."""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pygit2
import yaml

from carbonfleet.api.signal import SignalKind
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.fleet.git import read_cluster
from carbonfleet.kube import Kube, KubeError, Object, ours, path
from carbonfleet.local import fleet_server
from carbonfleet.local.child import Child
from carbonfleet.local.ports import free_port
from carbonfleet.local.stack import HUB_NAMESPACE, kubectl
from carbonfleet.private_files import replace_file
from carbonfleet.signals.sources.demo import ZONES, demo_value

PROJECT = Path(__file__).parents[1]
TEAM = "team-a"
GPUS = 1024
"""Of each spoke: room for every job at once, so that nothing waits for a GPU."""
HEARTBEAT_SECONDS = 10.0
START = datetime(2025, 12, 16, 1, tzinfo=UTC)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """CPU seconds of a process and of all that it started, and its own memory."""

    cpu: float
    resident_mib: float
    peak_mib: float

    @classmethod
    def of(cls, pid: int) -> "Usage":
        memory = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        kib = [int(memory[name].split()[0]) for name in ("VmRSS", "VmHWM")]
        return cls(cpu_seconds(pid), kib[0] / 1024, kib[1] / 1024)

    @classmethod
    def own(cls) -> "Usage":
        return cls(time.process_time(), 0.0, 0.0)


def cpu_seconds(pid: int) -> float:
    """Of the process, its children that live, and those that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:  # it has just ended, and counts for its parent
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS + sum(map(cpu_seconds, children))


@dataclass
class MeasuredHub:
    """All processes of one measurement, on a folder of their own."""

    folder: Path
    spokes: int = 12
    clock: Clock = field(default_factory=lambda: Clock.starting_at(START + timedelta(seconds=30), 1.0))
    """Real speed, early in a quarter of an hour: waiting jobs are looked at again when the next begins."""
    children: dict[str, Child] = field(default_factory=dict)
    heartbeats: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._start_git()
        self._start_api()
        self.kube = Kube.connect(self.folder / "kubeconfig")
        self._install()
        self._start_hub()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()
        self._await_first_heartbeats()

    def stop(self) -> None:
        self._over.set()
        for child in reversed(self.children.values()):
            child.stop()

    @property
    def bare(self) -> Path:
        return self.folder / "git" / fleet_server.NAME

    def usage(self) -> dict[str, Usage]:
        """By process; `client` is the one that creates jobs and observes, this very process."""
        return {name: Usage.of(child.pid) for name, child in self.children.items()} | {"client": Usage.own()}

    def head(self) -> str:
        with suppress(FileNotFoundError):
            return (self.bare / "refs" / "heads" / "main").read_text().strip()
        return str(pygit2.Repository(str(self.bare)).references["refs/heads/main"].target)

    def _start(self, name: str, *command: str, **environment: str) -> Child:
        log = self.folder / "logs" / f"{name}.log"
        python_path = os.pathsep.join([str(PROJECT / "operator"), os.environ.get("PYTHONPATH", "")])
        settings = {VARIABLE: self.clock.encode(), "PYTHONPATH": python_path}
        child = Child(name, [sys.executable, "-m", *command], log, settings | environment)
        self.children[name] = child
        child.start()
        return child

    def _start_git(self) -> None:
        seed = self.folder / "seed"
        shutil.copytree(PROJECT / "fleet" / "policies", seed / "policies")
        for name, content in fleet(self.spokes).items():
            (seed / "clusters" / name).mkdir(parents=True)
            (seed / "clusters" / name / "cluster.yaml").write_text(content)
        root, port = self.folder / "git", free_port()
        fleet_server.seed(root, seed)
        self.git_token = self.folder / "git.token"
        replace_file(self.git_token, secrets.token_hex(24))
        server = fleet_server.server(root, port, self.git_token, self.folder / "logs" / "git.log")
        self.children["git"] = server
        server.start()
        fleet_server.await_port(server, port)
        self.git_url = f"http://127.0.0.1:{port}/{fleet_server.NAME}"

    def _start_api(self) -> None:
        kubeconfig = self.folder / "kubeconfig"
        options = ["--state", str(self.folder / "api"), "--kubeconfig", str(kubeconfig)]
        token = secrets.token_hex(24)
        api = self._start("api", "kubeapi", *options, CARBONFLEET_API_TOKEN=token)
        api.await_file(kubeconfig, seconds=60)

    def _install(self) -> None:
        environment = os.environ | {"KUBECONFIG": str(self.folder / "kubeconfig")}
        command = [str(kubectl()), "apply", "--server-side", "-f", str(PROJECT / "crds")]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        for name in (HUB_NAMESPACE, TEAM):
            self.kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": name}})

    def _start_hub(self) -> None:
        options = ["--fleet-url", self.git_url, "--fleet-token-file", str(self.git_token)]
        options += ["--state", str(self.folder / "hub"), "--lease-seconds", "300"]  # a busy machine is no lost Lease
        options += ["--kubeconfig", str(self.folder / "kubeconfig")]
        options += ["--signals", str(write_signals(self.folder)), "--baseline-region", "us-east-2"]
        self._start("hub", "carbonfleet", "hub", "run", *options)

    def _send_heartbeats(self) -> None:
        while not self._over.is_set():
            self.heartbeats += sum(map(self._heartbeat, fleet(self.spokes)))
            self._over.wait(HEARTBEAT_SECONDS if self.heartbeats >= self.spokes else 0.1)

    def _heartbeat(self, spoke: str) -> bool:
        """An agent's heartbeat, as it would write it; nothing to tell before the hub has made the object."""
        free = [{"name": "a100", "freeGpus": GPUS}]
        status: dict[str, Any] = {"heartbeatTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), "pools": free}
        with suppress(KubeError):
            self.kube.patch(ours("spokeclusters", "", spoke, "status"), {"status": status})
            return True
        return False

    def _await_first_heartbeats(self) -> None:
        hub = self.children["hub"]
        eventually(lambda: self.heartbeats >= self.spokes or not hub.is_alive, 600)
        assert hub.is_alive, hub.last_words()
        time.sleep(1.0)  # the hub's cycle on them ends


@contextmanager
def measured(folder: Path, spokes: int = 12) -> Iterator[MeasuredHub]:
    made = MeasuredHub(folder, spokes)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def write_signals(folder: Path) -> Path:
    """The demo's made trace as a CSV file, four weeks back and one ahead, and signal settings that read it."""
    hours = [START.replace(hour=0) + timedelta(hours=n) for n in range(-28 * 24, 8 * 24)]
    kind = SignalKind.AVERAGE_LIFECYCLE
    rows = [
        f"{hour:%Y-%m-%dT%H:%M:%SZ},{zone},{demo_value(zone, kind, hour)},average_lifecycle"
        for hour in hours
        for zone in ZONES
    ]
    trace, settings = folder / "trace.csv", folder / "signals.yaml"
    trace.write_text("\n".join(["datetime_utc,zone,gco2_per_kwh,signal", *rows]))
    settings.write_text(yaml.safe_dump({"sources": [{"type": "trace", "name": "made", "path": str(trace)}]}))
    return settings


def fleet(spokes: int) -> dict[str, str]:
    """Cluster files like the seed's three, with more GPUs, by name."""
    seeds = [PROJECT / "fleet" / "clusters" / name / "cluster.yaml" for name in ("no-osl-1", "ca-qc-1", "us-oh-1")]
    files = {}
    for number in range(spokes):
        source = seeds[number % len(seeds)]
        facts = read_cluster(str(source), source.read_bytes()).to_wire()
        facts |= {"name": f"{facts['name'][:-2]}-{number:02d}"}
        facts["pools"] = [facts["pools"][0] | {"name": "a100", "gpus": GPUS, "gpusPerNode": 8}]
        metadata = {"name": "carbonfleet-cluster", "namespace": "carbonfleet-fleet"}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        files[facts["name"]] = yaml.safe_dump(document | {"data": {"facts": yaml.safe_dump(facts)}})
    return files


def job(name: str, *, waits: bool = False) -> Object:
    """A job that starts at once, or one that waits until two days after the hub's start."""
    urgent = {"tier": "urgent"}
    earliest = START + timedelta(days=2)
    patient = {"tier": "standard", "maxDelay": "24h", "earliestStart": f"{earliest:%Y-%m-%dT%H:%M:%SZ}"}
    return {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "CarbonTrainingJob",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {
            "workload": {
                "model": "carbonfleet/tiny-qwen2",
                "dataset": {"name": "carbonfleet/tiny-instructions"},
                "training": {"steps": 60, "batchSize": 8, "sequenceLength": 64, "learningRate": 0.01},
            },
            "resources": {"gpuTypes": ["A100"], "duration": "2h"},
            "residency": {"dataClass": "internal"},
            "schedule": patient if waits else urgent,
            "objective": {"minimize": "carbon"},
            "baselineRegion": "us-east-2",
        },
    }


def eventually(check, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds:.0f} s")
        time.sleep(0.02)
