"""Where things are in the fleet repository, and what they are called there."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

POLICIES: Final = "policies"
CLUSTERS: Final = "clusters"
CLUSTER_FILE: Final = "cluster.yaml"
JOBS: Final = "jobs"
MOVES: Final = "moves"
SERVING: Final = "serving"
FILES_UNREADABLE: Final = "FilesUnreadable"
"""A reason: nothing new goes to a cluster while a file among its placements can't be read."""
MOVES_UNREADABLE: Final = "MovesUnreadable"
"""A reason: no job is moved while a file under `moves/` can't be read."""
ROOTS: Final = (POLICIES, CLUSTERS, MOVES, SERVING)
"""The folders at the root that mean something."""
LONGEST_OBJECT_NAME: Final = 47
"""KubeRay appends to a RayJob's name and refuses longer ones."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_UID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


class JobPath(NamedTuple):
    """The parts of `clusters/<cluster>/jobs/<namespace>/<job>.yaml`."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """The path from the root of the repository."""
        return f"{CLUSTERS}/{self.cluster}/{JOBS}/{self.namespace}/{self.name}.yaml"


def is_label(text: str) -> bool:
    """Whether `text` is a DNS-1123 label, and so safe as a path segment, a label and a trailer."""
    return _LABEL.fullmatch(text) is not None


def job_path(cluster: str, namespace: str, name: str) -> JobPath:
    """The one place for a job's placement on a cluster. Raises ValueError for a name that is no label."""
    _check_labels(cluster=cluster, namespace=namespace, job=name)
    return JobPath(cluster, namespace, name)


def read_job_path(path: str) -> JobPath | None:
    """The parts of a placement's path; None where `path` is any other."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != CLUSTERS or parts[2] != JOBS or not parts[4].endswith(".yaml"):
        return None
    found = JobPath(parts[1], parts[3], parts[4].removesuffix(".yaml"))
    return found if all(is_label(part) for part in found) else None


def move_path(namespace: str, name: str) -> str:
    """The one place for what people agreed to of moving a job: beside the clusters, so that no spoke reads it.

    Raises ValueError for a name that is no label.
    """
    _check_labels(namespace=namespace, job=name)
    return f"{MOVES}/{namespace}/{name}.yaml"


def read_move_path(path: str) -> tuple[str, str] | None:
    """The namespace and name of the job that a file under `moves/` is about; None where `path` is any other."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != MOVES or not parts[2].endswith(".yaml"):
        return None
    namespace, name = parts[1], parts[2].removesuffix(".yaml")
    return (namespace, name) if is_label(namespace) and is_label(name) else None


def serving_path(cluster: str, namespace: str, name: str) -> str:
    """The one place for what a cluster serves: a root of its own, so that whoever applies jobs needs no right to it.

    Raises ValueError for a name that is no label.
    """
    _check_labels(cluster=cluster, namespace=namespace, serving=name)
    return f"{SERVING}/{cluster}/{namespace}/{name}.yaml"


def read_serving_path(path: str) -> tuple[str, str, str] | None:
    """The cluster, namespace and name of a file under `serving/`; None where `path` is any other."""
    parts = path.split("/")
    if len(parts) != 4 or parts[0] != SERVING or not parts[3].endswith(".yaml"):
        return None
    cluster, namespace, name = parts[1], parts[2], parts[3].removesuffix(".yaml")
    return (cluster, namespace, name) if all(map(is_label, (cluster, namespace, name))) else None


def meant_root(name: str) -> str:
    """The folder that a name at the repository's root is, or was meant to be: `Policies ` is policies; else empty."""
    meant = name.strip().casefold()
    return meant if meant in ROOTS else ""


def is_policy_path(path: str) -> bool:
    """Whether `path` lies where policies lie, or were meant to: what is no policy there denies."""
    return meant_root(path.split("/")[0]) == POLICIES


