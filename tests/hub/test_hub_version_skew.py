"""A hub beside agents of the release before it, and agents beside the hub of the release before them.

In `fixtures/former_release` stands what an earlier version wrote of one job, and which fields its definitions had.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
import yaml
from hub_values import in_git

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase, Energy, EnergyMethod, Progress, ReportSpec, RunLog, Validation
from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.fleet.manifests import manifests, newest_form, parse
from carbonfleet.hub.observe import JobStage
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.hub.observe.reports import accepted, read
from carbonfleet.kube import Kube, Object, ours, path
from carbonfleet.spoke import HubLink
from fixtures.hub_process import ROOT
from fixtures.in_process_hub import NAMESPACE, InProcessHub, open_in_process_hub
from fixtures.kubeapi_server import KubeApi

FORMER = Path(__file__).parents[1] / "fixtures" / "former_release"
PLACEMENT = "clusters/no-osl-1/jobs/flow-8c0408/one.yaml"
REGION = "carbonfleet.dev/dataset-region"
CARD = "placement.json"


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[InProcessHub]:
    """A stack on which jobs run to their end."""
    stack = open_in_process_hub(tmp_path_factory.mktemp("skew"))
    yield stack
    stack.close()


@pytest.mark.parametrize(
    ("form", "told"),
    [(None, []), (1, []), (2, [REGION]), (3, [REGION, CARD]), (newest_form() + 1, [REGION, CARD])],
)
def test_a_spoke_is_written_the_newest_form_that_its_agent_reads(hub, form, told):
    """An agent refuses what is not of a form that it knows: it may ask for what the agent would leave out."""
    hub.spokes.form, name = form, f"form-{form or 'unsaid'}"
    hub.forward(2)
    hub.submit(name, "hold")
    (file,) = [each for each in hub.git.files() if each.endswith(f"/jobs/{NAMESPACE}/{name}.yaml")]
    content = hub.git.git("show", f"main:{file}").encode()
    config, job = manifests(file, content)
    assert [key for key in (REGION, CARD) if key in {**job["metadata"]["annotations"], **config["data"]}] == told
    assert (parse(file, content).differs, parse(file, content).edited) == (None, False)
    hub.spokes.finish(name)
    hub.until(name, Phase.SUCCEEDED)
    assert len(hub.ledger(name)) == 1


def former_objects() -> tuple[Object, Object, Object]:
    """The job while it ran, the last report on it, and the spoke."""
    job, report, spoke = yaml.safe_load_all((FORMER / "objects.yaml").read_text())
    return job, report, spoke


def test_what_an_earlier_hub_placed_is_the_job_that_runs_and_what_an_earlier_agent_reports_of_it_counts():
    job, report, spoke = former_objects()
    placed = parse(PLACEMENT, (FORMER / "placement.yaml").read_bytes())
    assert (placed.differs, placed.edited) == (None, False)
    assert CarbonTrainingJob.model_validate(job).status.phase is Phase.RUNNING
    now = datetime.fromisoformat(report["spec"]["observedAt"])
    heard = accepted([read(report, now)], in_git(placed), now)
    (counted,) = heard.reports.values()
    assert (counted.phase, counted.attempt) == (AttemptPhase.SUCCEEDED, 1)
    (state,) = JobStates().of([job], {placed.uid: placed}, heard.reports)
    assert (state.stage, state.phase_after(counted)) == (JobStage.ENDED, Phase.SUCCEEDED)
    assert SpokeStatus.model_validate(spoke["status"]).placement_form is None


@cache
def former_fields() -> frozenset[str]:
    """Each field of the definitions then, after its kind."""
    return frozenset((FORMER / "fields.txt").read_text().splitlines())


def schema_of(definition: Object) -> Object:
    """Of its one version."""
    (version,) = definition["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def fields_beneath(schema: Object, at: str) -> Iterator[tuple[Object, str, str]]:
    """Each field's parent, name and whole path."""
    for name, inner in (schema.get("properties") or {}).items():
        yield schema, name, f"{at}{name}"
        yield from fields_beneath(inner, f"{at}{name}.")
    for beneath in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(beneath, dict):
            yield {}, "", f"{at.removesuffix('.')}[]"
            yield from fields_beneath(beneath, f"{at.removesuffix('.')}[].")


def definitions() -> list[Object]:
    """Of this version."""
    return [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]


def test_definitions_only_ever_gain_fields():
    now = {
        f"{each['spec']['names']['kind']} {whole}"
        for each in definitions()
        for _, _, whole in fields_beneath(schema_of(each), "")
    }
    assert former_fields() - now == set()


@pytest.fixture
def former_api(make_kube_api) -> KubeApi:
    """An API with the definitions of the release before: today's without what came later."""
    api, made = make_kube_api(), definitions()
    for each in made:
        kind, schema = each["spec"]["names"]["kind"], schema_of(each)
        for parent, name, whole in [*fields_beneath(schema, "")]:
            if name and f"{kind} {whole}" not in former_fields():
                parent["properties"].pop(name, None)
    done = api.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(made))
    assert done.returncode == 0, done.stderr
    return api


def test_a_hub_of_the_release_before_takes_all_that_an_agent_says(former_api):
    """What its definitions don't have, its API leaves out."""
    kube, (_, former, spoke) = Kube.connect(former_api.kubeconfig), former_objects()
    kube.create(path("api/v1", "namespaces"), {"metadata": {"name": "spoke-no-osl-1"}})
    kube.create(
        ours("spokeclusters"),
        {key: spoke[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "no-osl-1"}},
    )
    link, at = HubLink(kube, "no-osl-1"), datetime.fromisoformat(former["spec"]["observedAt"])
    later = {
        "log": RunLog(uri="s3://lora/log", tail="step 1"),
        "energy": Energy(method=EnergyMethod.NVML, kwh=1.0, host_kwh=0.2, estimated_share=0.1),
        "progress": Progress(step=2, total_steps=4, validations=(Validation(step=1, loss=2.0, time=at),)),
    }
    said = ReportSpec.model_validate(former["spec"]).model_copy(update=later)
    link.write("one-1", said)
    kept = link.reports()["one-1"]
    assert (kept.phase, kept.log, kept.energy) == (said.phase, None, Energy(method=EnergyMethod.NVML, kwh=1.0))
    assert kept.progress == Progress(step=2, total_steps=4)
    link.beat(
        SpokeStatus(heartbeat_time=at, free="1/1 a100", runtime_problem="Ray is away", placement_form=newest_form())
    )
    status = kube.get(ours("spokeclusters", "", "no-osl-1"))["status"]
    assert status["free"] == "1/1 a100"
    assert not {"placementForm", "runtimeProblem"} & status.keys()
