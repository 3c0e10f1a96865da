"""Judges a checkout of the fleet repository: policies, clusters, and placements against residency."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pygit2

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.wire import LABEL
from carbonfleet.fleet.git import Files, digest_of, only_read, read_cluster, read_policy_files, subtree
from carbonfleet.fleet.git.trees import MOST_ENTRIES, is_file, leaves
from carbonfleet.fleet.manifests import (
    CLUSTER_FILE,
    CLUSTERS,
    JOBS,
    MOVES,
    POLICIES,
    SERVING,
    Held,
    Placement,
    PlacementInvalid,
    cluster_path,
    held_by,
    is_policy_path,
    meant_root,
    parse,
    parse_move,
)
from carbonfleet.fleet.serving import ServingInvalid, read_serving
from carbonfleet.placement.rules import Ruling, applicable, job_verdict, residency_verdict, undeclared_stores
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.yaml_reader import MOST_BYTES, FileInvalid, FileProblem

MOST_NAMED = 5
"""Spokes that a refusal names."""

_DECLARE = "add it to stores in a file of policies/"
MOST_CHECKED_BYTES = 1 << 29
"""Of all files together."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a checkout holds, as far as it can be read."""

    policies: PolicySet
    clusters: Mapping[str, ClusterFacts]
    placements: Mapping[str, Placement]
    problems: tuple[FileProblem, ...]
    """By file and line."""
    held: Held


def read_checkout(files: Files) -> Checkout:
    """Read everything and find every problem in it; a function of the files alone."""
    policy_files = {path: content for path, content in files.items() if is_policy_path(path)}
    found, problems = read_policy_files(policy_files)
    policies = PolicySet(found, digest_of(policy_files), tuple(map(str, problems)))
    others, unread = only_read({path: content for path, content in files.items() if path not in policy_files})
    clusters, cluster_problems = _read_clusters(others)
    # What was meant by a file that nobody reads beside a cluster's own may be a limit.
    parts = [problem.path.split("/") for problem in unread]
    doubtful = {part[1] for part in parts if part[0] == CLUSTERS and (part[2:3] != [JOBS] or len(part) == 3)}
    clusters = {name: facts for name, facts in clusters.items() if name not in doubtful}
    placements, placement_problems = _read_placements(others)
    problems += unread + cluster_problems + placement_problems
    problems += _copies(placements.values())
    moves, move_problems = _read_moves(others)
    problems += move_problems
    broken = unread + cluster_problems + placement_problems + move_problems
    for placement in (*placements.values(), *moves.values()):
        problems += _placement_problems(placement, policies, clusters)
    problems += _serving_problems(others, policies, clusters)
    said = tuple(sorted(problems, key=lambda p: (p.path, p.line)))
    return Checkout(policies, clusters, placements, said, held_by({each.path: str(each) for each in broken}))


def notes_on(checkout: Checkout) -> tuple[FileProblem, ...]:
    """What is allowed, and what a person should know of it all the same: stores that nobody has declared."""
    notes = [*_undeclared(checkout), *_shared_stores(checkout)]
    return tuple(sorted(notes, key=lambda note: (note.path, note.line)))


def _undeclared(checkout: Checkout) -> Iterator[FileProblem]:
    refused = {problem.path for problem in checkout.problems}
    for path, placement in checkout.placements.items():
        facts = None if path in refused else checkout.clusters.get(placement.cluster)
        for store in undeclared_stores(checkout.policies, facts, placement.places) if facts else ():
            message = f"nobody has declared where {store} lies, and no policy limits where this job's data may be"
            yield FileProblem(path, 1, f"{message}: {_DECLARE}")


def _shared_stores(checkout: Checkout) -> Iterator[FileProblem]:
    declared = {store.name for policy in checkout.policies.policies for store in policy.spec.stores}
    for name, facts in checkout.clusters.items():
        others = (each for each in checkout.clusters.values() if facts.store and each.store == facts.store)
        elsewhere = sorted(each.name for each in others if each.region != facts.region)
        if elsewhere and facts.store not in declared:
            message = f"its store {facts.store} is also that of {', '.join(elsewhere)}, which lie elsewhere"
            yield FileProblem(cluster_path(name), 1, f"{message}: {_DECLARE}, or give each a store of its own")


def where(checkout: Checkout, data_class: str, namespace: str) -> tuple[tuple[str, Ruling], ...]:
    """For each cluster, whether a job with this data class from this namespace may run there, and why not."""
    request = ResidencyRequest(data_class=data_class)
    return tuple(
        (name, residency_verdict(checkout.policies, data_class, namespace, request, facts))
        for name, facts in sorted(checkout.clusters.items())
    )


