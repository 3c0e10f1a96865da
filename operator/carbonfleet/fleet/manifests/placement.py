"""One placement's file: the one way out (`render`) and the one way in (`parse`)."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job import DecisionRecord, JobSpec
from carbonfleet.api.wire import ANNOTATION, LABEL, format_time
from carbonfleet.api.workload import DataPlace, address_of, check_reference
from carbonfleet.fleet.manifests.fields import Fields
from carbonfleet.fleet.manifests.layout import (
    check_uid,
    is_label,
    object_name,
    placement_id,
    read_job_path,
    read_move_path,
)
from carbonfleet.fleet.manifests.template import Block, Scalar, Template, digest_of, sealed
from carbonfleet.fleet.manifests.workload import config_of, output_of, placed_on
from carbonfleet.placement.decision import Decision, Window
from carbonfleet.placement.hardware import gpus_of_node
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument, blaming, read_documents

CPUS_PER_GPU: Final = 4
MEMORY_GIB_PER_GPU: Final = 32
MOST_GPUS: Final = 100_000
"""Of one placement: as many as a pool may have."""
MOST_ATTEMPTS: Final = 1_000_000
"""As many as a report may count."""
_FORMS: Final = re.compile(r"base-([1-9][0-9]*)\.yaml")
_WORKERS: Final = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
_PLACES: Final = {"active_deadline_seconds": ("spec", "activeDeadlineSeconds"), "object": ("metadata", "name")}
_REGION: Final = ANNOTATION.DATASET_REGION.value
_LONGEST_SECONDS: Final = 1000 * 366 * 86_400
"""So that its end is always a time."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What one file says: which attempt of which job runs where and from when."""

    path: str
    uid: str
    namespace: str
    name: str
    generation: int
    attempt: int
    placement_id: str
    cluster: str
    pool: str
    gpus: int
    start: datetime
    duration: timedelta
    """Run time from `start`, pauses left out."""
    suspended: bool
    object_name: str
    data_class: str
    decision_digest: str
    spec_digest: str
    content_digest: str
    expires_at: datetime | None = None
    """Merged later than this, it is not valid; None where nobody reviews it."""
    approved_in: str = ""
    """Of a move that people agreed to: the commit with which they did."""
    edited: bool = False
    """Someone changed what the file says after the hub wrote it."""
    differs: FileProblem | None = None
    """The first thing in it that the hub never writes: no spoke begins it."""
    places: tuple[DataPlace, ...] = ()
    """Where it saves, and where its data lies, as far as the file says."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Where some labels stand."""

    @property
    def key(self) -> str:
        """`namespace/name` of the job."""
        return f"{self.namespace}/{self.name}"

    @property
    def end(self) -> datetime:
        """When it is expected to finish."""
        return self.start + self.duration


class PlacementInvalid(FileInvalid):
    """A file among the placements that is none."""


