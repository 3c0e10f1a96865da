"""The files that are generated from the models: `crds/*.yaml`, `crds/schemas/*.json` and `crds/STATUS.md`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.crd.manifest import RESOURCES, manifest
from carbonfleet.api.job import CarbonTrainingJob
from carbonfleet.api.policy import FleetPolicy

_HEADER: Final = "# Generated from operator/carbonfleet/api by `make crds`: edit the models there.\n"
_STATUS_HEADER: Final = """\
# What each field of a job's status means

Generated from `operator/carbonfleet/api/job_status.py` by `make crds`: edit the descriptions there.

| field | meaning |
|---|---|
"""
_WRITTEN_BY_PEOPLE: Final[dict[str, type[BaseModel]]] = {
    "fleet-policy": FleetPolicy,
    "cluster-facts": ClusterFacts,
}


def generated() -> dict[str, str]:
    """Every generated file's text, by its path below `crds/`; equal models give equal bytes."""
    files = {}
    for resource in RESOURCES:
        text = yaml.safe_dump(manifest(resource), sort_keys=False, width=110, allow_unicode=True)
        files[f"{resource.model.__name__.lower()}.yaml"] = _HEADER + text
    for name, model in _WRITTEN_BY_PEOPLE.items():
        files[f"schemas/{name}.json"] = json.dumps(_editor_schema(model), indent=2) + "\n"
    files["STATUS.md"] = _status_page()
    return files


def write(folder: Path) -> tuple[str, ...]:
    """Write what differs; the paths that were written, relative to `folder`."""
    stale = differing(folder)
    for path in stale:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(generated()[path], encoding="utf-8")
    return stale


def differing(folder: Path) -> tuple[str, ...]:
    """The generated files that are missing or differ in `folder`."""
    return tuple(path for path, text in generated().items() if _read(folder / path) != text)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _status_page() -> str:
    """What each field of a job's status means, as a table."""
    resource = next(each for each in RESOURCES if each.model is CarbonTrainingJob)
    status = manifest(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    rows = (f"| `{name}` | {meaning} |\n" for name, meaning in _fields(status))
    return f"{_STATUS_HEADER}{''.join(rows)}"


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Each field with its description, those inside it after it: `placement.cluster`, `candidates[].cluster`."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}{name}", " ".join(child.get("description", "").split()).replace("|", "\\|")
        yield from _fields(child, f"{path}{name}.")
        yield from _fields(child.get("items", {}), f"{path}{name}[].")


def _editor_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema 2020-12 as editors read it: without titles made of field names, without CEL."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **dict(_for_editors(schema))}


def _for_editors(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if key in {"properties", "$defs"}:
            yield key, {name: dict(_for_editors(child)) for name, child in value.items()}
        elif key == "title" or key.startswith("x-kubernetes-"):
            continue
        elif isinstance(value, dict) and key != "default":
            yield key, dict(_for_editors(value))
        elif key == "anyOf":
            yield key, [dict(_for_editors(choice)) for choice in value]
        elif not (key == "default" and value is None):
            yield key, value
