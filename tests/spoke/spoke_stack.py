"""One spoke with everything around it, and the words to ask what has become of it."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import yaml
from pydantic import SecretStr

from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.api.spoke import SpokeCluster
from carbonfleet.clock import Clock
from carbonfleet.fleet import Place, Refused, Repository, object_name
from carbonfleet.kube import Kube, ours
from carbonfleet.local.ports import free_port
from carbonfleet.local.ray_head import RayHead
from carbonfleet.spoke import Agent, AgentSettings, FleetFolder, HubLink, RayJobs, RaySettings, Runtime
from carbonfleet.spoke.join import hub_rights
from fixtures.fleet_values import SEED, decide, job_spec, quick_settings, record, uid_of, window_on
from fixtures.git_server import GitServer
from fixtures.kubeapi_server import PATIENCE, KubeApi, eventually
from kubeapi import write_kubeconfig

SPOKE = "no-osl-1"
ROOT = Path(__file__).parents[2]
TRAIN = Path(__file__).parent / "workloads/lora/train.py"
FACTS = """\
name: no-osl-1
region: europe-north1
zone: "NO-NO1"
jurisdictions: [EEA]
runtime: ray
pools:
  - {name: sim, gpuType: A100, gpus: 8, memoryGib: 80, usdPerGpuHour: 2.5, simulated: true}
"""


@dataclass
class SpokeStack:
    """A hub's API, a Git server, a Ray head, and the agent of spoke no-osl-1 between them."""

    root: Path
    api: KubeApi
    git: GitServer
    ray: RayHead | None
    clock: Clock
    hub_kubeconfig: Path
    repository: Repository
    job: str = field(default_factory=lambda: f"llama-{secrets.token_hex(3)}")
    """A name of this test's own: the Ray head and the hub are shared."""
    settings: dict[str, object] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Agents in processes of their own, which would prune the next test's attempts."""

    @property
    def kube(self) -> Kube:
        """The hub, as its administrator."""
        return Kube.connect(self.api.kubeconfig)

    @property
    def attempt(self) -> str:
        """The first attempt's name."""
        return name_of(self.job)

    @property
    def file(self) -> str:
        """Its place in Git."""
        return f"clusters/{SPOKE}/jobs/ml/{self.job}.yaml"

    @property
    def store(self) -> Path:
        """Where attempts save."""
        return self.root / "store"

    def agent_settings(self) -> AgentSettings:
        """An agent that looks often."""
        quick = {"poll_seconds": 0.1, "sync_seconds": 0.2, "progress_seconds": 0.3}
        place = {"state": self.root / "state", "fleet_url": self.git.url}
        return AgentSettings.model_validate({"spoke": SPOKE, **quick, **place, **self.settings})

    def agent(self, runtime: Runtime | None = None) -> Agent:
        """An agent in this process, to be driven pass by pass."""
        settings = self.agent_settings()
        repository = quick_settings(self.git.url, settings.state / "fleet.git")
        source = FleetFolder(SPOKE, repository, self.clock)
        hub = HubLink(Kube.connect(self.hub_kubeconfig), SPOKE)
        self.agents.append(Agent(settings, source, runtime or self.runtime(), hub, self.clock))
        return self.agents[-1]

    def runtime(self) -> RayJobs:
        """Ray, with the training that only counts."""
        command = (sys.executable, str(TRAIN))
        token = SecretStr(self.ray.token)
        settings = RaySettings(
            address=self.ray.address,
            token=token,
            command=command,
            directory=self.root,
            store=self.store,
            datasets=self.root / "datasets",
            models=self.root / "models",
            output_folders=(self.root / "shared",),
            private_networks="10.1.0.0/16",
        )
        return RayJobs(SPOKE, settings, self.clock)

    def ask_ray(self, method: str, where: str) -> requests.Response:
        """A request to the Ray head, past the agent."""
        headers = {"Authorization": f"Bearer {self.ray.token}"}
        return requests.request(method, self.ray.address + where, headers=headers, timeout=60)

    def ray_job(self, name: str) -> dict[str, object] | None:
        """What Ray knows of a submission."""
        answer = self.ask_ray("GET", f"/api/jobs/{name}")
        return answer.json() if answer.ok else None

    def stop_training(self) -> None:
        """End what this test has started."""
        for job in self.ask_ray("GET", "/api/jobs/").json():
            if job["status"] in {"PENDING", "RUNNING"}:
                self.ask_ray("POST", f"/api/jobs/{job['submission_id']}/stop")

    def publish(self, *intents: object) -> None:
        """Write to the fleet repository as the hub does."""
        published = self.repository.publish(intents)
        refused = {name: result for name, result in published.results.items() if isinstance(result, Refused)}
        assert not refused, refused

    def reports(self) -> dict[str, ReportSpec]:
        """What the hub has heard."""
        items, _ = self.kube.list(ours("trainingreports", f"spoke-{SPOKE}"))
        return {item["metadata"]["name"]: ReportSpec.model_validate(item["spec"]) for item in items}

    def phase(self, name: str) -> AttemptPhase | None:
        """The phase that the hub knows of an attempt."""
        report = self.reports().get(name)
        return report.phase if report else None

    def spoke(self) -> SpokeCluster:
        """The spoke as the hub has it."""
        return SpokeCluster.model_validate(self.kube.get(ours("spokeclusters", "", SPOKE)))

    def hold(self, step: int = 1) -> None:
        """Keep the training, which is to begin, at a step until `let_go`."""
        output = self.store / uid_of(self.job)
        output.mkdir(parents=True)
        (output / "hold").write_text(str(step))

    def let_go(self) -> None:
        """Let it train on."""
        (self.store / uid_of(self.job) / "hold").unlink()

    def starts(self) -> list[str]:
        """One line for each process that has trained for the job: attempt and pid."""
        log = self.store / uid_of(self.job) / "starts.log"
        return log.read_text().splitlines() if log.exists() else []

    def cycle_until(self, agent: Agent, what: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Drive an agent until something is so."""

        def step() -> object:
            agent.cycle()
            return what()

        eventually(step, seconds, every=0.1)


def intent(job: str, steps: int = 20, attempt: int = 1, gpus: int = 2, **workload: object) -> Place:
    """Place job `ml/<job>` on the spoke's simulated pool."""
    window = window_on(SPOKE, gpus, "sim")
    decision = decide(job, SPOKE, window=window, attempt=attempt)
    spec = job_spec(training={"steps": steps}, **workload)
    return Place(decision, spec, record(decision, window.start))


def name_of(job: str, attempt: int = 1) -> str:
    """The attempt's name everywhere: RayJob, submission, report."""
    return object_name(job, uid_of(job), attempt)


def seeded(root: Path) -> Path:
    """The tests' fleet seed, with a simulated pool on our spoke."""
    shutil.copytree(SEED, root)
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "carbonfleet-cluster", "namespace": "carbonfleet-fleet"},
        "data": {"facts": FACTS},
    }
    (root / f"clusters/{SPOKE}/cluster.yaml").write_text(yaml.safe_dump(document))
    return root


