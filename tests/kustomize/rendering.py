"""Renders the overlays with the real kubectl, once for all tests."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml

from carbonfleet.cli import app
from fixtures.rendered import KUSTOMIZE, kustomize
from fixtures.rendered import ROOT as ROOT

OVERLAYS = {
    "hub": "hub",
    "agent": "spoke/agent",
    "flux": "spoke/flux",
    "argocd": "spoke/argocd",
    "serving": "spoke/serving",
    "applicationset": "argocd-applicationset",
}
SPOKES = ("agent", "flux", "argocd")


def render(overlay: str) -> tuple[dict[str, Any], ...]:
    """The objects of an overlay."""
    return kustomize(KUSTOMIZE / "overlays" / OVERLAYS[overlay])


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


def settings_of(arguments: list[str]) -> dict[str, bool]:
    """The environment variables that a command reads, as its help names them, and whether each must be given."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        command = command.get_command(None, word)
    helps = [f"[{option.envvar}]" if option.envvar else option.help or "" for option in command.params]
    return {name: "[required]" in text for text in helps for name in re.findall(r"\[([A-Z_]+)\]", text)}
