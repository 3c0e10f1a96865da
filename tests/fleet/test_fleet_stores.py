"""Where data lies and is saved is judged at the commit, in `policy check` and by the spoke, and holds no credential."""

import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.workload import DataPlace, Workload
from carbonfleet.cli import app
from carbonfleet.fleet import Refused, parse, render
from carbonfleet.fleet.check import notes_on, read_checkout, read_files
from carbonfleet.fleet.git.declared import read_policies
from carbonfleet.fleet.manifests import with_suspend
from carbonfleet.placement.rules import residency_verdict
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.spoke.admission import refusal_of
from carbonfleet.spoke.wanted import Folder, read_folder
from fixtures.fleet_values import SEED, facts_of, job_spec, place

STORES = """apiVersion: carbonfleet.dev/v1alpha1
kind: FleetPolicy
metadata: {name: stores}
spec:
  stores:
    - {name: lora-eu, uri: "s3://lora-eu/", region: eu-north-1, jurisdictions: [EU]}
    - {name: lora-us, uri: "s3://lora-us/", region: us-east-2, jurisdictions: [US]}
"""
STORED = {path: data for path, data in read_files(SEED).items() if path.startswith("policies/")} | {
    "policies/stores.yaml": STORES.encode()
}
SECRET = "hunter2"
UID = "dd5a1a75-3b8a-5b8d-ac22-d258b5105521"


def intent_to(uri: str, data_class: str = "personal", region: str | None = None):
    dataset = {"name": "acme/instructions"} | ({"region": region} if region else {})
    spec = job_spec(data_class, checkpoints={"uri": uri}, dataset=dataset)
    return place("llama", "no-osl-1", spec=spec)


def file_of(intent) -> bytes:
    return render(intent.decision, intent.spec, intent.record, facts_of("no-osl-1"))


def spoke_s_refusal(files, path: str) -> str | None:
    """Why the spoke does not begin the placement at a path, whoever wrote it."""
    policies = read_policies({name: data for name, data in files.items() if name.startswith("policies/")})
    folder = Folder("", facts_of("no-osl-1"), "", {path: files[path]}, policies=policies)
    wanted = read_folder("no-osl-1", folder)
    [one] = wanted.placements.values()
    refusal = refusal_of(one.placement, wanted, None, {})
    return refusal.reason if refusal else None


@pytest.mark.parametrize(
    ("uri", "region", "data_class", "reason"),
    [
        ("s3://lora-eu/runs", None, "personal", None),
        ("s3://lora-us/runs", None, "personal", "ResidencyPolicy"),
        ("s3://unknown/runs", None, "personal", "StoreUndeclared"),
        ("s3://unknown/runs", None, "public", None),
        ("s3://lora-eu/runs", facts_of("no-osl-1").region, "personal", None),
        ("s3://lora-eu/runs", "eu-north-1", "personal", None),
        ("s3://lora-eu/runs", "us-east-2", "personal", "ResidencyPolicy"),
        ("s3://lora-eu/runs", "ap-south-1", "personal", "StoreUndeclared"),
        ("s3://unknown/runs", "us-east-2", "public", None),
    ],
)
def test_commit_check_and_spoke_agree_on_where_data_lies_and_is_saved(
    repository, person, uri, region, data_class, reason
):
    (person.pull() / "policies/stores.yaml").write_text(STORES)
    person.push("Declare stores")
    repository.fetch()
    intent = intent_to(uri, data_class, region)
    result = repository.publish([intent]).results[intent.id]
    assert (result.reason if isinstance(result, Refused) else None) == reason
    files = read_files(SEED) | {"policies/stores.yaml": STORES.encode(), intent.path: file_of(intent)}
    assert [problem.path for problem in read_checkout(files).problems] == ([intent.path] if reason else [])
    assert spoke_s_refusal(files, intent.path) == reason


addresses = st.sampled_from([None, "s3://lora-eu/runs", "s3://lora-us", "s3://unknown/x", "/mnt/data", "https://a.b/c"])
regions = st.sampled_from([None, "norwayeast", "europe-north1", "eu-north-1", "us-east-2", "ap-south-1", "x", "1"])


@given(addresses, st.one_of(addresses, st.just("acme/data"), st.just("data.jsonl")), regions)
def test_a_placement_says_of_its_data_what_its_job_says(uri, dataset, region):
    """So that whoever judges the one judges the other."""
    given_of_dataset = {"name": dataset or "acme/data"} | ({"region": region} if region else {})
    spec = job_spec("personal", checkpoints={"uri": uri} if uri else {}, dataset=given_of_dataset)
    intent = place("llama", "no-osl-1", spec=spec)
    placement = parse(intent.path, file_of(intent))
    saved, read = spec.workload.data_places
    assert placement.places == (saved._replace(uri=f"{uri or '/checkpoints'}/{UID}"), read)
    policies = PolicySet(tuple(read_policies(STORED).policies))
    request, facts = ResidencyRequest(data_class="personal"), facts_of("no-osl-1")
    said = [
        residency_verdict(policies, "personal", "ml", request, facts, places).reason
        for places in (spec.workload.data_places, placement.places)
    ]
    assert said[0] == said[1]


