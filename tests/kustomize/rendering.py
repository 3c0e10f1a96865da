"""Renders the overlays with the real kubectl, once for all tests."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml
from jsonschema import Draft202012Validator

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


def schema_problems(crds: dict[str, Any], thing: dict[str, Any]) -> list[str]:
    """What the definition of its kind and version has against an object, unknown fields included."""
    version = thing["apiVersion"].split("/")[1]
    (schema,) = [
        served["schema"]["openAPIV3Schema"]
        for served in crds[thing["kind"]]["spec"]["versions"]
        if served["name"] == version
    ]
    return [error.message for error in Draft202012Validator(closed(schema)).iter_errors(thing)]


def closed(schema: Any) -> Any:
    """The same schema, where a field that it does not know is an error instead of being dropped."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: closed(value)
        for key, value in schema.items()
        # Kubernetes writes open bounds as flags.
        if key not in ("exclusiveMinimum", "exclusiveMaximum", "format")
    }
    loose = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not loose:
        out["additionalProperties"] = False
    return out


def settings_of(arguments: list[str]) -> dict[str, bool]:
    """The environment variables that a command reads, as its help names them, and whether each must be given."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        command = command.get_command(None, word)
    helps = [f"[{option.envvar}]" if option.envvar else option.help or "" for option in command.params]
    return {name: "[required]" in text for text in helps for name in re.findall(r"\[([A-Z_]+)\]", text)}


def prometheus(program: str) -> str:
    """A program of Debian's package, as it is installed or as `make test` unpacks it; empty where there is none."""
    unpacked = Path(sys.prefix) / "prometheus/usr/bin" / program
    return str(unpacked) if unpacked.exists() else shutil.which(program) or ""
