"""A page as people start it, beside an API, a ledger and a grid's store that tests fill."""

import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import yaml

from carbonfleet.api import CarbonTrainingJob, SpokeCluster
from carbonfleet.api.job_status import CandidateStatus, Figures, JobStatus, Phase, PlacementStatus
from carbonfleet.api.report import AttemptPhase, JobRef, Progress, ReportSpec, Stint, Validation
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.clock import Clock
from carbonfleet.fleet.git import read_cluster
from carbonfleet.kube import Kube, ours
from carbonfleet.ledger import Document
from carbonfleet.ledger.store import Ledger
from carbonfleet.signals import Signals, SignalSettings, open_signals
from carbonfleet.signals.sources.demo import demo_value
from carbonfleet.sweep import SWEEP, TIER
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.ledger_values import entry

ROOT = Path(__file__).parents[2]
SPEC = {
    "workload": {"model": "carbonfleet/tiny-qwen2", "dataset": {"name": "carbonfleet/tiny-instructions"}},
    "resources": {"duration": "2h"},
    "residency": {"dataClass": "public"},
}
ZONES = {"NO-NO1": "no-osl-1", "CA-QC": "ca-qc-1", "US-MIDA-PJM": "us-oh-1"}


EXPECTED = Figures(
    energy_kwh=1.5,
    grams_co2e=62.0,
    grams_per_kwh=35.0,
    baseline_grams_co2e=800.0,
    saved_grams_co2e=738.0,
    saved_percent=92.25,
    baseline_region="us-east-2",
    cost_usd=4.0,
)
CANDIDATES = (
    CandidateStatus(
        cluster="no-osl-1",
        pool="a100",
        verdict="Chosen",
        reason="Best",
        message="the cleanest",
        cost_usd=4.0,
        grams_co2e=62.0,
        grams_per_kwh_window=35.0,
    ),
    CandidateStatus(
        cluster="us-oh-1",
        pool="a100",
        verdict="Feasible",
        reason="Worse",
        message="738 g more",
        cost_usd=2.5,
        grams_co2e=800.0,
        grams_per_kwh_window=510.0,
    ),
)


def minutes(count: float) -> datetime:
    """A moment from now on, to the second."""
    return (datetime.now(UTC) + timedelta(minutes=count)).replace(microsecond=0)


def grid_settings(folder: Path) -> dict[str, Any]:
    """Of a grid whose past is in the folder, or else of the demo's, whose future is known as well."""
    trace = folder / "grid.csv"
    source = {"type": "trace", "path": str(trace), "forecast": False} if trace.exists() else {"type": "demo"}
    return {"sources": [source], "store": f"sqlite:///{folder}/signals.sqlite"}