def why_unread(path: str, *, is_file: bool = True) -> str:
    """Why nobody reads what lies at `path`, and what to do; empty where somebody does, or it is no place of ours."""
    root, *rest = path.split("/")
    meant = meant_root(root)
    if not meant:
        return ""
    if root != meant:
        return f"nobody reads {root!r}: call the folder {meant}, or remove it"
    if not is_file:
        what = "is a link or a submodule, or a folder too full or too deep, which nobody follows"
        return f"{what}: put the file itself here, or remove it"
    if root == POLICIES and not path.endswith((".yaml", ".yml")):
        return f"nobody reads it: a policy is a file {POLICIES}/<name>.yaml; rename it, or move it out of {POLICIES}/"
    if root == CLUSTERS and rest[1:] != [CLUSTER_FILE] and (rest[1:2] != [JOBS] or len(rest) < 3):
        return f"nobody reads it: of a cluster, {CLUSTER_FILE} and {JOBS}/ are read; rename it, or move it elsewhere"
    if root == SERVING and read_serving_path(path) is None:
        return f"not readable as what is served: its path must be {SERVING}/<cluster>/<namespace>/<name>.yaml"
    return ""


_HELD: Final = {
    CLUSTERS: "Nothing new goes there, and what runs goes on,",
    MOVES: "No job is moved",
    SERVING: "Nothing more is served there, and what is served stays,",
}
Held = Mapping[tuple[str, str], str]
"""What files that nobody can read hold up, and why: by root and cluster, `""` where it is the whole root."""


def held_by(unread: Mapping[str, str]) -> Held:
    """What files hold up that nobody can read, given by path with what is wrong: each might say what must not be.

    What lies in a cluster's folder, or in its place, holds up that cluster alone, and a file beside these folders all;
    under `moves/`, all moves. A file in a job's own place is that job's matter: it is not placed there.
    """
    held: dict[tuple[str, str], str] = {}
    for path, problem in sorted(unread.items()):
        root, *rest = path.split("/")
        if (meant := meant_root(root)) in _HELD and read_job_path(path) is None:
            cluster = rest[0].strip().casefold() if rest and meant != MOVES else ""
            cluster = cluster if len(rest) > 1 or is_label(cluster) else ""
            held.setdefault((meant, cluster), f"{_HELD[meant]} until this file is mended or taken away: {problem}")
    return held


def why_held(held: Held, root: str, cluster: str = "") -> str:
    """Why nothing new goes where a root has things of a cluster, or of none; empty where all there can be read."""
    return held.get((root, cluster)) or held.get((root, ""), "")


def cluster_path(cluster: str) -> str:
    """Where people declare a cluster."""
    return f"{CLUSTERS}/{cluster}/{CLUSTER_FILE}"


def check_uid(uid: str) -> str:
    """The UID, if it is one. Raises ValueError otherwise."""
    if not _UID.fullmatch(uid):
        raise ValueError(f"job UID {uid!r} is not letters, digits and dashes, at most 63")
    return uid


def placement_id(uid: str, generation: int, attempt: int) -> str:
    """The decision's name, the same however often it is made: 16 characters of a-z and 2-7."""
    digest = hashlib.sha256(f"{uid}/{generation}/{attempt}".encode()).digest()
    return base64.b32encode(digest[:10]).decode().lower()


def object_name(name: str, uid: str, attempt: int) -> str:
    """`<job>-<hash of the UID>-<attempt>`: a DNS-1035 label of at most 47 characters."""
    tail = f"-{base64.b32encode(hashlib.sha256(uid.encode()).digest()[:5]).decode().lower()[:4]}-{attempt}"
    head = name if name[:1].isalpha() else f"j{name}"
    return head[: LONGEST_OBJECT_NAME - len(tail)].rstrip("-") + tail


def _check_labels(**names: str) -> None:
    for what, text in names.items():
        if not is_label(text):
            raise ValueError(f"{what} name {text!r} is not a lower-case DNS label of at most 63 characters")
