"""What the pages on installing show, typed as it stands there: on the embedded API, without what needs a kubelet."""

import os
import re
from pathlib import Path

import pytest

from fixtures.kubeapi_server import KubeApi
from fixtures.printed_steps import shell

PAGES = Path(__file__).parents[2] / "docs" / "howto"
FILES = {"TOKEN_FILE": "token", "SSH_PRIVATE_KEY": "key", "HUB_KEY.pub": "key.pub"}
NOT_HERE = ("kind ", "helm ", "make ", "kubectl -n carbonfleet-system rollout", "kubectl -n carbonfleet-system exec")
"""What needs kind, the network, or pods."""


def typed(page: str, section: str = "") -> list[str]:
    """The commands of a page, or of one of its sections, that can be run here."""
    text = (PAGES / page).read_text()
    if section:
        text = text.partition(f"## {section}")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert lines
    return [line for line in lines if not line.startswith(NOT_HERE)]


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
    for name in FILES.values():
        (tmp_path / name).write_text("ssh-ed25519 AAAA\n")
    return api


def follow(lines: list[str], api: KubeApi, folder: Path) -> None:
    """Type them."""
    for blank, file in FILES.items():
        lines = [re.sub(rf"(?<==){re.escape(blank)}(?= |$)", file, line) for line in lines]
    shell(lines, folder, api.kubeconfig)


@pytest.mark.parametrize(
    ("page", "section", "before", "made"),
    [
        ("cluster.md", "1. The fleet repository", (), ()),
        ("cluster.md", "2. The hub", (), ("deploy/carbonfleet-hub", "secret/carbonfleet-signing")),
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
