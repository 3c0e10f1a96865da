"""What the one-machine stack's Ray listens on."""

import sys
from contextlib import suppress

import psutil
import pytest
import requests

from carbonfleet.local.ray_head import RayHead
from fixtures.kubeapi_server import eventually

pytest_plugins = ["fixtures.ray_head"]
pytestmark = pytest.mark.ray

_TASK = """
import ray, time
ray.init()
print("sum", ray.get(ray.remote(lambda: 3 + 4).remote()), flush=True)
time.sleep(600)
"""


def test_nothing_of_a_head_and_its_jobs_listens_beyond_loopback(ray_head: RayHead, tmp_path):
    """A job with a worker of its own runs meanwhile: GCS, raylet, agents, driver and worker all listen."""
    api = requests.Session()
    api.headers["Authorization"] = f"Bearer {ray_head.token}"
    (task := tmp_path / "task.py").write_text(_TASK)
    entrypoint = f"{sys.executable} {task}"
    job = api.post(f"{ray_head.address}/api/jobs/", json={"entrypoint": entrypoint}, timeout=30).json()["job_id"]
    try:
        logs = f"{ray_head.address}/api/jobs/{job}/logs"
        said = eventually(lambda: _last_of(api.get(logs, timeout=30).json()["logs"]))
        addresses = _listened_on(ray_head)
    finally:
        api.post(f"{ray_head.address}/api/jobs/{job}/stop", timeout=30)

    assert said == "sum 7"
    assert {"gcs_server", "raylet"} <= set(addresses)
    assert {ip for found in addresses.values() for ip in found} == {"127.0.0.1"}


def _last_of(logs: str) -> str:
    """The job's last line, once it has come as far as the task or failed."""
    return next((line for line in reversed(logs.splitlines()) if line.startswith("sum ") or "Error" in line), "")


def _listened_on(head: RayHead) -> dict[str, set[str]]:
    """The addresses that each process of a head listens on, by the process's name."""
    found: dict[str, set[str]] = {}
    for process in (ours := psutil.Process(head.pid), *ours.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    address = connection.laddr.ip.removeprefix("::ffff:")
                    found.setdefault(process.name(), set()).add(address)
    return found
