"""The dashboard's panels and a real Prometheus that scrapes a hub which has worked: each panel shows something."""

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
import yaml
from rendering import prometheus

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.ports import free_port
from fixtures.hub_process import SPEED, START, begin, install_crds, open_hub_stack
from fixtures.kubeapi_server import eventually
from fixtures.rendered import KUSTOMIZE

HELD = "Jobs held, by reason"
"""Has a series only while something is held."""
BUDGET = """\
apiVersion: carbonfleet.dev/v1alpha1
kind: FleetPolicy
metadata: {name: budgets}
spec:
  budget: {carbonKgPerMonth: 1000}
"""


def queries() -> dict[str, str]:
    """By panel's title."""
    spec = importlib.util.spec_from_file_location("dashboard", KUSTOMIZE / "components/monitoring/dashboard.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return {panel["title"]: each["expr"] for panel in script.dashboard()["panels"] for each in panel.get("targets", ())}


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[str]:
    """A Prometheus that looks at a hub twice a second; its address."""
    scrape = {"job_name": "hub", "scrape_interval": "500ms", "scrape_timeout": "500ms"}
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump({"scrape_configs": [scrape | {"static_configs": [{"targets": [target]}]}]}))
    address = f"127.0.0.1:{free_port()}"
    command = [prometheus("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(60)


def found_by(address: str, query: str) -> list[dict]:
    """The series that a query finds now; none while Prometheus begins."""
    try:
        answer = requests.get(f"{address}/api/v1/query", params={"query": query}, timeout=30)
    except requests.ConnectionError:
        return []
    assert answer.status_code in (200, 503), (query, answer.text)
    return json.loads(answer.text)["data"]["result"] if answer.status_code == 200 else []


@pytest.mark.skipif(
    not prometheus("prometheus"), reason="no Prometheus: Debian's package could not be unpacked (see the Makefile)"
)
def test_each_panel_shows_what_a_hub_that_has_worked_says(make_kube_api, tmp_path):
    api = make_kube_api(environment={VARIABLE: Clock.starting_at(START, SPEED).encode()})
    install_crds(api)
    stack = open_hub_stack(tmp_path / "stack", api, Clock.starting_at(START, SPEED))
    served = f"127.0.0.1:{free_port()}"
    stack.options = ("--metrics", served)
    stack.change("Limit the month", lambda work: (work / "policies/budgets.yaml").write_text(BUDGET))
    try:
        begin(stack)
        stack.submit("done")
        stack.wait("done", Phase.SUCCEEDED)
        with scraping(served, tmp_path) as address:
            empty = {title: query for title, query in queries().items() if title != HELD}
            assert len(empty) == len(queries()) - 1

            def all_show() -> bool:
                for title in [title for title, query in empty.items() if found_by(address, query)]:
                    del empty[title]
                return not empty

            with suppress(AssertionError):
                eventually(all_show, 60, every=0.5)
            assert empty == {}
    finally:
        stack.close()
        stack.git.stop()
