"""The whole stack on one machine: Kubernetes API, Git server, Ray, spokes and hub, each a process."""

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import yaml

from carbonfleet.clock import VARIABLE as CLOCK_VARIABLE
from carbonfleet.clock import Clock
from carbonfleet.fleet.git import read_cluster
from carbonfleet.kube import Kube, KubeError, ours, path
from carbonfleet.local import fleet_server
from carbonfleet.local.child import Child, ChildError
from carbonfleet.local.ports import free_port
from carbonfleet.local.ray_head import HeadSettings, RayHead, RayHeadError
from carbonfleet.private_files import make_folder, replace_file
from carbonfleet.shipped import FLEET_SEED, SHIPPED
from carbonfleet.spoke import gpu_resource
from carbonfleet.spoke.join import hub_rights

HUB_NAMESPACE: Final = "carbonfleet-system"
TOKEN_SECONDS: Final = 10 * 365 * 86_400
"""The stack's clock may run fast, and tokens of an embedded stack are worth nothing elsewhere."""
MOST_RAY_STARTS: Final = 5
"""A head that keeps ending is given up."""
_LONGEST_START_SECONDS: Final = 120.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What a stack is made of."""

    state: Path
    """Everything is kept here; a stack that is started on it again goes on where it was."""
    clock: Clock
    signals: Path
    """The hub's signal settings."""
    baseline_region: str = "us-east-2"
    namespaces: tuple[str, ...] = ("team-a", "team-b")
    """For jobs."""
    cpus: int = 2
    """For training, over all spokes together."""