@pytest.mark.parametrize("region", ["Frankfurt", "us east", "$(id)", "\u202e", "-", "x" * 64])
def test_a_region_that_is_none_is_named_and_never_begins(region):
    intent = intent_to("s3://lora-eu/runs", region="us-east-2")
    content = file_of(intent).decode().replace('dataset-region: "us-east-2"', f"dataset-region: {json.dumps(region)}")
    placement = parse(intent.path, content.encode())
    assert "must be a provider's region, or empty" in placement.differs.message


TOLD = (
    r' +placement.json: \|-\n +\{\n(?: +".*\n)+ +\}\n',
    r" +- name: LORA_PLACEMENT\n +valueFrom:\n +configMapKeyRef: .*placement.json\}\n",
)
"""What tells a training where it is placed."""
DATA_REGION = r" +carbonfleet.dev/dataset-region:.*\n"


@pytest.mark.parametrize("came_later", [TOLD, (*TOLD, DATA_REGION)], ids=["base-2", "base-1"])
def test_a_placement_of_a_former_template_is_read_and_paused_as_it_is(came_later):
    """What ran when the hub was replaced goes on: its file says nothing of where it is, or where the data lies."""
    intent = intent_to("s3://lora-eu/runs")
    text = file_of(intent).decode()
    for part in came_later:
        text, count = re.subn(part, "", text)
        assert count == 1
    former = text.encode()
    found = parse(intent.path, former)
    assert (found.differs, found.places[1]) == (None, DataPlace("dataset", region=""))
    paused = with_suspend(intent.path, former, suspended=True)
    assert b"placement.json" not in paused
    assert (parse(intent.path, paused).suspended, parse(intent.path, paused).edited) == (True, False)


def noted(files) -> dict[str, str]:
    return {note.path: note.message for note in notes_on(read_checkout(files))}


def test_a_store_that_nobody_declared_is_noted_where_it_is_allowed():
    files = read_files(SEED) | {"policies/stores.yaml": STORES.encode()}
    intents = {uri: intent_to(uri, "public") for uri in ("s3://lora-eu/runs", "s3://unknown/runs")}
    path = intents["s3://unknown/runs"].path
    assert path not in noted(files | {path: file_of(intents["s3://lora-eu/runs"])})
    assert noted(files | {path: file_of(intents["s3://unknown/runs"])})[path] == (
        f"nobody has declared where s3://unknown/runs/{UID} lies, and no policy limits where this job's data may be: "
        "add it to stores in a file of policies/"
    )
    refused = intent_to("s3://unknown/runs", "personal")
    assert path not in noted(files | {path: file_of(refused)})


def test_a_store_that_spokes_of_several_places_share_is_noted_until_it_is_declared():
    files = read_files(SEED)
    for name, store in (("no-osl-1", "one"), ("ca-qc-1", "one"), ("us-oh-1", "two")):
        path = f"clusters/{name}/cluster.yaml"
        text = re.sub(r"\n    store: .*", "", files[path].decode())
        files[path] = text.replace("    name: ", f"    store: {store}\n    name: ", 1).encode()
    says = (
        "its store one is also that of {}, which lie elsewhere: add it to stores in a file of policies/, or give each a"
    )
    assert noted(files) == {
        "clusters/ca-qc-1/cluster.yaml": f"{says.format('no-osl-1')} store of its own",
        "clusters/no-osl-1/cluster.yaml": f"{says.format('ca-qc-1')} store of its own",
    }
    declared = STORES.replace('lora-eu, uri: "s3://lora-eu/"', "one")
    assert noted(files | {"policies/stores.yaml": declared.encode()}) == {}


def test_notes_are_told_and_end_no_check(tmp_path):
    shutil.copytree(SEED, tmp_path / "fleet")
    intent = intent_to("s3://unknown/runs", "public")
    (tmp_path / "fleet" / intent.path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "fleet" / intent.path).write_bytes(file_of(intent))
    done = CliRunner().invoke(app, ["policy", "check", str(tmp_path / "fleet")])
    assert (done.exit_code, "nothing is wrong" in done.stdout) == (0, True)
    assert f"note: {intent.path}:1: nobody has declared where s3://unknown/runs/{UID} lies" in done.stderr


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://key:{SECRET}@bucket/x",
        f"s3://{SECRET}@bucket",
        f"https://example.org/x?X-Amz-Signature={SECRET}",
        f"https://example.org/x?token={SECRET}",
    ],
)
def test_credentials_in_an_address_are_refused_and_never_shown(uri):
    for field in ({"checkpoints": {"uri": uri}}, {"dataset": {"name": uri}}, {"model": uri}):
        with pytest.raises(ValidationError) as caught:
            Workload.model_validate({"model": "m", "dataset": {"name": "d"}} | field)
        assert all(SECRET not in error["msg"] for error in caught.value.errors())
    intent = intent_to("s3://lora-eu/runs")
    content = file_of(intent).replace(b"s3://lora-eu/runs", uri.encode())
    [problem] = [
        p for p in read_checkout(read_files(SEED) | {intent.path: content}).problems if "LORA_OUTPUT" in p.message
    ]
    assert SECRET not in str(problem)
    assert parse(intent.path, content).differs == problem
