"""Renders the overlays with the real kubectl, once for all tests."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = {
    "hub": "hub",
    "agent": "spoke/agent",
    "flux": "spoke/flux",
    "argocd": "spoke/argocd",
    "serving": "spoke/serving",
    "applicationset": "argocd-applicationset",
}
SPOKES = ("agent", "flux", "argocd")
KUBECTL = Path(sys.executable).parent / "kubectl"


@cache
def render(overlay: str) -> tuple[dict[str, Any], ...]:
    """The objects of an overlay."""
    folder = ROOT / "kustomize" / "overlays" / OVERLAYS[overlay]
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower(), done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def find(overlay: str, kind: str, name: str = "") -> dict[str, Any]:
    """The one object of a kind (and name) in an overlay."""
    (found,) = [thing for thing in render(overlay) if thing["kind"] == kind and name in ("", thing["metadata"]["name"])]
    return found


@cache
def conformance_crds(folder: str) -> dict[str, dict[str, Any]]:
    """Other projects' CRDs by kind, from CARBONFLEET_CONFORMANCE_DIR; empty where it is not set."""
    root = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not root:
        return {}
    documents = [
        document
        for path in sorted((Path(root) / folder).glob("*.yaml"))
        for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)  # megabytes
    ]
    return {document["spec"]["names"]["kind"]: document for document in documents}