def spec_digest(spec: JobSpec) -> str:
    """sha256 of a job's spec in canonical JSON."""
    text = json.dumps(spec.to_wire(), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def render(
    decision: Decision,
    spec: JobSpec,
    record: DecisionRecord,
    facts: ClusterFacts,
    expires_at: datetime | None = None,
    approved_in: str = "",
    form: int | None = None,
) -> bytes:
    """The file for a decision: equal inputs give equal bytes. `expires_at` is for what people review, and
    `approved_in` for a move that they agreed to. `form` is the newest that the spoke's agent reads; the
    newest of all if None.

    Raises ValueError where the decision has no window, the cluster lacks its pool, or a name is unfit.
    """
    window = decision.window
    if window is None or window.cluster != facts.name:
        raise ValueError(f"{decision.key}: no window on {facts.name}")
    pool = next((pool for pool in facts.pools if pool.name == window.pool), None)
    if pool is None:
        raise ValueError(f"{facts.name} has no pool {window.pool}")
    values = _names(decision, spec, window) | _figures(decision, spec, window) | _shape(spec, window, pool, facts)
    values |= {
        "config": config_of(spec.workload, window.gpus),
        "placement": placed_on(window, record, facts, pool),
        "decision": json.dumps(record.to_wire(), indent=1),
        "decision_digest": record.digest,
        "dataset_region": spec.workload.dataset.region or "",
        "output": output_of(spec.workload, decision.uid),
        "image": spec.workload.image,
        "suspend": False,
        "expires_at": format_time(expires_at) if expires_at else "",
        "approved_in": approved_in,
    }
    return _filled(values, _template_of(form))


def parse(path: str, content: bytes) -> Placement:
    """What a file says, however it is formatted. Raises PlacementInvalid."""
    place = read_job_path(path)
    if place is None:
        message = "not a placement's path, clusters/<cluster>/jobs/<namespace>/<job>.yaml"
        raise PlacementInvalid(FileProblem(path, 1, message))
    found = _parsed(path, content)
    if (found.cluster, found.namespace, found.name) != place:
        message = f"its labels say {found.cluster}, {found.namespace}/{found.name}; put it where they say"
        raise PlacementInvalid(FileProblem(path, found.lines[LABEL.CLUSTER], message))
    return found


def parse_move(path: str, content: bytes) -> Placement:
    """What a file under `moves/` says: the placement that its job is to have once the attempt before has stopped.

    Raises PlacementInvalid.
    """
    place = read_move_path(path)
    if place is None:
        raise PlacementInvalid(FileProblem(path, 1, "not a move's path, moves/<namespace>/<job>.yaml"))
    found = _parsed(path, content)
    if (found.namespace, found.name) != place:
        message = f"its labels say {found.namespace}/{found.name}; put it where they say"
        raise PlacementInvalid(FileProblem(path, found.lines[LABEL.JOB], message))
    return found


def _parsed(path: str, content: bytes) -> Placement:
    with blaming(path, PlacementInvalid):
        documents = _documents(path, content)
        _config, ray_job = documents
        fields = Fields.of(ray_job)
        try:
            (_template, values), differs = _read(path, documents), None
            _check_derived(values, ray_job)
            places = _places(values, documents)
        except FileInvalid as error:
            values, differs, places = {}, error.problems[0], ()
        is_ours = differs is None and values["content_digest"] == digest_of(values)
        return replace(_placement(path, fields, differs, edited=not is_ours), places=places)


def manifests(path: str, content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the RayJob in a placement's file. Raises PlacementInvalid."""
    config, ray_job = _documents(path, content)
    return config.data, ray_job.data


def _documents(path: str, content: bytes) -> tuple[YamlDocument, YamlDocument]:
    with blaming(path, PlacementInvalid):
        documents = read_documents(path, content)
        kinds = [each.data.get("kind") for each in documents if isinstance(each.data, dict)]
        if kinds != ["ConfigMap", "RayJob"] or len(documents) != 2:
            message = "must hold a ConfigMap and a RayJob, in this order, and nothing else"
            raise PlacementInvalid(FileProblem(path, 1, message))
        return documents[0], documents[1]


def decision_in(path: str, content: bytes) -> DecisionRecord | None:
    """The decision that a placement's file holds; None where a person changed it beyond reading."""
    try:
        return DecisionRecord.model_validate_json(manifests(path, content)[0]["data"]["decision.json"])
    except (PlacementInvalid, ValueError, KeyError, TypeError):
        return None


def with_suspend(path: str, content: bytes, suspended: bool) -> bytes:
    """A file as the hub wrote it, with `spec.suspend` set. Raises PlacementInvalid for one that differs."""
    with blaming(path, PlacementInvalid):
        template, values = _read(path, _documents(path, content))
        return _filled(values | {"suspend": suspended}, template)


def _filled(values: Mapping[str, Scalar], template: Template) -> bytes:
    filled: dict[str, Scalar | Block] = {name: values[name] for name, _indent in template.holes if name in values}
    filled |= {name: Block(str(filled[name])) for name in ("config", "placement", "decision") if name in filled}
    return template.fill(sealed(filled)).encode()


def _read(path: str, documents: Sequence[YamlDocument]) -> tuple[Template, dict[str, Scalar]]:
    """The template that makes such a file, and what stands in its holes. Raises FileInvalid."""
    refused: FileInvalid | None = None
    for template in _templates().values():
        try:
            return template, template.values_in(path, documents)
        except FileInvalid as error:
            refused = refused or error
    raise refused or AssertionError("there is always base.yaml")


def _places(values: Mapping[str, Scalar], documents: Sequence[YamlDocument]) -> tuple[DataPlace, ...]:
    """Where a file saves and reads. Raises FileInvalid, which quotes no address: it may hold a secret."""
    config, ray_job = documents
    try:
        output = check_reference(values["output"])
    except ValueError as error:
        raise FileInvalid(ray_job.problem(f"LORA_OUTPUT {error}", *_WORKERS)) from error
    try:
        dataset = json.loads(str(values["config"]))["dataset"]
        address = check_reference(dataset["path"]) if "path" in dataset else ""
    except (ValueError, KeyError, TypeError) as error:
        message = "config.json must be JSON, and its dataset's path an address without a query or credentials"
        raise FileInvalid(config.problem(message, "data", "config.json")) from error
    region = values.get("dataset_region", "")
    if region != "" and not is_label(str(region)):
        raise FileInvalid(ray_job.problem("must be a provider's region, or empty", "metadata", "annotations", _REGION))
    return DataPlace("checkpoints", output), DataPlace("dataset", address_of(address), str(region))


def newest_form() -> int:
    """The number of base.yaml: one more than that of the last base-*.yaml."""
    return next(iter(_templates()))


def _template_of(form: int | None) -> Template:
    """The newest up to `form`; the oldest that is kept where all are newer."""
    templates = _templates()
    readable = [number for number in templates if form is None or number <= form]
    return templates[max(readable, default=min(templates))]


@cache
def _templates() -> Mapping[int, Template]:
    """By number, the newest first: base.yaml, and base-*.yaml, which was base.yaml before.

    All are read; a spoke is written the newest that its agent reads.
    """
    folder = files(__package__)
    former = {int(found[1]): file for file in folder.iterdir() if (found := _FORMS.fullmatch(file.name))}
    newest = {max(former, default=0) + 1: folder.joinpath("base.yaml")}
    every = sorted((newest | former).items(), reverse=True)
    return {number: Template.read(file.read_text()) for number, file in every}


def _check_derived(values: Mapping[str, Scalar], ray_job: YamlDocument) -> None:
    """What follows from other values does: GPUs, the object's name, and where it saves. Raises FileInvalid."""
    nodes, gpus = values["nodes"], int(values["gpus"])
    if type(nodes) is not int or nodes < 1 or gpus % nodes:
        raise FileInvalid(ray_job.problem(f"{gpus} GPUs are not {nodes} equal nodes", *_WORKERS, "replicas"))
    wanted = _per_node(gpus // nodes, is_simulated=values["gpus_per_node"] == "0") | {
        "active_deadline_seconds": _deadline_seconds(int(values["duration_seconds"])),
        "object": object_name(str(values["job"]), str(values["uid"]), int(values["attempt"])),
    }
    for name, value in wanted.items():
        if values[name] != value:
            message = f"{values[name]!r} does not follow from the file's other values; they make it {value!r}"
            raise FileInvalid(ray_job.problem(message, *_PLACES.get(name, _WORKERS)))
    if not str(values["output"]).endswith(f"/{values['uid']}") or type(values["suspend"]) is not bool:
        raise FileInvalid(ray_job.problem("spec.suspend must be true or false, and LORA_OUTPUT end with the job's UID"))


def _names(decision: Decision, spec: JobSpec, window: Window) -> dict[str, Scalar]:
    return {
        "object": object_name(decision.name, decision.uid, decision.attempt),
        "namespace": decision.namespace,
        "job": decision.name,
        "uid": check_uid(decision.uid),
        "attempt": str(decision.attempt),
        "cluster": window.cluster,
        "pool": window.pool,
        "data_class": spec.residency.data_class,
        "placement_id": placement_id(decision.uid, decision.generation, decision.attempt),
    }


def _figures(decision: Decision, spec: JobSpec, window: Window) -> dict[str, Scalar]:
    seconds = sum((end - start).total_seconds() for start, end in window.segments)
    return {
        "generation": str(decision.generation),
        "gpus": str(window.gpus),
        "start": format_time(window.start),
        "duration_seconds": str(round(seconds)),
        "spec_digest": spec_digest(spec),
        "active_deadline_seconds": _deadline_seconds(round(seconds)),
    }


def _shape(spec: JobSpec, window: Window, pool: GpuPool, facts: ClusterFacts) -> dict[str, Scalar]:
    per_node = gpus_of_node(window.gpus, pool)
    return {"nodes": window.gpus // per_node} | _per_node(per_node, is_simulated=pool.simulated)


def _per_node(gpus: int, *, is_simulated: bool) -> dict[str, Scalar]:
    # A simulated GPU is no device that a kubelet could hand out.
    return {
        "gpus_per_node": str(0 if is_simulated else gpus),
        "cpus_per_node": str(CPUS_PER_GPU * gpus),
        "memory_per_node": f"{MEMORY_GIB_PER_GPU * gpus}Gi",
    }


def _deadline_seconds(seconds: int) -> int:
    """Twice the expected length and an hour on top: a backstop, not a schedule."""
    return 2 * seconds + 3600


def _placement(path: str, fields: Fields, differs: FileProblem | None, *, edited: bool) -> Placement:
    uid, job, attempt = fields.uid(LABEL.UID), fields.label(LABEL.JOB), fields.whole(LABEL.ATTEMPT, 1, MOST_ATTEMPTS)
    ray_job, ours = fields.document, object_name(job, uid, attempt)
    if (name := ray_job.data["metadata"].get("name")) != ours:
        message = f"the RayJob is named {str(name)[:80]!r}, but must be {ours}, by its job, UID and attempt"
        raise PlacementInvalid(ray_job.problem(message, "metadata", "name"))
    spec = ray_job.data.get("spec")
    return Placement(
        path=path,
        uid=uid,
        namespace=fields.label(LABEL.NAMESPACE),
        name=job,
        generation=fields.whole(ANNOTATION.GENERATION, 0, 1 << 62),
        attempt=attempt,
        placement_id=fields.placement_id(ANNOTATION.PLACEMENT_ID),
        cluster=fields.label(LABEL.CLUSTER),
        pool=fields.label(ANNOTATION.POOL),
        gpus=fields.whole(ANNOTATION.GPUS, 1, MOST_GPUS),
        start=fields.time(ANNOTATION.START),
        duration=timedelta(seconds=fields.whole(ANNOTATION.DURATION_SECONDS, 0, _LONGEST_SECONDS)),
        suspended=isinstance(spec, dict) and spec.get("suspend") is True,
        object_name=ours,
        data_class=fields.text(LABEL.DATA_CLASS),
        decision_digest=fields.text(ANNOTATION.DECISION_DIGEST, ""),
        spec_digest=fields.text(ANNOTATION.SPEC_DIGEST, ""),
        content_digest=fields.text(ANNOTATION.CONTENT_DIGEST, ""),
        expires_at=fields.time(ANNOTATION.EXPIRES_AT) if fields.text(ANNOTATION.EXPIRES_AT, "") else None,
        approved_in=fields.text(ANNOTATION.APPROVED_IN, ""),
        edited=edited,
        differs=differs,
        lines={key: fields.line(key) for key in (LABEL.CLUSTER, LABEL.JOB, LABEL.DATA_CLASS)},
    )
