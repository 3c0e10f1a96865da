"""From an empty folder and the wheel: a fleet, a hub and two spokes by the printed steps alone, and a job."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from carbonfleet.kube import Kube, KubeError, ours, path
from carbonfleet.local.ports import free_port
from fixtures.forge_server import ForgeServer
from fixtures.git_server import HttpGitServer
from fixtures.hub_process import write_signals
from fixtures.installed_hub import TOKEN, InstalledHub
from fixtures.installed_spoke import TENANT, heard, join, play_the_kubelet, prepared_cluster
from fixtures.installed_wheel import Installed
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.printed_steps import commands, shell, shown, with_files
from fixtures.rendered import Container
from fixtures.simulated_kuberay import RAY, Pods, SimulatedKubeRay

PAGE = "cluster.md"
SPOKES = {"no-osl-1": ("--city Oslo", "EEA"), "ca-mtl-1": ("--region northamerica-northeast1", "CA")}
JOB = """\
apiVersion: carbonfleet.dev/v1alpha1
kind: CarbonTrainingJob
metadata: {name: first, namespace: team-a}
spec:
  workload: {model: carbonfleet/tiny-qwen2, dataset: {name: carbonfleet/tiny-instructions}}
  resources: {duration: 1h}
  residency: {dataClass: public}
  schedule: {tier: urgent}
"""


@dataclass
class NewUser:
    """A person at a shell, with the wheel, kubectl, git and keys of their own."""

    installed: Installed
    folder: Path
    closing: ExitStack
    spokes: dict[str, KubeApi] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = self.folder / ".ssh" / "id_ed25519"
        key.parent.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60)
        (self.folder / ".gitconfig").write_text("[user]\n email = new@user.example\n")
        (self.folder / "token").write_text(TOKEN)
        self.environment = {**self.installed.environment, "HOME": str(self.folder)}

    def types(self, *lines: str, kubeconfig: Path | str = "none") -> str:
        """Commands in a shell, in the folder."""
        return shell(list(lines), self.folder, Path(kubeconfig), **self.environment)

    def runs(self, container: Container) -> Container:
        """Have the container's process run, from the wheel."""
        container.program = [str(self.installed.binaries / "carbonfleet")]
        container.environment = {**self.environment, **container.environment}
        child = container.child()
        child.start()
        self.closing.callback(child.kill)
        return container


@pytest.fixture
def user(installed, empty) -> Iterator[NewUser]:
    """All that they started ends with the test."""
    with ExitStack() as closing:
        yield NewUser(installed, empty, closing)
    assert installed.visits() == []


def begin_fleet(user: NewUser) -> HttpGitServer:
    """What the page says first, and a push to a server whose repository is empty."""
    git = HttpGitServer(user.folder / "server", token=TOKEN)
    git.git("update-ref", "-d", "refs/heads/main")
    git.start()
    user.closing.callback(git.stop)
    user.types(
        *shown(PAGE, "1. The fleet repository"),
        f"git -C my-fleet remote add origin {git.url.replace('://', f'://person:{TOKEN}@')}",
        "git -C my-fleet push -q -u origin main",
    )
    return git


def install_hub(user: NewUser, git: HttpGitServer) -> InstalledHub:
    """What the page says of the hub, but for what needs a kubelet."""
    api = KubeApi(user.folder / "hub-api", free_port())
    api.folder.mkdir()
    api.start()
    user.closing.callback(api.stop)
    said = [line for line in shown(PAGE, "2. The hub") if not re.search(" exec | rollout ", line)]
    lines = [line.replace("https://git.example.org/fleet.git", git.url) for line in said]
    user.types(
        *with_files(lines, {"TOKEN_FILE": "token"}),
        "ln -s hub-key hub && ln -s hub-key.pub hub.pub",
        kubeconfig=api.kubeconfig,
    )
    (install,) = [line.partition(" | ")[0] for line in lines if "install hub" in line]
    objects = tuple(yaml.safe_load_all(user.types(install)))
    signals = {"CARBONFLEET_SIGNALS": str(write_signals(user.folder, datetime.now(UTC)))}
    container = user.runs(Container(api, objects, "carbonfleet-hub", user.folder / "hub-pod", signals))
    child = container.child()
    hub = InstalledHub(user.folder, api, git, ForgeServer("github"), objects, container, container.variables(), child)
    user.closing.callback(hub.forge.stop)
    return hub


