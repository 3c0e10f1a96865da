"""`validate` and the Kubernetes API agree on every job: for each field many values are put in, and both are asked."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
import requests

from carbonfleet.cli.files.findings import Severity
from carbonfleet.cli.files.manifests import read_manifests
from fixtures.kubeapi_server import KubeApi
from fixtures.mutated_jobs import JOB, of_the_spec, of_the_whole


@pytest.fixture(scope="module")
def session(crd_api) -> requests.Session:
    found = requests.Session()
    found.trust_env, found.verify = False, str(crd_api.certificate)
    found.headers["Authorization"] = f"Bearer {crd_api.token}"
    return found


def refusal_of_api(api: KubeApi, session: requests.Session, job: dict[str, Any]) -> str:
    """What the API says on a create with strict validation, as kubectl asks for it; empty where it takes the job."""
    if (job.get("apiVersion"), job.get("kind")) != (JOB["apiVersion"], JOB["kind"]):
        return "no matches for kind"
    metadata = job.get("metadata")
    namespace = (metadata.get("namespace") if isinstance(metadata, dict) else None) or "default"
    path = f"/apis/carbonfleet.dev/v1alpha1/namespaces/{quote(str(namespace), safe='')}/carbontrainingjobs"
    answer = session.post(f"{api.url}{path}?fieldValidation=Strict&dryRun=All", json=job, timeout=60)
    is_label = (
        isinstance(namespace, str) and len(namespace) <= 63 and re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", namespace)
    )
    return "" if answer.ok or (is_label and answer.status_code == 404) else answer.text


def refusal_here(job: dict[str, Any]) -> str:
    found = read_manifests(["-"], json.dumps(job).encode())
    wrong = [str(finding) for finding in found.findings if finding.severity is Severity.ERROR]
    assert bool(wrong) != bool(found.jobs), (wrong, found.jobs)
    return "; ".join(wrong)


@pytest.mark.parametrize("jobs", [of_the_spec, of_the_whole])
def test_validate_refuses_exactly_what_the_api_refuses(crd_api, session, jobs):
    tried, disagreed = [0, 0], []
    for job in jobs():
        there, here = refusal_of_api(crd_api, session, job), refusal_here(job)
        tried[bool(there)] += 1
        if bool(there) != bool(here):
            disagreed.append((json.dumps(job)[:400], there[:200], here[:200]))
    assert disagreed == []
    assert min(tried) > 100, "both outcomes are tried"
