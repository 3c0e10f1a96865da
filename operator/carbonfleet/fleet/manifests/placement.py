"""One placement's file: the one way out (`render`) and the one way in (`parse`)."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job import DecisionRecord, JobSpec
from carbonfleet.api.wire import ANNOTATION, LABEL, format_time
from carbonfleet.fleet.manifests.fields import Fields, line_of
from carbonfleet.fleet.manifests.layout import check_uid, object_name, placement_id, read_job_path, read_move_path
from carbonfleet.fleet.manifests.template import Block, Scalar, Template
from carbonfleet.fleet.manifests.workload import config_of, output_of
from carbonfleet.placement.decision import Decision, Window
from carbonfleet.yaml_reader import MOST_BYTES, Document, FileInvalid, FileProblem, blaming, read_documents

NO_DIGEST: Final = "sha256:" + 64 * "0"
CPUS_PER_GPU: Final = 4
MEMORY_GIB_PER_GPU: Final = 32
MOST_GPUS: Final = 100_000
"""Of one placement: as many as a pool may have."""
MOST_ATTEMPTS: Final = 1_000_000
"""As many as a report may count."""
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
    """Someone changed the file after the hub wrote it."""

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
) -> bytes:
    """The file for a decision: equal inputs give equal bytes. `expires_at` is for what people review, and
    `approved_in` for a move that they agreed to.

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
        "config": Block(config_of(spec.workload, window.gpus)),
        "decision": Block(json.dumps(record.to_wire(), indent=1)),
        "decision_digest": record.digest,
        "output": output_of(spec.workload, decision.uid),
        "image": spec.workload.image,
        "suspend": False,
        "expires_at": format_time(expires_at) if expires_at else "",
        "approved_in": approved_in,
        "content_digest": NO_DIGEST,
    }
    return sealed(_template().fill(values))


def parse(path: str, content: bytes) -> Placement:
    """What a file says. A file as the hub wrote it is read quickly; one that was changed, in full.

    Raises PlacementInvalid.
    """
    place = read_job_path(path)
    if place is None:
        message = "not a placement's path, clusters/<cluster>/jobs/<namespace>/<job>.yaml"
        raise PlacementInvalid(FileProblem(path, 1, message))
    found = _parsed(path, content)
    if (found.cluster, found.namespace, found.name) != place:
        message = f"its labels say {found.cluster}, {found.namespace}/{found.name}; put it where they say"
        raise PlacementInvalid(FileProblem(path, line_of(content, LABEL.CLUSTER), message))
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
        raise PlacementInvalid(FileProblem(path, line_of(content, LABEL.JOB), message))
    return found


def _parsed(path: str, content: bytes) -> Placement:
    with blaming(path, PlacementInvalid):
        text = content.decode("utf-8", "replace")
        edited = was_edited(content)
        ray_job = text[text.find("\nkind: RayJob\n") :]
        in_full = edited or "\\" in ray_job or len(content) > MOST_BYTES
        found = _as_any(path, content) if in_full else _as_written(ray_job)
        return _placement(path, content, *found, edited=edited)


