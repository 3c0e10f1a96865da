"""What Git wants of this spoke: its own folder, read file by file, each checked before anything runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.report import AttemptPhase, JobRef, ReportSpec
from carbonfleet.fleet.git import Files
from carbonfleet.fleet.manifests import (
    LONGEST_OBJECT_NAME,
    Placement,
    PlacementInvalid,
    is_label,
    manifests,
    parse,
    read_job_path,
    why_unread,
)
from carbonfleet.fleet.serving import read_serving
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.yaml_reader import FileInvalid, FileProblem, blaming

TRAINING_VARIABLES: Final = ("LORA_CONFIG", "LORA_OUTPUT", "LORA_ATTEMPT", "LORA_PLACEMENT")
"""All that a placement may tell the training script."""
DEFAULT_GRACE_SECONDS: Final = 180
MOST_GRACE_SECONDS: Final = 3600

NO_POLICIES: Final = PolicySet()
"""Nothing is allowed by it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One placement with its manifests, and what its training is told."""

    placement: Placement
    config_map: Mapping[str, Any]
    ray_job: Mapping[str, Any]
    environment: Mapping[str, str]
    """`TRAINING_VARIABLES`, as far as the file gives them."""
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    """From SIGTERM to SIGKILL: the time for a checkpoint."""
    is_simulated: bool = False
    """Its pool's GPUs are declared for a demo and are no devices."""

    @property
    def name(self) -> str:
        """The RayJob's name, which is also the report's and the submission's."""
        return self.placement.object_name


@dataclass(frozen=True, slots=True)
class Folder:
    """This spoke's part of the fleet repository at one commit.

    `files` holds `clusters/<name>/jobs/**` by path; `facts` is None, with a reason in `problem`, where the
    cluster's own file is missing or broken.
    """

    commit: str
    facts: ClusterFacts | None
    problem: str
    files: Files
    is_there: bool = True
    """The cluster's own file is there. Where it is gone, so may be the rest, and nothing is pruned."""
    serving: Files = field(default_factory=dict)
    """`serving/<name>/**` by path: whoever applies that, its pods hold GPUs."""
    policies: PolicySet = NO_POLICIES
    """All of `policies/` at this commit."""
    unread: str = ""
    """Why nothing new begins: a file that nobody can read lies among the placements."""


@dataclass(frozen=True, slots=True)
class WantedSet:
    """The folder as read: placements by object name, and the files that could not be read, by path."""

    commit: str = ""
    facts: ClusterFacts | None = None
    placements: Mapping[str, Wanted] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with a file; what it may have asked for goes on as it is."""
    problem: str = ""
    is_there: bool = True
    serving: Mapping[str, int] = field(default_factory=dict)
    """GPUs that serve, by pool."""
    policies: PolicySet = NO_POLICIES
    unread: str = ""

    def leaves(self, path: str) -> bool:
        """Whether what the file at `path` asked for goes on: it or its folder can't be read, or all is gone."""
        return not self.is_there or any(f"{path}/".startswith(f"{broken}/") for broken in self.broken)

    @property
    def problems(self) -> tuple[str, ...]:
        """All that a person should repair."""
        named = any(self.unread.endswith(problem) for problem in (self.problem, *self.broken.values()) if problem)
        return tuple(each for each in (self.problem, *self.broken.values(), "" if named else self.unread) if each)


def read_folder(cluster: str, folder: Folder) -> WantedSet:
    """Read every placement of `cluster`; a file that is none, or another cluster's, is a problem."""
    placements: dict[str, Wanted] = {}
    broken: dict[str, str] = {}
    simulated = {pool.name for pool in (folder.facts.pools if folder.facts else ()) if pool.simulated}
    for path in sorted(folder.files):
        try:
            with blaming(path, PlacementInvalid):
                wanted = read_wanted(cluster, path, _content(path, folder.files[path]))
                wanted = replace(wanted, is_simulated=wanted.placement.pool in simulated)
                name = wanted.name
        except PlacementInvalid as error:
            broken[path] = str(error)
            continue
        if name in placements:
            broken[path] = f"{path}: {name} is already in {placements[name].placement.path}"
        else:
            placements[name] = wanted
    serving = _serving(folder, broken)
    return WantedSet(
        folder.commit,
        folder.facts,
        placements,
        broken,
        folder.problem,
        folder.is_there,
        serving,
        folder.policies,
        folder.unread,
    )


def _serving(folder: Folder, broken: dict[str, str]) -> Mapping[str, int]:
    """GPUs that serve, by pool; what can't be read is added to `broken`."""
    found = Counter[str]()
    for path, content in folder.serving.items():
        try:
            with blaming(path, FileInvalid):
                served = read_serving(path, _content(path, content))
        except FileInvalid as error:
            broken[path] = f"{error}; the GPUs that it takes are not known"
            continue
        found[served.pool] += served.gpus
    return found


def _content(path: str, content: bytes | None) -> bytes:
    if content is None:
        raise FileInvalid(FileProblem(path, 1, why_unread(path, is_file=False)))
    return content


def read_wanted(cluster: str, path: str, content: bytes) -> Wanted:
    """One file. Raises PlacementInvalid, also where it is for another cluster."""
    place = read_job_path(path)
    if place is None or place.cluster != cluster:
        raise _invalid(path, f"not a placement of {cluster}")
    placement = parse(path, content)
    if placement.differs is not None:
        raise PlacementInvalid(placement.differs)
    _check_values(path, placement)
    config_map, ray_job = manifests(path, content)
    container, pod = _training_container(path, ray_job)
    return Wanted(
        placement,
        config_map,
        ray_job,
        _environment(path, container, config_map),
        _grace_seconds(pod),
    )


def _invalid(path: str, message: str) -> PlacementInvalid:
    return PlacementInvalid(FileProblem(path, 1, message))


def _check_values(path: str, placement: Placement) -> None:
    """Every value fits a report, a URL and a label, whoever wrote it."""
    if not is_label(placement.object_name) or len(placement.object_name) > LONGEST_OBJECT_NAME:
        raise _invalid(path, f"{placement.object_name[:80]!r} is not a RayJob's name")
    try:
        ReportSpec(
            spoke=placement.cluster,
            job=JobRef(namespace=placement.namespace, name=placement.name, uid=placement.uid),
            placement_id=placement.placement_id,
            attempt=placement.attempt,
            pool=placement.pool,
            gpus=placement.gpus,
            phase=AttemptPhase.PENDING,
            observed_at=placement.start,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise _invalid(path, f"{first['loc'][0]}: {first['msg']}") from error


def _training_container(path: str, ray_job: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container that trains, and its pod: the one of the first worker group."""
    try:
        pod = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
        return dict(pod["containers"][0]), dict(pod)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _invalid(path, f"the RayJob has no worker container: {error!r}") from error


def _grace_seconds(pod: Mapping[str, Any]) -> int:
    given = pod.get("terminationGracePeriodSeconds")
    return given if isinstance(given, int) and 0 < given <= MOST_GRACE_SECONDS else DEFAULT_GRACE_SECONDS


def _environment(path: str, container: Mapping[str, Any], config_map: Mapping[str, Any]) -> dict[str, str]:
    try:
        entries = {entry["name"]: _value(entry, config_map) for entry in container.get("env") or ()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _invalid(path, f"an entry of env can't be read: {error!r}") from error
    return {name: entries[name] for name in TRAINING_VARIABLES if name in entries}


def _value(entry: Mapping[str, Any], config_map: Mapping[str, Any]) -> str:
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    return str(config_map["data"][entry["valueFrom"]["configMapKeyRef"]["key"]])
