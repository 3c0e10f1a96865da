"""Where data is saved is judged at the commit, in `policy check` and by the spoke; no address holds a credential."""

import pytest
from pydantic import ValidationError

from carbonfleet.api.workload import Workload
from carbonfleet.fleet import Refused, parse, render
from carbonfleet.fleet.check import read_checkout, read_files
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