def manifests(path: str, content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the RayJob in a placement's file. Raises PlacementInvalid."""
    config, ray_job = _documents(path, content)
    return config.data, ray_job.data


def _documents(path: str, content: bytes) -> tuple[Document, Document]:
    with blaming(path, PlacementInvalid):
        documents = read_documents(path, content)
        kinds = {str(each.data.get("kind")): each for each in documents if isinstance(each.data, dict)}
        if len(documents) != 2 or set(kinds) != {"ConfigMap", "RayJob"}:
            message = "must hold one ConfigMap and one RayJob, nothing else"
            raise PlacementInvalid(FileProblem(path, 1, message))
        return kinds["ConfigMap"], kinds["RayJob"]


def decision_in(path: str, content: bytes) -> DecisionRecord | None:
    """The decision that a placement's file holds; None where a person changed it beyond reading."""
    text = content.decode("utf-8", "replace")
    found = _DECISION.search(text) if _digest_of(text) == _digest_in(text) else None
    try:
        kept = found[1] if found else manifests(path, content)[0]["data"]["decision.json"]
        return DecisionRecord.model_validate_json(kept)
    except (PlacementInvalid, ValueError, KeyError, TypeError):
        return None


def with_suspend(content: bytes, suspended: bool) -> bytes:
    """A file as the hub wrote it, with `spec.suspend` set, sealed again."""
    text = re.sub(
        r"(?m)^  suspend: (true|false)$",
        f"  suspend: {'true' if suspended else 'false'}",
        content.decode(),
        count=1,
    )
    return sealed(_unsealed(text))


def was_edited(content: bytes) -> bool:
    """Whether a file of ours is not as it was sealed, or is none of ours."""
    text = content.decode("utf-8", "replace")
    return _digest_of(text) != _digest_in(text)


@cache
def _template() -> Template:
    return Template.read(files(__package__).joinpath("base.yaml").read_text())


def _names(decision: Decision, spec: JobSpec, window: Window) -> dict[str, Scalar | Block]:
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


def _figures(decision: Decision, spec: JobSpec, window: Window) -> dict[str, Scalar | Block]:
    seconds = sum((end - start).total_seconds() for start, end in window.segments)
    return {
        "generation": str(decision.generation),
        "gpus": str(window.gpus),
        "start": format_time(window.start),
        "duration_seconds": str(round(seconds)),
        "spec_digest": spec_digest(spec),
        # Twice the expected length and an hour on top: a backstop, not a schedule.
        "active_deadline_seconds": 2 * round(seconds) + 3600,
    }


def _shape(spec: JobSpec, window: Window, pool: GpuPool, facts: ClusterFacts) -> dict[str, Scalar | Block]:
    """GPUs as nodes of equal size, the fewest that there are."""
    most = min(window.gpus, pool.gpus_per_node)
    per_node = next(count for count in range(most, 0, -1) if window.gpus % count == 0)
    return {
        "nodes": window.gpus // per_node,
        # A simulated GPU is no device that a kubelet could hand out.
        "gpus_per_node": str(0 if pool.simulated else per_node),
        "cpus_per_node": str(CPUS_PER_GPU * per_node),
        "memory_per_node": f"{MEMORY_GIB_PER_GPU * per_node}Gi",
    }


_DIGEST_LINE = re.compile(rf'(?m)^(    {re.escape(ANNOTATION.CONTENT_DIGEST)}: )"(sha256:[0-9a-f]{{64}})"$')
_ENTRY = re.compile(r'(?m)^    (carbonfleet\.dev/[a-z-]+): "([^"\\]*)"$')
_OBJECT = re.compile(r'(?m)^  name: "([^"\\]*)"$')
_DECISION = re.compile(r"(?m)^  decision\.json: \|-\n((?:    .*\n)+)")
_SUSPEND = re.compile(r"(?m)^  suspend: (true|false)$")


def sealed(text: str) -> bytes:
    """A file of ours with its own digest in it, in place of `NO_DIGEST`."""
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return _DIGEST_LINE.sub(rf'\1"{digest}"', text, count=1).encode()


def _unsealed(text: str) -> str:
    return _DIGEST_LINE.sub(rf'\1"{NO_DIGEST}"', text, count=1)


def _digest_in(text: str) -> str:
    found = _DIGEST_LINE.search(text)
    return found[2] if found else "none"


def _digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(_unsealed(text).encode()).hexdigest()}"


def _as_written(ray_job: str) -> tuple[dict[str, Any], str, bool]:
    """Labels and annotations, the object's name and suspend, from text whose shape is known."""
    name, suspend = _OBJECT.search(ray_job), _SUSPEND.search(ray_job)
    return dict(_ENTRY.findall(ray_job)), name[1] if name else "", bool(suspend and suspend[1] == "true")


def _as_any(path: str, content: bytes) -> tuple[dict[str, Any], str, bool]:
    _config, ray_job = _documents(path, content)
    try:
        metadata = ray_job.data["metadata"]
        values = {**metadata["labels"], **metadata["annotations"]}
        return values, str(metadata["name"]), ray_job.data["spec"].get("suspend") is True
    except (KeyError, TypeError, AttributeError) as error:
        raise PlacementInvalid(ray_job.problem(f"the RayJob lacks {error}", "metadata")) from error


def _placement(
    path: str, content: bytes, values: dict[str, Any], name: str, suspended: bool, *, edited: bool
) -> Placement:
    fields = Fields(path, content, values)
    uid, job, attempt = fields.uid(LABEL.UID), fields.label(LABEL.JOB), fields.whole(LABEL.ATTEMPT, 1, MOST_ATTEMPTS)
    if name != (ours := object_name(job, uid, attempt)):
        message = f"the RayJob is named {name[:80]!r}, but must be {ours}, by its job, UID and attempt"
        raise PlacementInvalid(FileProblem(path, line_of(content, "name"), message))
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
        suspended=suspended,
        object_name=name,
        data_class=fields.text(LABEL.DATA_CLASS),
        decision_digest=fields.text(ANNOTATION.DECISION_DIGEST, ""),
        spec_digest=fields.text(ANNOTATION.SPEC_DIGEST, ""),
        content_digest=fields.text(ANNOTATION.CONTENT_DIGEST, ""),
        expires_at=fields.time(ANNOTATION.EXPIRES_AT) if fields.text(ANNOTATION.EXPIRES_AT, "") else None,
        approved_in=fields.text(ANNOTATION.APPROVED_IN, ""),
        edited=edited,
    )