def join_hub(api: KubeApi, spoke: str) -> Path:
    """Give a spoke its rights and its token, as `carbonfleet spoke join` says; its kubeconfig."""
    crds = [argument for file in sorted((ROOT / "crds").glob("*.yaml")) for argument in ("-f", str(file))]
    assert api.kubectl("apply", *crds).returncode == 0
    applied = api.kubectl("apply", "-f", "-", stdin=hub_rights(spoke))
    assert applied.returncode == 0, applied.stderr
    eventually(lambda: api.kubectl("get", "spokeclusters").returncode == 0)
    token = api.kubectl("-n", f"spoke-{spoke}", "create", "token", "agent").stdout.strip()
    path = spoke_kubeconfig(api, spoke)
    write_kubeconfig(path, api.url, token, certificate=api.certificate)
    return path


def spoke_kubeconfig(api: KubeApi, spoke: str = SPOKE) -> Path:
    """Where `join_hub` puts the spoke's kubeconfig."""
    return api.folder / f"kubeconfig-spoke-{spoke}"


def register(kube: Kube, spoke: str, facts: str) -> None:
    """What the hub does for each cluster file: a SpokeCluster."""
    body = {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "SpokeCluster",
        "metadata": {"name": spoke},
        "spec": yaml.safe_load(facts),
    }
    kube.create(ours("spokeclusters"), body)


@pytest.fixture(scope="session")
def hub_api(tmp_path_factory) -> Iterator[KubeApi]:
    """A hub that knows the spoke, for all tests; each has names of its own."""
    api = KubeApi(tmp_path_factory.mktemp("hub"), free_port())
    api.start()
    join_hub(api, SPOKE)
    register(Kube.connect(api.kubeconfig), SPOKE, FACTS)
    yield api
    api.stop()


@pytest.fixture
def bare_stack(tmp_path: Path, hub_api: KubeApi) -> Iterator[SpokeStack]:
    """A stack of this test's own on the shared hub, without Ray."""
    with opened(tmp_path, hub_api, None) as made:
        yield made


@pytest.fixture
def stack(tmp_path: Path, hub_api: KubeApi, ray_head: RayHead) -> Iterator[SpokeStack]:
    """The same with the shared Ray head."""
    with opened(tmp_path, hub_api, ray_head) as made:
        yield made
        made.stop_training()


def forget_holder(kube: Kube) -> None:
    """An agent of an earlier test held the name."""
    kube.patch(ours("spokeclusters", "", SPOKE, "status"), {"status": None})


@contextmanager
def opened(root: Path, api: KubeApi, ray: RayHead | None) -> Iterator[SpokeStack]:
    """A Git server with the seed, and whoever uses it."""
    git = GitServer(root / "server", seeded(root / "seed"))
    git.start()
    repository = Repository(quick_settings(git.url, root / "hub"), Clock())
    forget_holder(Kube.connect(api.kubeconfig))
    made = SpokeStack(root, api, git, ray, Clock(), spoke_kubeconfig(api), repository)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait(PATIENCE)
        for agent in made.agents:
            agent.close()
        git.stop()
