"""Every string that people may write into a job has a pattern that nothing hostile fits.

Behind the API's schemas the texts are encoded all the same: see the tests of the placement's file and of the spokes.
"""

from functools import cache
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from fixtures.mutated_jobs import CRD, HOSTILE


@cache
def places() -> tuple[tuple[str, ...], ...]:
    """The path of every string in a job's spec, as the Kubernetes API knows them; `[]` for a list's item."""
    [version] = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    return tuple(_strings(version["schema"]["openAPIV3Schema"]["properties"]["spec"], ()))


def _strings(schema: dict[str, Any], path: tuple[str, ...]):
    if schema.get("type") == "string":
        yield path
    if "items" in schema:
        yield from _strings(schema["items"], (*path, "[]"))
    for name, inner in schema.get("properties", {}).items():
        yield from _strings(inner, (*path, name))


def with_text(path: tuple[str, ...], text: str) -> dict[str, Any]:
    """A valid job with `text` at one place of its spec."""
    spec: dict[str, Any] = {
        "workload": {"model": "acme/base", "dataset": {"name": "acme/instructions"}},
        "resources": {"duration": "2h"},
        "residency": {"dataClass": "public"},
    }
    at: Any = spec
    for step, following in zip(path, (*path[1:], None), strict=True):
        value: Any = text if following is None else [] if following == "[]" else {}
        if step == "[]":
            at.append(value)
            at = at[-1]
        elif following is None:
            at[step] = text
        else:
            at = at.setdefault(step, value)
    return {"metadata": {"name": "llama", "namespace": "ml"}, "spec": spec}


def test_every_string_of_a_job_is_tried():
    found = {".".join(path) for path in places()}
    assert {"workload.model", "workload.image", "workload.dataset.name", "workload.lora.targetModules.[]"} <= found
    assert {"workload.checkpoints.uri", "residency.dataClass", "resources.gpuTypes.[]"} <= found
    assert len(found) > 20


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_hostile_gets_into_any_field(text):
    for place in places():
        with pytest.raises(ValidationError, match=place[0]):
            CarbonTrainingJob.model_validate(with_text(place, text))