@dataclass
class Hub:
    """What a hub would have written, written by the test."""

    api: KubeApi
    folder: Path
    kube: Kube = field(init=False)

    def __post_init__(self) -> None:
        self.kube = Kube.connect(self.api.kubeconfig)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite"

    def write_grid(self) -> None:
        """Four weeks of a made grid in the store, as a hub keeps them; what is to come is forecast from them."""
        now, chance = datetime.now(UTC).replace(minute=0, second=0, microsecond=0), random.Random(1)
        lines = ["datetime_utc,zone,gco2_per_kwh,signal"]
        for zone in ZONES:
            for hour in (now - timedelta(hours=count) for count in range(28 * 24, -1, -1)):
                value = demo_value(zone, SignalKind.AVERAGE_LIFECYCLE, hour) or 0.0
                told = f"{value * chance.uniform(0.85, 1.15):.1f}"
                lines.append(f"{format_time(hour)},{zone},{told},average_lifecycle")
        (self.folder / "grid.csv").write_text("\n".join(lines))
        signals: Signals = open_signals(SignalSettings.model_validate(grid_settings(self.folder)), Clock())
        signals.refresh([(zone, SignalKind.AVERAGE_LIFECYCLE) for zone in ZONES])
        signals.close()

    def record(self, *entries: Any, evidence: Iterable[Document] = ()) -> None:
        """Lines in the ledger."""
        ledger = Ledger.at(self.ledger)
        ledger.record_all(entries, evidence)
        ledger.close()

    def join(self, name: str, ready: bool = True, **status: Any) -> SpokeCluster:
        """A spoke of the seed that was heard from."""
        path = f"clusters/{name}/cluster.yaml"
        facts = read_cluster(path, (ROOT / "fleet" / path).read_bytes())
        head = {"apiVersion": API_VERSION, "kind": "SpokeCluster", "metadata": {"name": name}}
        self.kube.create(ours("spokeclusters"), head | {"spec": facts.to_wire()})
        condition = {"type": "Ready", "status": str(ready), "reason": "Ready" if ready else "Unreachable"}
        condition |= {"message": "heard from" if ready else "silent for an hour", "lastTransitionTime": _now()}
        pools = [{"name": pool.name, "freeGpus": pool.gpus - 1} for pool in facts.pools]
        told = {"heartbeatTime": _now(), "pools": pools, "conditions": [condition], **status}
        return SpokeCluster.model_validate(
            self.kube.patch(ours("spokeclusters", name=name, subresource="status"), {"status": told})
        )

    def apply(self, name: str, namespace: str = "team-a", labels: dict[str, str] | None = None, **spec: Any) -> str:
        """A job; its UID."""
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
        head = {"apiVersion": API_VERSION, "kind": "CarbonTrainingJob", "metadata": metadata}
        made = self.kube.create(ours("carbontrainingjobs", namespace), head | {"spec": SPEC | spec})
        return str(made["metadata"]["uid"])

    def say(self, name: str, namespace: str = "team-a", **status: Any) -> None:
        """A job's status, as the hub writes it."""
        self.patch(name, JobStatus(**status).to_wire(), namespace)

    def patch(self, name: str, status: dict[str, Any], namespace: str = "team-a") -> None:
        """The same without the hub's model: whatever the API takes."""
        where = ours("carbontrainingjobs", namespace, name, "status")
        CarbonTrainingJob.model_validate(self.kube.patch(where, {"status": status}))

    def report(self, spoke: str, job: str, uid: str, **spec: Any) -> None:
        """An attempt's report, as its spoke writes it."""
        namespace = f"spoke-{spoke}"
        told = {
            "spoke": spoke,
            "job": {"namespace": "team-a", "name": job, "uid": uid},
            "placementId": "abcdefghijklmnop",
            "attempt": 1,
            "pool": "a100",
            "gpus": 1,
            "phase": "Running",
            "observedAt": _now(),
        }
        head = {"apiVersion": API_VERSION, "kind": "TrainingReport"}
        body = head | {"metadata": {"name": f"{job}-1", "namespace": namespace}, "spec": told | spec}
        self.kube.create(ours("trainingreports", namespace), body)


