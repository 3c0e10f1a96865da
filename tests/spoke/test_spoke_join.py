"""What `carbonfleet spoke join` prints can be used as it is."""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from carbonfleet.fleet.git import read_cluster
from carbonfleet.kube import TOKEN_SECONDS, Kube, ours
from carbonfleet.spoke.join import cluster_file, join_text

FILLED = {"<europe-north1>": "europe-north1", "<NO-NO1>": "NO-NO1", "<EEA>": "EEA"}
FILLED |= {"<a100>": "a100", "<A100>": "A100", "<8>": "8", "<80>": "80", "<2.5>": "2.5"}


def carbonfleet(*arguments):
    command = [sys.executable, "-m", "carbonfleet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.parametrize("runtime", ["ray", "kuberay"])
def test_the_cluster_file_is_valid_once_its_blanks_are_filled(runtime):
    text = cluster_file("de-fra-1", runtime)
    for blank, value in FILLED.items():
        text = text.replace(blank, value)
    facts = read_cluster("clusters/de-fra-1/cluster.yaml", text.encode())
    assert (facts.name, facts.zone, facts.runtime.value) == ("de-fra-1", "NO-NO1", runtime)


@pytest.mark.parametrize("runtime", ["ray", "kuberay"])
def test_the_whole_text_applies(kube_api, runtime):
    applied = kube_api.kubectl("apply", "-f", "-", stdin=join_text("de-fra-1", runtime))
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.count("created") == 7


def test_the_printed_commands_make_a_kubeconfig_whose_token_lives_two_days_and_is_renewed(kube_api, tmp_path):
    """Followed by a shell with the real kubectl, and the agent's connection goes on with what the timer wrote."""
    crds = Path(__file__).parents[2] / "crds"
    assert kube_api.kubectl("apply", "-f", str(crds / "trainingreport.yaml")).returncode == 0
    assert kube_api.kubectl("apply", "-f", "-", stdin=join_text("de-fra-1", "ray")).returncode == 0
    *made, renewed = [line for line in _commands("ray", kube_api) if not line.startswith(("carbonfleet", "scp"))]
    _run_in_shell(made, kube_api, tmp_path)
    first = _token(tmp_path / "hub.kubeconfig")
    claims = json.loads(base64.urlsafe_b64decode(first.partition(".")[0]))
    assert timedelta(hours=47) < datetime.fromtimestamp(claims["exp"], UTC) - datetime.now(UTC) <= timedelta(hours=48)

    seconds = [0.0]
    kube = Kube.connect(tmp_path / "hub.kubeconfig", lambda: seconds[0])
    assert kube.list(ours("trainingreports", "spoke-de-fra-1"))[0] == []
    _run_in_shell([made[0], renewed], kube_api, tmp_path)
    assert _token(tmp_path / "hub.kubeconfig") != first
    seconds[0] += TOKEN_SECONDS
    assert kube.list(ours("trainingreports", "spoke-de-fra-1"))[0] == []


def _commands(runtime, api):
    """What step 2 says to run, with its blanks filled."""
    step = join_text("de-fra-1", runtime).partition("# 2. ")[2].partition("# 3. ")[0]
    lines = [line.removeprefix("#      ") for line in step.splitlines() if line.startswith("#      ")]
    blanks = {"<its address>": api.url, "<its ca.crt>": str(api.certificate)}
    return [reduce(lambda text, each: text.replace(*each), blanks.items(), line) for line in lines]


def _run_in_shell(lines, api, folder):
    environment = os.environ | {
        "KUBECONFIG": str(api.kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    done = subprocess.run(
        ["bash", "-euc", "\n".join(lines)], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _token(kubeconfig):
    return yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]


def test_the_command_prints_the_text():
    printed = carbonfleet("spoke", "join", "de-fra-1", "--runtime", "ray")
    assert printed.returncode == 0
    assert printed.stdout == join_text("de-fra-1", "ray")
    kinds = [document["kind"] for document in yaml.safe_load_all(printed.stdout) if document]
    rights = ["Role", "RoleBinding", "ResourceQuota", "ClusterRole", "ClusterRoleBinding"]
    assert kinds == ["Namespace", "ServiceAccount", *rights]


@pytest.mark.parametrize("name", ["", "A", "a b", "a\nkind: Secret", "../x", "x" * 58])
def test_an_unfit_name_is_refused(name):
    with pytest.raises(ValidationError):
        join_text(name, "ray")


def test_the_command_refuses_an_unfit_name_in_one_line():
    refused = carbonfleet("spoke", "join", "../x")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "is not a cluster's name" in refused.stderr


def test_bad_settings_end_the_agent_with_one_clear_line(tmp_path):
    refused = carbonfleet("spoke", "run", "--spoke", "a", "--fleet-url", "file:///x", "--state", str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: url: ")
