"""The CarbonTrainingJob of a task, from what its author wrote."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.problems import told
from carbonfleet.api.wire import API_VERSION, LONGEST_LABEL
from carbonfleet.integrations.task_jobs.remote_job import TASK, TRY
from carbonfleet.kube import Object
from carbonfleet.yaml_reader import FileInvalid, read_document

_KIND: Final = {"apiVersion": API_VERSION, "kind": "CarbonTrainingJob"}
_DIGITS: Final = 10
_BETWEEN_WORDS: Final = re.compile(r"[^a-z0-9]+")


class ManifestError(ValueError):
    """No job can be made of what is written; no retry helps."""


def job_body(
    written: str | Mapping[str, Any],
    task: str,
    try_number: int,
    *,
    namespace: str = "default",
    name: str = "",
    has_suffix: bool = True,
) -> Object:
    """The object to create. Raises ManifestError.

    Args:
        written: A manifest, as YAML or as a mapping; `kind`, `apiVersion` and `metadata` may be left out.
        task: The task instance, whichever of its tries is meant: an annotation names it, and the name ends with its
            digest.
        try_number: From 1.
        namespace: Where the manifest names none.
        name: What the name begins with where the manifest names none.
        has_suffix: Without it the manifest's name is taken as it is.
    """
    body = _KIND | (_parsed(written) if isinstance(written, str) else _plain(written, "job"))
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ManifestError("job: metadata must hold fields")
    own = str(metadata.pop("name", None) or metadata.pop("generateName", None) or "")
    if not has_suffix and not own:
        raise ManifestError("job: metadata.name is needed where it gets no suffix")
    annotations = {**(metadata.get("annotations") or {}), TASK: task, TRY: str(try_number)}
    metadata |= {
        "name": _with_digest(own or name, task) if has_suffix else own,
        "namespace": metadata.get("namespace") or namespace,
        "annotations": annotations,
    }
    body |= {"metadata": metadata}
    try:
        CarbonTrainingJob.model_validate(body)
    except ValidationError as error:
        raise ManifestError(f"job: {told(error, CarbonTrainingJob)}") from error
    return body


def _with_digest(name: str, task: str) -> str:
    words = _BETWEEN_WORDS.sub("-", name.lower())[: LONGEST_LABEL - _DIGITS - 1].strip("-")
    return f"{words or 'job'}-{hashlib.sha256(task.encode()).hexdigest()[:_DIGITS]}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = read_document("job", text).data
    except FileInvalid as error:
        raise ManifestError(str(error)) from error
    if not isinstance(data, dict):
        raise ManifestError("job: must be a CarbonTrainingJob: a mapping, YAML, or the path of a .yaml file")
    return data


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401 - any JSON
    """A copy in JSON's own types, since what was written is its author's. Raises ManifestError."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ManifestError(f"{where}: {type(value).__name__} is nothing that a manifest holds; write text or a number")
