"""What the pages on installing show, typed as it stands there: on the embedded API, without what needs a kubelet."""

import os
import subprocess
from pathlib import Path

import pytest

from fixtures.kubeapi_server import KubeApi
from fixtures.printed_steps import shell, shown, with_files

FILES = {"TOKEN_FILE": "token", "HUB_KEY.pub": "key.pub"}
NOT_HERE = {
    "kind": "makes containers with Docker",
    "helm": "in no registry here, and the chart lies on a server of its own",
    "make": "the flow tests, which run by themselves",
    "kubectl -n carbonfleet-system rollout": "no kubelet starts the pod: its process runs in test_install_from_nothing",
    "kubectl -n carbonfleet-system exec": "as before",
}
"""What these tests can't type, by how it begins, and why."""


def typed(page: str, section: str = "") -> list[str]:
    """The commands of a page, or of one of its sections, that can be run here."""
    return [line for line in shown(page, section) if not line.startswith(tuple(f"{each} " for each in NOT_HERE))]


@pytest.fixture
def cluster(make_kube_api, tmp_path) -> KubeApi:
    """One with the definitions that the pages take for granted, and the files that a reader has."""
    definitions = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not definitions:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to a folder with KubeRay's, Flux's and Argo CD's definitions")
    api = make_kube_api()
    for name in ("kuberay", "flux", "argocd"):
        done = api.kubectl("apply", "--server-side", "-f", str(Path(definitions) / name))
        assert done.returncode == 0, done.stderr
    key = tmp_path / ".ssh" / "id_ed25519"
    key.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60)
    (tmp_path / "key.pub").write_text(key.with_suffix(".pub").read_text())
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / ".gitconfig").write_text("[user]\n name = Ada\n email = ada@acme.example\n")
    return api


def follow(lines: list[str], api: KubeApi, folder: Path) -> None:
    """Type them."""
    shell(with_files(lines, FILES), folder, api.kubeconfig, HOME=str(folder))


@pytest.mark.parametrize(
    ("page", "section", "before", "made"),
    [
        ("cluster.md", "1. The fleet repository", (), ()),
        ("cluster.md", "2. The hub", (), ("deploy/carbonfleet-hub", "secret/carbonfleet-signers")),
        ("kind.md", "", (), ("deploy/carbonfleet-hub", "secret/carbonfleet-fleet")),
        (
            "flux.md",
            "",
            ("kubectl create namespace carbonfleet-system",),
            ("deploy/carbonfleet-agent", "kustomizations.kustomize.toolkit.fluxcd.io/carbonfleet"),
        ),
        ("argocd.md", "", ("kubectl create namespace argocd",), ("deploy/carbonfleet-agent",)),
    ],
)
def test_a_page_s_commands_make_what_it_says(cluster, tmp_path, page, section, before, made):
    follow([*before, *typed(page, section)], cluster, tmp_path)
    for thing in made:
        done = cluster.kubectl("-n", "carbonfleet-system", "get", thing)
        assert done.returncode == 0, done.stderr