def refusal_of(job: CarbonTrainingJob, policies: PolicySet, clusters: Mapping[str, ClusterFacts]) -> str:
    """Why a job may run nowhere in the fleet; empty where it may."""
    residency, namespace = job.spec.residency, job.metadata.namespace or "default"
    general = job_verdict(policies, job.spec, namespace)
    if not general.allowed:
        return general.message
    places, why = job.spec.workload.data_places, list[str]()
    for name, facts in sorted(clusters.items()):
        ruling = residency_verdict(policies, residency.data_class, namespace, residency, facts, places)
        if ruling.allowed:
            return ""
        why.append(f"{name}: {ruling.message}")
    if not why:
        return "the fleet repository declares no cluster that can be used; add clusters/<name>/cluster.yaml"
    more = f"; and {len(why) - MOST_NAMED} more" if len(why) > MOST_NAMED else ""
    return (
        f"no spoke may hold data of class {residency.data_class} from namespace {namespace}: "
        f"{'; '.join(why[:MOST_NAMED])}{more}"
    )


def policies_for(checkout: Checkout, data_class: str, namespace: str) -> tuple[str, ...]:
    """The names of the policies in whose scope such a job falls."""
    return tuple(policy.metadata.name for policy in applicable(checkout.policies, data_class, namespace))


def read_files(folder: Path) -> dict[str, bytes | None]:
    """What of a checkout matters, by path from its root; None for links, submodules and whatever else is no file.

    Raises FileNotFoundError where the folder is no checkout of a fleet repository, or one that nobody could read.
    """
    if not any((folder / root).is_dir() for root in (POLICIES, CLUSTERS)):
        raise FileNotFoundError(f"{folder} has neither {POLICIES}/ nor {CLUSTERS}/: give the fleet repository")
    files: dict[str, bytes | None] = dict.fromkeys(_submodules(folder))
    room = MOST_CHECKED_BYTES
    roots = (root for root in sorted(folder.iterdir()) if meant_root(root.name))
    for path in (path for root in roots for path in _leaves(root)):
        content = files[path.relative_to(folder).as_posix()] = _content(path)
        room -= len(content or b"")
        if room < 0:
            raise FileNotFoundError(f"{path}: with it, the files are more than {MOST_CHECKED_BYTES >> 20} MiB in all")
    return files


def _leaves(path: Path) -> Iterator[Path]:
    """All under a path that is no folder of this repository's own."""
    if path.is_symlink() or not path.is_dir() or (path / ".git").exists():
        yield path
        return
    found = list(islice(path.iterdir(), MOST_ENTRIES + 1))
    if len(found) > MOST_ENTRIES:
        raise FileNotFoundError(f"{path} holds more than the {MOST_ENTRIES} entries that are read")
    for inside in sorted(found):
        yield from _leaves(inside)


def _content(path: Path) -> bytes | None:
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _submodules(folder: Path) -> list[str]:
    """Where other repositories are to be put among the files that matter, also where they are not checked out."""
    listed = folder / ".gitmodules"
    text = (_content(listed) or b"").decode("utf-8", "replace")
    paths = [found.strip().strip('"') for found in re.findall(r"(?m)^\s*path\s*=(.*)$", text)]
    return [path for path in paths if meant_root(path.split("/")[0])]


def changed_since(folder: Path, revision: str, files: Files) -> set[str]:
    """The paths that matter and differ from a commit. Raises ValueError where there is none to compare with.

    libgit2 reads alone: what is checked may be anybody's, and git would run its hooks, filters and monitors.
    """
    try:
        repository = pygit2.Repository(pygit2.discover_repository(str(folder)) or str(folder))
        root = repository.revparse_single(revision).peel(pygit2.Tree)
        below = folder.resolve().relative_to(Path(repository.workdir or folder).resolve()).as_posix()
        tree = root if below == "." else subtree(root, below)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise ValueError(f"{folder} can't be compared with {revision}: {error}") from error
    present = {path: None if content is None else pygit2.hash(content) for path, content in files.items()}
    return {path for path, _ in present.items() ^ _blobs_of(tree).items()}


def _blobs_of(tree: pygit2.Tree | None) -> dict[str, pygit2.Oid | None]:
    """What matters of a commit, by path as `read_files` finds it in a checkout; None for what is no file."""
    roots = [entry for entry in tree or () if entry.name and meant_root(entry.name)]
    found = (leaf for entry in roots for leaf in leaves(entry, str(entry.name)))
    return {path: entry.id if is_file(entry) else None for path, entry in found}