def fill(hub: Hub) -> None:
    """Three spokes, a job in each state that matters, a sweep, and a ledger of two months."""
    for name in ZONES.values():
        hub.join(name, ready=name != "us-oh-1")
    hub.write_grid()
    waits = hub.apply("waits")
    hub.say(
        "waits",
        phase=Phase.WAITING,
        cluster="no-osl-1",
        start=minutes(180),
        summary="Starts in three hours.",
        expected=EXPECTED,
        candidates=CANDIDATES,
    )
    runs = hub.apply("runs")
    progress = Progress(
        step=30,
        total_steps=60,
        train_loss=2.5,
        initial_validation_loss=6.6,
        validation_loss=3.1,
        validations=(Validation(step=15, loss=4.0, time=minutes(-30)), Validation(step=30, loss=3.1, time=minutes(-1))),
    )
    placed = PlacementStatus(
        cluster="no-osl-1",
        pool="a100",
        attempt=1,
        placement_id="abcdefghijklmnop",
        start=minutes(-60),
        path="clusters/no-osl-1/ml/runs.yaml",
        commit="0123456789abcdef" * 2,
    )
    hub.say(
        "runs",
        phase=Phase.RUNNING,
        cluster="no-osl-1",
        start=minutes(-60),
        first_start=minutes(-60),
        attempt=1,
        summary="Trains on no-osl-1.",
        expected=EXPECTED,
        progress=progress,
        placement=placed,
        candidates=CANDIDATES,
    )
    hub.report("no-osl-1", "runs", runs, startTime=minutes(-60).isoformat())
    asks = {
        "type": "Approved",
        "status": "False",
        "reason": "AwaitingReview",
        "message": "a person must agree: merge https://git.example.org/fleet/pulls/7",
        "lastTransitionTime": minutes(0),
    }
    hub.apply("asks", namespace="team-b")
    hub.say(
        "asks",
        "team-b",
        phase=Phase.PROPOSED,
        cluster="no-osl-1",
        start=minutes(90),
        expected=EXPECTED,
        summary="Waits for review.",
        conditions=(asks,),
    )
    hub.apply("blocked")
    hub.say("blocked", phase=Phase.BLOCKED, summary="No spoke can take the job.")
    for number, loss in ((1, 1.5), (2, 1.25)):
        hub.apply(f"sweep-{number}", labels={SWEEP: "small", TIER: "tier-1"})
        hub.say(
            f"sweep-{number}",
            phase=Phase.SUCCEEDED,
            cluster="no-osl-1",
            actual=EXPECTED,
            attempt=1,
            progress=Progress(step=60, total_steps=60, validation_loss=loss),
            summary="Trained.",
        )
    went = hub.apply("went")
    hub.say("went", phase=Phase.SUCCEEDED, cluster="ca-qc-1", start=minutes(-420), first_start=minutes(-420), attempt=2,
            actual=EXPECTED, summary="Trained on ca-qc-1, after a pause and a move.")  # fmt: skip
    paused = (Stint(start=minutes(-420), end=minutes(-360)), Stint(start=minutes(-300), end=minutes(-240)))
    first = ReportSpec(
        spoke="no-osl-1", job=JobRef(namespace="team-a", name="went", uid=went), placement_id="abcdefghijklmnop",
        attempt=1, pool="a100", gpus=1, phase=AttemptPhase.STOPPED, stints=paused, observed_at=minutes(-240),
    )  # fmt: skip
    report = Document.of(first.to_wire())
    same = {"job": "went", "job_uid": went, "namespace": "team-a"}
    hub.record(
        entry(
            3, attempt=1, phase="Stopped", start=minutes(-420), end=minutes(-240), report_digest=report.digest, **same
        ),
        entry(4, attempt=2, cluster="ca-qc-1", start=minutes(-230), end=minutes(-90), **same),
        evidence=[report],
    )
    ended = minutes(-600)
    hub.record(
        entry(
            1,
            job="waits",
            job_uid=waits,
            namespace="team-a",
            start=ended - timedelta(hours=2),
            end=ended,
            grams=62.0,
            operational_grams=62.0,
            embodied_grams=0.0,
            transfer_grams=0.0,
            baseline_grams=800.0,
        ),
        entry(2, job="gone", job_uid="gone", namespace="team-b"),
    )


def _now() -> str:
    return format_time(datetime.now(UTC))


def install(api: KubeApi) -> None:
    """The definitions, and namespaces for jobs and spokes."""
    done = api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    assert done.returncode == 0, done.stderr
    eventually(lambda: api.kubectl("get", "ctj,spoke,trep", "-A").returncode == 0)
    names = ("team-a", "team-b", *(f"spoke-{name}" for name in ZONES.values()))
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    done = api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(spaces))
    assert done.returncode == 0, done.stderr


class Page:
    """`carbonfleet ui` as a process."""

    def __init__(self, kubeconfig: Path, folder: Path, *options: str) -> None:
        settings = folder / "signals.yaml"
        settings.write_text(yaml.safe_dump(grid_settings(folder)))
        command = [
            *(Path(sys.executable).with_name("carbonfleet"), "ui", "--kubeconfig", kubeconfig),
            *("--ledger", folder / "ledger.sqlite", "--signals", settings, "--address", "127.0.0.1:0", *options),
        ]
        self.log = folder / "ui.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("the page is at "), self.log.read_text()
        self.url = line.removeprefix("the page is at ").strip().rstrip("/")

    def get(self, path: str = "/", **headers: str) -> requests.Response:
        """One request."""
        return requests.get(self.url + path, headers=headers, timeout=60, allow_redirects=False)

    def text(self, path: str = "/") -> str:
        """A page that must be there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def shows(self, text: str, path: str = "/") -> str:
        """A page, once it holds this text."""
        return str(eventually(lambda: found if text in (found := self.text(path)) else "", every=0.1))

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.process.terminate()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
