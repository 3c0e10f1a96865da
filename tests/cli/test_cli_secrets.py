"""No secret of any setting is ever shown: not in a log, an error, a probe or a help text."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from carbonfleet.hub.settings import HubSettings
from carbonfleet.local.ports import free_port
from carbonfleet.settings import Settings
from carbonfleet.spoke.settings import AgentSettings
from fixtures.echo_server import Echo, echo
from fixtures.kubeapi_server import eventually

__all__ = ["echo"]
SECRETS = {
    HubSettings: {
        *("fleet_token_file", "fleet_ssh_key", "signing_key", "forge_token_file", "webhook_secret_file"),
        *("carbon_token_file", "admission_tls", "kubeconfig", "ledger_url"),
    },
    AgentSettings: {"fleet_token_file", "fleet_ssh_key", "hub_kubeconfig", "spoke_kubeconfig", "ray_token_file"},
}
"""The settings that hold a secret, or lead to one."""
PLAIN = {
    HubSettings: {
        *("fleet_url", "fleet_branch", "fleet_known_hosts", "fleet_backoff", "ca_file", "allowed_signers"),
        *("forge", "forge_api", "forge_repository", "webhook_address", "admission_address", "state", "signals"),
        "carbon_address",
        *("namespace", "identity", "lease_seconds", "baseline_region", "metrics", "liveness", "surprise_share"),
        *("log_level", "resync", "heartbeat_grace", "heartbeat_grace_real", "horizon", "job_namespaces"),
    },
    AgentSettings: {
        *("spoke", "fleet_url", "fleet_branch", "fleet_known_hosts", "ca_file", "allowed_signers", "runtime", "apply"),
        *("ray_address", "workload", "training_python", "state", "store", "datasets", "models", "private_networks"),
        *(
            "allow_list",
            "poll_seconds",
            "sync_seconds",
            "progress_seconds",
            "liveness",
            "heartbeat_seconds",
            "hide_logs",
            "wake_hook",
            "sleep_hook",
        ),
        *("lease_seconds", "heartbeat_least_seconds", "resync_seconds", "unknown_after_seconds", "output_folders"),
    },
}
"""Those that don't: a new setting is put into one of both, and into the tests below where it is secret."""
MARKER = "s3cr3tMARKER"
ALWAYS = {
    HubSettings: {"fleet_token_file", "forge_token_file", "webhook_secret_file", "carbon_token_file", "kubeconfig"},
    AgentSettings: {"fleet_token_file", "hub_kubeconfig", "ray_token_file"},
}
"""The secrets that stop nothing at the start: all of them are there in every case."""
CASES = [(model, name) for model in SECRETS for name in ("", *sorted(SECRETS[model] - ALWAYS[model]))]


@pytest.mark.parametrize("model", SECRETS, ids=lambda model: model.__name__)
def test_every_setting_is_known_to_be_secret_or_not(model):
    assert SECRETS[model] | PLAIN[model] == set(model.model_fields)
    assert not SECRETS[model] & PLAIN[model]


def command_of(model: type[Settings]) -> list[str]:
    return [sys.executable, "-m", "carbonfleet", "hub" if model is HubSettings else "spoke", "run"]


def secret_of(name: str, folder: Path, echo: Echo) -> str:
    """A setting's value, whose secret holds the marker."""
    marker = f"{MARKER}-{name}"
    if name == "ledger_url":
        return f"postgresql+psycopg://hub:{marker}@127.0.0.1:{free_port()}/ledger"
    file = folder / name
    if "kubeconfig" in name:
        file.write_text(yaml.safe_dump(kubeconfig(echo.url, marker)))
    elif name == "admission_tls":
        file.mkdir()
        for each in ("tls.crt", "tls.key"):
            (file / each).write_text(pem(marker))
    else:
        file.write_text(pem(marker) if "key" in name else f"{marker}\n")
    return str(file)


def pem(marker: str) -> str:
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{marker}\n-----END OPENSSH PRIVATE KEY-----\n"


def kubeconfig(url: str, token: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": url}}],
        "users": [{"name": "a", "user": {"token": token}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }


def flags_of(model: type[Settings], name: str, folder: Path, echo: Echo) -> dict[str, str]:
    """A whole set of settings in which each secret that stops nothing at the start is there, and this one too."""
    probes = {"liveness": f"http://127.0.0.1:{free_port()}/healthz"}
    if model is HubSettings:
        plain = {"fleet_url": f"{echo.url}/fleet.git", "forge": "github", "forge_api": echo.url}
        plain |= {"forge_repository": "a/b", "webhook_address": f"127.0.0.1:{free_port()}", "log_level": "DEBUG"}
        plain |= {"carbon_address": f"127.0.0.1:{free_port()}"}
        plain |= {"admission_address": f"127.0.0.1:{free_port()}"} if name == "admission_tls" else {}
    else:
        plain = {"spoke": "no-osl-1", "fleet_url": f"{echo.url}/fleet.git", "ray_address": echo.url}
        plain |= {"runtime": "kuberay" if name == "spoke_kubeconfig" else "ray", "poll_seconds": "0.05"}
    secrets = {each: secret_of(each, folder, echo) for each in sorted({*ALWAYS[model], name} - {""})}
    if name == "fleet_ssh_key":
        plain["fleet_url"] = f"ssh://git@127.0.0.1:{free_port()}/fleet.git"
        secrets.pop("fleet_token_file")
    return {**plain, **probes, **secrets, "state": str(folder / "state")}


@pytest.mark.parametrize(("model", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_secret_that_is_refused_and_quoted_by_its_server_is_shown_nowhere(tmp_path, echo, model, name):
    flags = flags_of(model, name, tmp_path, echo)
    words = [word for each, value in flags.items() for word in (f"--{each.replace('_', '-')}", value)]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([*command_of(model), *words], stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        eventually(lambda: process.poll() is not None or len(echo.asked) > 12)
        health = "" if process.poll() is not None else probe(flags["liveness"])
    finally:
        process.terminate()
        process.wait(60)
    shown = log.read_text(errors="replace") + health
    assert shown
    assert MARKER not in shown
    assert not re.findall(re.escape(base64.b64encode(MARKER.encode()).decode()[:12]), shown)


def probe(url: str) -> str:
    try:
        return requests.get(url, timeout=10).text
    except requests.RequestException:
        return ""


@pytest.mark.parametrize("model", SECRETS, ids=lambda model: model.__name__)
def test_the_help_shows_no_value_of_the_environment(model):
    values = {f"CARBONFLEET_{name.upper()}": f"{MARKER}-{name}" for name in model.model_fields}
    environment = os.environ | values | {"KUBECONFIG": MARKER}
    done = subprocess.run([*command_of(model), "--help"], env=environment, capture_output=True, text=True, check=True)
    assert MARKER not in done.stdout + done.stderr
