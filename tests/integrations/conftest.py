"""A hub, and DAGs that Airflow itself has run against it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.ports import free_port
from fixtures.hub_process import SPEED, START, HubStack, begin, clock_of, install_crds, open_hub_stack
from fixtures.kubeapi_server import KubeApi

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
AIRFLOW = Path(sys.prefix) / "airflow"
"""Its environment, which the Makefile makes."""
PAGE = ROOT / "docs" / "howto" / "airflow.md"
BEHAVIOURS = {"fails-once": "fail-first", "fails": "fail"} | dict.fromkeys(
    ("holds", "is-too-slow", "is-too-slow-on-a-worker"), "hold"
)
WAYS = {"holds": "kill", "is-too-slow": "late"}
DAGS = (
    *("trains", "waits-on-a-worker", "fails-once", "fails", "is-wrong", "holds", "is-too-slow"),
    *("is-too-slow-on-a-worker", "window", "window-on-a-worker", "nowhere", "nightly_training"),
)
SECONDS = 840.0
"""That all of it may take, far longer than it does."""


@dataclass(frozen=True)
class Runs:
    """What came of the DAGs."""

    stack: HubStack
    dags: Mapping[str, Any]
    output: str


@pytest.fixture(scope="session")
def airflow_stack(tmp_path_factory) -> Iterator[HubStack]:
    """A hub that leads, with simulated spokes."""
    users = {"airflow": ("token-of-airflow-for-tests", "")}
    clock = Clock.starting_at(START, SPEED)
    api = KubeApi(tmp_path_factory.mktemp("api"), free_port(), users, environment={VARIABLE: clock.encode()})
    api.start()
    install_crds(api)
    stack = open_hub_stack(tmp_path_factory.mktemp("stack") / "stack", api, clock_of(api))
    stack.spokes.behaviours |= BEHAVIOURS
    try:
        begin(stack)
        yield stack
    finally:
        stack.close()
        stack.git.stop()
        api.stop()


@pytest.fixture(scope="session")
def runs(airflow_stack: HubStack, tmp_path_factory) -> Runs:
    """All DAGs, one after another in one process of Airflow, since its start takes the longest."""
    if not (AIRFLOW / "home" / "airflow.db").exists():
        pytest.skip("Airflow is not installed: make tools")
    folder = tmp_path_factory.mktemp("airflow")
    shutil.copytree(HERE / "dags", folder / "dags")
    _write_example(folder / "dags", airflow_stack.namespace)
    _allow(airflow_stack)
    shutil.copytree(AIRFLOW / "home", folder / "home")
    words = [f"{WAYS.get(name, 'test')}:{name}" for name in DAGS]
    done = subprocess.run(
        [AIRFLOW / "bin" / "python", HERE / "airflow_runs.py", folder / "dags", folder / "found.json", *words],
        env=_environment(airflow_stack, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-8000:]
    return Runs(airflow_stack, json.loads((folder / "found.json").read_text()), output)


def _environment(stack: HubStack, folder: Path) -> dict[str, str]:
    connection = {"kube_config_path": str(stack.api.kubeconfig_for("airflow")), "namespace": stack.namespace}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'home' / 'airflow.db'}",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": connection}),
        "CARBONFLEET_SIGNALS": str(_signals(stack, folder)),
        "HUB_CONNECTION": json.dumps(connection),
        "JOBS_NAMESPACE": stack.namespace,
        "PYTHONPATH": str(ROOT / "operator"),
        VARIABLE: stack.clock.encode(),
    }


def _signals(stack: HubStack, folder: Path) -> Path:
    """A grid that is clean for two hours of each four, and the page's zone."""
    rows = ["zone,datetime,signal,gco2_per_kwh"]
    begin = stack.clock.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
    for hour in (begin + timedelta(hours=n) for n in range(24 * 30)):
        grams = 250 if hour.hour % 4 < 2 else 540
        rows += [f"{zone},{hour:%Y-%m-%dT%H:%M:%SZ},average_lifecycle,{grams}" for zone in ("XX", "NO-NO1")]
    (folder / "trace.csv").write_text("\n".join(rows) + "\n")
    settings = {"sources": [{"type": "trace", "path": str(folder / "trace.csv")}]}
    (folder / "signals.yaml").write_text(yaml.safe_dump(settings))
    return folder / "signals.yaml"


def _allow(stack: HubStack) -> None:
    """The page's rights."""
    (role,) = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", PAGE.read_text(), re.DOTALL)
    done = stack.api.kubectl(
        "apply", "-f", "-", stdin=role.replace("namespace: team-a", f"namespace: {stack.namespace}")
    )
    assert done.returncode == 0, done.stderr


def _write_example(folder: Path, namespace: str) -> None:
    """The page's DAG and manifest as they stand, but for the namespace and the time between two looks."""
    text = PAGE.read_text()
    (dag,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (manifest,) = re.findall(r"```yaml\n(apiVersion: carbonfleet.*?)```", text, re.DOTALL)
    (folder / "nightly_training.py").write_text(dag.replace("poll_interval=60", "poll_interval=0.2"))
    (folder / "train.yaml").write_text(manifest.replace("namespace: team-a", f"namespace: {namespace}"))