class Stack:
    """Starts everything, keeps it running, and ends exactly what it started."""

    def __init__(self, settings: StackSettings, say: Say = lambda _: None) -> None:
        self.settings = settings
        self._say = say
        self._state = settings.state
        self.kubeconfig = self._state / "kubeconfig"
        self.repository = self._state / "git" / fleet_server.NAME
        self.git_token = self._state / "git.token"
        self.ledger = self._state / "hub" / "ledger.sqlite"
        self.environment = self._state / "environment"
        """A file that a shell reads, so that commands find this stack and go by its clock."""
        self._children: dict[str, Child] = {}
        self._ray: RayHead | None = None
        self._watch_over = threading.Event()
        self._beyond_help: ChildError | RayHeadError | None = None
        self._keeper: threading.Thread | None = None
        self._ray_starts = 0
        self._behind: set[str] = set()
        """Spokes that were started with an earlier Ray head's address."""
        self.git_url = ""
        self.page_url = ""
        """Of the live page."""

    def up(self) -> None:
        """Start everything. Raises ChildError or RayHeadError, after which `down` cleans up."""
        make_folder(self._state)
        with ThreadPoolExecutor(1, "ray") as beside:
            ray = beside.submit(self._start_ray)
            self._start_git()
            self._start_api()
            self.write_environment()
            self._install()
            self._start_hub()
            self._start_ui()
            ray.result()
        for cluster in self.clusters():
            self._start_spoke(cluster)
        self._keeper = threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True)
        self._keeper.start()
        self._await_spokes(seconds=120)
        fleet_server.await_port(self._children["ui"], int((self._state / "ui.port").read_text()))
        self._say(f"live page at {self.page_url}")

    def down(self) -> None:
        """End what was started, the last first."""
        self._watch_over.set()
        if self._keeper is not None:
            self._keeper.join(_LONGEST_START_SECONDS)
        for child in reversed(self._children.values()):
            child.stop()
        if self._ray is not None:
            self._ray.stop()
        self._forget_ray()

    def check(self) -> None:
        """Raises ChildError or RayHeadError when a process ended again and again, and is not started any more."""
        if self._beyond_help is not None:
            raise self._beyond_help

    def child(self, name: str) -> Child:
        """One process: `api`, `git`, `hub`, or a spoke by its name."""
        return self._children[name]

    def clusters(self) -> list[str]:
        """The spokes of the seed, by name."""
        folders = (FLEET_SEED / "clusters").iterdir()
        return sorted(folder.name for folder in folders if (folder / "cluster.yaml").exists())

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the real kubectl as the administrator."""
        return subprocess.run(
            [str(kubectl()), *arguments],
            input=stdin,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def write_environment(self) -> None:
        """Write the file that a shell reads."""
        values = {
            "KUBECONFIG": self.kubeconfig,
            "CARBONFLEET_FLEET_URL": self.git_url,
            "CARBONFLEET_FLEET_TOKEN_FILE": self.git_token,
            "CARBONFLEET_SIGNALS": self.settings.signals.resolve(),
            "CARBONFLEET_LEDGER": self.ledger,
            CLOCK_VARIABLE: self.settings.clock.encode(),
        }
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
        lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
        replace_file(self.environment, "\n".join((*lines, "")))

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> Child:
        command = [sys.executable, "-m", module, *arguments]
        clock = {CLOCK_VARIABLE: self.settings.clock.encode()}
        child = Child(name, command, self._state / "logs" / f"{name}.log", clock | environment)
        self._children[name] = child
        child.start()
        return child

    def _start_api(self) -> None:
        ready = self._state / "api" / "ready"
        ready.unlink(missing_ok=True)
        port = _kept(self._state / "api.port", lambda: str(free_port()))
        token = _kept(self._state / "api.token", lambda: secrets.token_hex(24))
        options = ["--state", str(self._state / "api"), "--port", port, "--ready-file", str(ready)]
        options += ["--kubeconfig", str(self.kubeconfig)]
        api = self._start("api", "kubeapi", *options, CARBONFLEET_API_TOKEN=token)
        url = api.await_file(ready, seconds=60)
        self._say(f"Kubernetes API (embedded) at {url}")

    def _start_git(self) -> None:
        fleet_server.seed(self._state / "git", FLEET_SEED)
        port = int(_kept(self._state / "git.port", lambda: str(free_port())))
        _kept(self.git_token, lambda: secrets.token_hex(24))
        server = fleet_server.server(self._state / "git", port, self.git_token, self._state / "logs" / "git.log")
        self._children["git"] = server
        server.start()
        fleet_server.await_port(server, port)
        self.git_url = f"http://127.0.0.1:{port}/{fleet_server.NAME}"
        self._say(f"Git server with the fleet repository at {self.git_url}, its token in {self.git_token}")

    def _start_ray(self) -> None:
        resources = {
            gpu_resource(facts["name"], pool["name"]): float(pool["gpus"])
            for facts in map(self._facts, self.clusters())
            for pool in facts["pools"]
        }
        short = Path(_kept(self._state / "ray.directory", lambda: tempfile.mkdtemp(prefix="cf-ray-")))
        python_path = os.pathsep.join([str(SHIPPED / "workloads"), os.environ.get("PYTHONPATH", "")])
        environment = {"PYTHONPATH": python_path, "HF_HUB_OFFLINE": "1"}
        # Kept at once: when something else fails to start, `down` must find it.
        self._ray_starts += 1
        self._ray = RayHead.start(HeadSettings(short, resources, self.settings.cpus, environment=environment))
        self._say(f"Ray head for all spokes at {self._ray.address}")

    def _forget_ray(self) -> None:
        """Remove the head's folder, which holds nothing that a later head could use."""
        kept = self._state / "ray.directory"
        folder = Path(kept.read_text().strip()) if kept.exists() else None
        if folder is not None and RayHead.find(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            kept.unlink()

    def _facts(self, cluster: str) -> dict[str, Any]:
        file = FLEET_SEED / "clusters" / cluster / "cluster.yaml"
        return read_cluster(str(file), file.read_bytes()).to_wire()

    def _install(self) -> None:
        """CRDs, namespaces and rights: the same manifests that a real cluster gets."""
        hub = SHIPPED / "kustomize" / "base" / "hub"
        names = [*self.settings.namespaces, *(f"spoke-{name}" for name in self.clusters())]
        spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
        self._apply("--server-side", "-f", str(SHIPPED / "crds"))
        page = SHIPPED / "kustomize" / "components" / "ui"
        files = hub / "namespace.yaml", hub / "rbac.yaml", page / "rbac.yaml"
        self._apply(*chain.from_iterable(("-f", str(file)) for file in files))
        self._apply("-f", "-", stdin=yaml.safe_dump_all([*spaces]))
        self._apply("-f", "-", stdin="---\n".join(hub_rights(name) for name in self.clusters()))

    def _apply(self, *arguments: str, stdin: str = "") -> None:
        done = self.kubectl("apply", *arguments, stdin=stdin)
        if done.returncode:
            raise ChildError(f"kubectl apply {' '.join(arguments)}: {done.stderr.strip()}")

    def _account(self, namespace: str, name: str) -> Path:
        """A kubeconfig of a service account: what the hub and each spoke hold, and no more."""
        file = self._state / "accounts" / f"{namespace}.{name}.kubeconfig"
        account = path("api/v1", "serviceaccounts", namespace, name, "token")
        issued = Kube.connect(self.kubeconfig).create(account, {"spec": {"expirationSeconds": TOKEN_SECONDS}})
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": issued["status"]["token"]}
        replace_file(file, yaml.safe_dump(config))
        return file

    def _start_hub(self) -> None:
        options = ["--fleet-url", self.git_url, "--fleet-token-file", str(self.git_token)]
        options += ["--state", str(self._state / "hub")]
        account = self._account(HUB_NAMESPACE, "carbonfleet-hub")
        options += ["--kubeconfig", str(account), "--signals", str(self.settings.signals)]
        options += ["--baseline-region", self.settings.baseline_region]
        self._start("hub", "carbonfleet", "hub", "run", *options)
        self._say("hub operator (Kopf) started")

    def _start_ui(self) -> None:
        port = int(_kept(self._state / "ui.port", lambda: str(free_port())))
        options = ["--kubeconfig", str(self._account(HUB_NAMESPACE, "carbonfleet-ui")), "--ledger", str(self.ledger)]
        options += ["--signals", str(self.settings.signals), "--address", f"127.0.0.1:{port}"]
        self._start("ui", "carbonfleet", "ui", *options)
        self.page_url = f"http://127.0.0.1:{port}/"

    def _start_spoke(self, cluster: str) -> None:
        ray = self._ray
        if ray is None:
            raise ChildError("the Ray head is not up")
        token, state = self._state / "ray.token", self._state / "spokes" / cluster
        replace_file(token, ray.token)
        options = {
            "--spoke": cluster,
            "--fleet-url": self.git_url,
            "--fleet-token-file": str(self.git_token),
            "--runtime": "ray",
            "--ray-address": ray.address,
            "--ray-token-file": str(token),
            "--hub-kubeconfig": str(self._account(f"spoke-{cluster}", "agent")),
            "--state": str(state),
            "--store": str(self._state / "store" / cluster),  # its own, as its cluster file names no other
            "--poll-seconds": "0.5",
            "--sync-seconds": "1",
            "--progress-seconds": "2",
        }
        self._start(cluster, "carbonfleet", "spoke", "run", *chain.from_iterable(options.items()))
        self._say(f"spoke {cluster} started")

    def _await_spokes(self, seconds: float) -> None:
        """Wait until every spoke has reported to the hub."""
        kube, deadline = Kube.connect(self.kubeconfig), time.monotonic() + seconds
        missing = set(self.clusters())
        while missing and time.monotonic() < deadline:
            self.check()
            with suppress(KubeError):
                spokes, _ = kube.list(ours("spokeclusters"))
                missing -= {s["metadata"]["name"] for s in spokes if (s.get("status") or {}).get("heartbeatTime")}
            time.sleep(0.1)
        if missing:
            raise ChildError(f"{', '.join(sorted(missing))} did not report to the hub within {seconds:.0f} s")
        self._say("every spoke has reported to the hub")

    def wait(self) -> None:
        """Stay until Ctrl-C. Raises ChildError or RayHeadError when a process can't be kept running."""
        while not self._watch_over.wait(1.0):
            self.check()

    def _keep_alive(self) -> None:
        """What Kubernetes would do: start a process again that ended by itself."""
        while not self._watch_over.wait(1.0):
            try:
                self._revive_ray()
                for child in self._children.values():
                    if not child.is_alive and not self._watch_over.is_set():
                        self._say(f"{child.name} ended; starting it again ({os.path.relpath(child.log)} says why)")
                        child.revive()
            except KubeError:
                continue  # the API is being started too
            except (ChildError, RayHeadError) as error:
                self._beyond_help = error
                return

    def _revive_ray(self) -> None:
        """A new head has another address, which the spokes are told when they are started."""
        if self._ray is not None and not self._ray.runs() and not self._watch_over.is_set():
            if self._ray_starts >= MOST_RAY_STARTS:
                raise RayHeadError("the Ray head keeps ending")
            self._say("the Ray head ended; starting it and the spokes again, which take their attempts up")
            self._start_ray()
            self._behind = set(self.clusters())
        for cluster in sorted(self._behind):
            self._children[cluster].stop()
            self._start_spoke(cluster)
            self._behind.discard(cluster)


def kubectl() -> Path:
    """The kubectl that came with the `local` extra."""
    return Path(sys.executable).with_name("kubectl")


def _kept(file: Path, make: Callable[[], str]) -> str:
    """A value that is made once and kept in a private file."""
    if not file.exists():
        replace_file(file, make())
    return file.read_text().strip()
