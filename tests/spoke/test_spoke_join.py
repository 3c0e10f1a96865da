"""What `carbonfleet spoke join` prints can be used as it is."""

import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from carbonfleet.fleet.git import read_cluster
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
    assert applied.stdout.count("created") == 6


def test_the_command_prints_the_text():
    printed = carbonfleet("spoke", "join", "de-fra-1", "--runtime", "ray")
    assert printed.returncode == 0
    assert printed.stdout == join_text("de-fra-1", "ray")
    kinds = [document["kind"] for document in yaml.safe_load_all(printed.stdout) if document]
    assert kinds == ["Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]


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
