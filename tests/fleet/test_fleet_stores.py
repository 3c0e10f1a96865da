"""Where data is saved is judged at the commit, in `policy check` and by the spoke; no address holds a credential."""

import re
import shutil

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from carbonfleet.api.workload import Workload
from carbonfleet.cli import app
from carbonfleet.fleet import Refused, parse, render
from carbonfleet.fleet.check import notes_on, read_checkout, read_files
from carbonfleet.fleet.git.declared import read_policies
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
SECRET = "hunter2"
UID = "dd5a1a75-3b8a-5b8d-ac22-d258b5105521"


def intent_to(uri: str, data_class: str = "personal"):
    spec = job_spec(data_class, checkpoints={"uri": uri})
    return place("llama", "no-osl-1", spec=spec)


def file_of(intent) -> bytes:
    return render(intent.decision, intent.spec, intent.record, facts_of("no-osl-1"))


@pytest.mark.parametrize(
    ("uri", "data_class", "reason"),
    [
        ("s3://lora-eu/runs", "personal", None),
        ("s3://lora-us/runs", "personal", "ResidencyPolicy"),
        ("s3://unknown/runs", "personal", "StoreUndeclared"),
        ("s3://unknown/runs", "public", None),
    ],
)
def test_commit_check_and_spoke_agree_on_where_data_is_saved(repository, person, uri, data_class, reason):
    (person.pull() / "policies/stores.yaml").write_text(STORES)
    person.push("Declare stores")
    repository.fetch()
    intent = intent_to(uri, data_class)
    result = repository.publish([intent]).results[intent.id]
    assert (result.reason if isinstance(result, Refused) else None) == reason
    files = read_files(SEED) | {"policies/stores.yaml": STORES.encode(), intent.path: file_of(intent)}
    assert [problem.path for problem in read_checkout(files).problems] == ([intent.path] if reason else [])
    policies = read_policies({path: data for path, data in files.items() if path.startswith("policies/")})
    wanted = read_folder(
        "no-osl-1", Folder("", facts_of("no-osl-1"), "", {intent.path: file_of(intent)}, policies=policies)
    )
    [one] = wanted.placements.values()
    refusal = refusal_of(one.placement, wanted, None, {})
    assert (refusal.reason if refusal else None) == reason


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