def add_spoke(user: NewUser, hub: InstalledHub, name: str) -> None:
    """`spoke join` as the page says, and what it prints, from the cluster's file to the agent."""
    where, jurisdiction = SPOKES[name]
    root = user.folder / name
    root.mkdir()
    said = [line.replace("gpu-sto-1", name) for line in shown(PAGE, "3. Each spoke")]
    joins, checks, renews = [line.replace("--region eu-north-1", where) for line in said]
    text = user.types(joins)
    file = user.folder / "my-fleet" / "clusters" / name / "cluster.yaml"
    file.write_text(file.read_text().replace("<EEA>", jurisdiction).replace("<", "").replace(">", ""))
    user.types(
        f"carbonfleet validate {file}",
        f"git -C my-fleet commit -qam 'Say what {name} is' && git -C my-fleet switch -q main",
        f"git -C my-fleet merge -q --ff-only join/{name} && git -C my-fleet push -q",
    )
    user.spokes[name] = api = prepared_cluster(root / "api", "a100", 1)
    user.closing.callback(api.stop)
    agent = join(name, root, hub, api, text, **user.environment)
    play_the_kubelet(Kube.connect(api.kubeconfig))
    eventually(lambda: [each for each in hub.kube.list(ours("spokeclusters"))[0] if each["metadata"]["name"] == name])
    user.runs(agent)
    eventually(lambda: heard(hub, name))
    (check,) = [line for line in commands(text, 4) if line.startswith("carbonfleet")]
    assert check.replace("<of the spoke>", f"{name}.kubeconfig") == checks
    (user.folder / f"{name}.kubeconfig").symlink_to(api.kubeconfig)
    found = user.types(renews, checks, kubeconfig=hub.api.kubeconfig)
    assert " 0 missing, 0 unknown" in found, found


def train(user: NewUser, hub: InstalledHub) -> str:
    """A first job, applied to the hub; where it ran. KubeRay is played."""
    (user.folder / "job.yaml").write_text(JOB)
    assert "first" in user.types(*shown(PAGE, "4. A first job"), kubeconfig=hub.api.kubeconfig)

    def placed() -> tuple[str, str] | None:
        for name, api in user.spokes.items():
            for job in Kube.connect(api.kubeconfig).list(path(RAY, "rayjobs", TENANT))[0]:
                return name, job["metadata"]["name"]
        return None

    name, job = eventually(placed)
    kuberay = SimulatedKubeRay(Kube.connect(user.spokes[name].kubeconfig), Pods(), TENANT)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kuberay.says(job, "Running", "RUNNING", startTime=now)
    eventually(lambda: phase(hub) == "Running")
    kuberay.says(job, "Complete", "SUCCEEDED", startTime=now, endTime=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    eventually(lambda: phase(hub) == "Succeeded")
    return name


def phase(hub: InstalledHub) -> str:
    """Of the job, in one word."""
    try:
        found = hub.kube.get(ours("carbontrainingjobs", TENANT, "first"))
    except KubeError:
        return ""
    return str((found.get("status") or {}).get("phase", ""))


def test_a_new_user_gets_from_the_wheel_to_a_trained_job_by_the_printed_steps(user):
    git = begin_fleet(user)
    hub = install_hub(user, git)
    for name in SPOKES:
        add_spoke(user, hub, name)
    in_the_pod = {**user.environment, **hub.environment}
    (doctor,) = [line.partition(" -- ")[2] for line in shown(PAGE, "2. The hub") if " exec " in line]
    said = shell([doctor], user.folder, Path(hub.environment["KUBECONFIG"]), **in_the_pod)
    assert " 0 missing, 0 unknown" in said, said
    assert train(user, hub) == "no-osl-1"