def about(problems: Iterable[FileProblem], changed: set[str]) -> tuple[FileProblem, ...]:
    """The problems that a change is to blame for: all, where it touches rules that placements obey."""
    rules = any(path.startswith(f"{POLICIES}/") or path.endswith(f"/{CLUSTER_FILE}") for path in changed)
    return tuple(problem for problem in problems if rules or problem.path in changed)


def _read_clusters(files: Mapping[str, bytes]) -> tuple[dict[str, ClusterFacts], list[FileProblem]]:
    names = sorted({path.split("/")[1] for path in files if path.startswith(f"{CLUSTERS}/") and path.count("/") > 1})
    clusters, problems = {}, []
    for name in names:
        path = cluster_path(name)
        if path not in files:
            problems.append(FileProblem(path, 1, "is missing, so nothing can be placed there"))
            continue
        try:
            clusters[name] = read_cluster(path, files[path])
        except FileInvalid as error:
            problems += error.problems
    return clusters, problems


def _read_placements(files: Mapping[str, bytes]) -> tuple[dict[str, Placement], list[FileProblem]]:
    placements: dict[str, Placement] = {}
    problems: list[FileProblem] = []
    for path, content in sorted(files.items()):
        parts = path.split("/")
        if len(parts) > 3 and parts[0] == CLUSTERS and parts[2] == JOBS:
            try:
                placements[path] = parse(path, content)
            except PlacementInvalid as error:
                problems += error.problems
    return placements, problems


def _read_moves(files: Mapping[str, bytes]) -> tuple[dict[str, Placement], list[FileProblem]]:
    moves: dict[str, Placement] = {}
    problems: list[FileProblem] = []
    for path, content in sorted(files.items()):
        if path.startswith(f"{MOVES}/"):
            try:
                moves[path] = parse_move(path, content)
            except PlacementInvalid as error:
                problems += error.problems
    return moves, problems


def _copies(placements: Iterable[Placement]) -> list[FileProblem]:
    """Two files of one job: two clusters would run it at the same time."""
    first: dict[str, Placement] = {}
    problems = []
    for placement in placements:
        other = first.setdefault(placement.uid, placement)
        if other is not placement:
            message = f"job {placement.key} is in {other.path} too, and would run twice; remove one"
            problems.append(FileProblem(placement.path, 1, message))
    return problems


def _placement_problems(
    placement: Placement, policies: PolicySet, clusters: Mapping[str, ClusterFacts]
) -> list[FileProblem]:
    facts, problems = clusters.get(placement.cluster), [placement.differs] if placement.differs else []
    if facts is None:
        unusable = f"{cluster_path(placement.cluster)} can't be used, so nothing may run here"
        return [*problems, FileProblem(placement.path, 1, unusable)]
    request = ResidencyRequest.model_construct(data_class=placement.data_class)
    ruling = residency_verdict(policies, placement.data_class, placement.namespace, request, facts, placement.places)
    # Broken policies deny everything; that is said once, at the policy.
    if not ruling.allowed and not policies.problems:
        message = f"data class {placement.data_class} may not run here: {ruling.message} Remove this file"
        problems.append(FileProblem(placement.path, placement.lines[LABEL.DATA_CLASS], message))
    pools = {pool.name: pool for pool in facts.pools}
    if placement.pool not in pools:
        problems.append(FileProblem(placement.path, 1, f"{facts.name} has no pool {placement.pool}"))
    elif placement.gpus > pools[placement.pool].gpus:
        problems.append(FileProblem(placement.path, 1, f"{placement.gpus} GPUs are more than {placement.pool} has"))
    return problems


def _serving_problems(
    files: Mapping[str, bytes], policies: PolicySet, clusters: Mapping[str, ClusterFacts]
) -> list[FileProblem]:
    """An adapter may be only where the data that it learned from may be."""
    problems: list[FileProblem] = []
    for path, content in files.items():
        if not path.startswith(f"{SERVING}/"):
            continue
        try:
            served = read_serving(path, content)
        except ServingInvalid as error:
            problems += error.problems
            continue
        problems += [served.differs] if served.differs else []
        facts = clusters.get(served.cluster)
        if facts is None:
            unusable = f"{cluster_path(served.cluster)} can't be used, so nothing may be served here"
            problems.append(FileProblem(path, 1, unusable))
            continue
        request = ResidencyRequest.model_construct(data_class=served.data_class)
        ruling = residency_verdict(policies, served.data_class, served.namespace, request, facts, served.places)
        if not ruling.allowed and not policies.problems:
            message = f"what learned from data class {served.data_class} may not be here: {ruling.message} Remove it"
            problems.append(FileProblem(path, served.line, message))
    return problems
