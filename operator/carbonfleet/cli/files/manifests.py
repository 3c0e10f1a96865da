"""The objects in files, folders and the standard input, each judged by the rules of its kind."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from carbonfleet.api import GROUP, CarbonTrainingJob, CarbonTrainingSchedule
from carbonfleet.api.problems import Location, name_of
from carbonfleet.api.wire import API_VERSION, format_duration
from carbonfleet.cli.files.api_rules import MODELS, read_object
from carbonfleet.cli.files.findings import FileFinding, Severity
from carbonfleet.fleet.check import read_checkout, read_files
from carbonfleet.fleet.git import CONFIG_MAP, read_cluster, read_policy_files
from carbonfleet.yaml_reader import MOST_BYTES, FileInvalid, FileProblem, YamlDocument, read_documents

STDIN: Final = "-"
_EVERY: Final = ("spec", "workload", "checkpoints", "every")
_ENDINGS: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class JobManifest:
    """A job that the API would take, as it would be stored, and where it was written."""

    job: CarbonTrainingJob
    document: YamlDocument
    made_at: datetime | None = None
    """When the hub makes it; None where it is applied."""


@dataclass(frozen=True, slots=True)
class ScheduleManifest:
    """A schedule that the API would take, as it would be stored, and where it was written."""

    schedule: CarbonTrainingSchedule
    document: YamlDocument


@dataclass(frozen=True, slots=True)
class Manifests:
    """What was read: the jobs and schedules that the API would take, and what is wrong with all the rest."""

    jobs: tuple[JobManifest, ...]
    schedules: tuple[ScheduleManifest, ...]
    findings: tuple[FileFinding, ...]
    files: int
    """That hold something of ours."""
    others: int
    """That do not."""


@dataclass(slots=True)
class _ReadManifest:
    """The same of a file, or of a part of it."""

    jobs: list[JobManifest] = field(default_factory=list)
    schedules: list[ScheduleManifest] = field(default_factory=list)
    findings: list[FileFinding] = field(default_factory=list)

    def add(self, other: "_ReadManifest") -> None:
        """What another one has."""
        self.jobs += other.jobs
        self.schedules += other.schedules
        self.findings += other.findings


@dataclass(frozen=True, slots=True)
class _ManifestFile:
    path: str
    content: bytes | FileProblem
    is_named: bool
    """By the person, rather than found in a folder."""


def read_stdin() -> bytes:
    """The standard input, as far as a file is read."""
    return sys.stdin.buffer.read(MOST_BYTES + 1)


def read_manifests(paths: Sequence[str], stdin: bytes = b"") -> Manifests:
    """All of ours in files, folders and, as `-`, the standard input that was read.

    In folders what is hidden, and what is not ours, is passed over; a checkout of the fleet repository is judged as
    such. Raises nothing: a file that can't be read is a finding.
    """
    whole = _ReadManifest()
    files = others = 0
    for path in paths:
        checkout = _checkout_of(path)
        if checkout is not None:
            files += checkout[0]
            whole.findings += checkout[1]
            continue
        for file in _files_at(path, stdin):
            found = _read(file)
            files, others = files + (found is not None), others + (found is None)
            whole.add(found or _ReadManifest())
    return Manifests(tuple(whole.jobs), tuple(whole.schedules), tuple(whole.findings), files, others)


def _checkout_of(path: str) -> tuple[int, list[FileFinding]] | None:
    """How many files a checkout of the fleet repository has, and what is wrong with them; None for anything else."""
    if path == STDIN or not Path(path).is_dir():
        return None
    try:
        files = read_files(Path(path))
    except OSError:
        return None
    problems = read_checkout(files).problems
    return len(files), [FileFinding(Severity.ERROR, problem).under(path) for problem in problems]


def _files_at(path: str, stdin: bytes) -> Iterator[_ManifestFile]:
    if path == STDIN:
        yield _ManifestFile("<stdin>", stdin, is_named=True)
    elif not Path(path).is_dir():
        yield _ManifestFile(path, _content(Path(path)), is_named=True)
    else:
        found = [_ManifestFile(str(each), _content(each), is_named=False) for each in _manifests_in(Path(path))]
        nothing = f"holds no {', '.join(_ENDINGS)} file, and is no checkout of the fleet repository"
        yield from found or [_ManifestFile(path, FileProblem(path, 1, nothing), is_named=True)]


def _manifests_in(folder: Path) -> Iterator[Path]:
    """Manifests below a folder in the order of their paths, without what is hidden."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix in _ENDINGS and path.is_file():
                yield path


def _content(path: Path) -> bytes | FileProblem:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        return FileProblem(str(path), 1, f"can't be read: {error.strerror}")


def _read(file: _ManifestFile) -> _ReadManifest | None:
    """What is in a file; None for a file of a folder that holds nothing of ours."""
    if isinstance(file.content, FileProblem):
        return _refused(file.content)
    try:
        documents = [item for document in read_documents(file.path, file.content) for item in _items(document)]
    except FileInvalid as error:
        if not file.is_named and GROUP.encode() not in file.content:
            return None
        return _refused(*error.problems)
    ours = [document for document in documents if _is_ours(document)]
    if not ours:
        return _refused(_nothing_in(file.path, documents)) if file.is_named else None
    found = _ReadManifest()
    for document in ours:
        found.add(_judged(document, file.content, len(documents)))
    return found


def _refused(*problems: FileProblem) -> _ReadManifest:
    return _ReadManifest(findings=[FileFinding(Severity.ERROR, problem) for problem in problems])


def _nothing_in(path: str, documents: Sequence[YamlDocument]) -> FileProblem:
    if not documents:
        return FileProblem(
            path, 1, "holds no YAML document; write a job, a schedule, a policy or a cluster's ConfigMap"
        )
    kind = _kind_of(documents[0]) or "not written"
    return documents[0].problem(
        f"kind is {kind}; write CarbonTrainingJob, CarbonTrainingSchedule, FleetPolicy, or a cluster's ConfigMap",
        "kind",
    )


def _items(document: YamlDocument) -> Iterable[YamlDocument]:
    """A document, or each of what a List holds, as kubectl writes and reads it."""
    items = document.data.get("items") if isinstance(document.data, dict) else None
    if not isinstance(items, list) or not str(_kind_of(document)).endswith("List"):
        return (document,)
    lines: list[dict[Location, int]] = [{} for _ in items]
    for location, line in document.lines.items():
        if len(location) > 1 and location[0] == "items" and isinstance(location[1], int):
            lines[location[1]][location[2:]] = line
    return (YamlDocument(document.path, item, own) for item, own in zip(items, lines, strict=True))


def _kind_of(document: YamlDocument) -> object:
    return document.data.get("kind") if isinstance(document.data, dict) else None


def _is_ours(document: YamlDocument) -> bool:
    """Whether an object is of our group or of one of our kinds, or what its cluster's file is."""
    data = document.data if isinstance(document.data, dict) else {}
    metadata, kind = data.get("metadata"), data.get("kind")
    is_cluster = kind == "ConfigMap" and isinstance(metadata, dict) and metadata.get("name") == CONFIG_MAP
    return is_cluster or kind in (*MODELS, "FleetPolicy") or str(data.get("apiVersion")).startswith(f"{GROUP}/")


def _judged(document: YamlDocument, content: bytes, of: int) -> _ReadManifest:
    model = MODELS.get(str(_kind_of(document)))
    if model is not None and document.data.get("apiVersion") == API_VERSION:
        found, findings = read_object(document, model)
        jobs = [JobManifest(found, document)] if isinstance(found, CarbonTrainingJob) else []
        schedules = [ScheduleManifest(found, document)] if isinstance(found, CarbonTrainingSchedule) else []
        return _ReadManifest(jobs, schedules, [*findings, *(doubt for job in jobs for doubt in _never_saved(job))])
    try:
        _check(document, content, of)
    except FileInvalid as error:
        return _refused(*error.problems)
    return _ReadManifest()


def _never_saved(manifest: JobManifest) -> Iterator[FileFinding]:
    """A run that is over before its first checkpoint, where somebody wrote how often that is to be."""
    every, run, at = manifest.job.spec.workload.checkpoints, manifest.job.spec.resources.duration, _EVERY
    if at in manifest.document.lines and every.every_steps is None and every.every > run:
        why = f"a run of {format_duration(run)} ends before its first checkpoint, so that a stop loses all of it"
        yield FileFinding(Severity.WARNING, manifest.document.problem(f"{name_of(at)}: {why}", *at))


def _check(document: YamlDocument, content: bytes, of: int) -> None:
    """See that what lies in the fleet repository, and no API serves, is right. Raises FileInvalid."""
    kind, path = _kind_of(document), document.path
    if kind in MODELS:
        raise FileInvalid(document.problem(f"apiVersion must be {API_VERSION}", "apiVersion"))
    if kind not in ("FleetPolicy", "ConfigMap"):
        known = ", ".join((*MODELS, "FleetPolicy"))
        raise FileInvalid(document.problem(f"{GROUP} has no kind {kind}; it has {known}", "kind"))
    if of != 1:
        message = f"a file with a {kind} holds one document, or the fleet does not read it; this one holds {of}"
        raise FileInvalid(document.problem(message))
    if not Path(path).exists():
        raise FileInvalid(document.problem(f"give a {kind} as a file: its path must agree with the name in it", "kind"))
    if kind == "ConfigMap":
        read_cluster(str(Path(path).resolve()), content)
    elif problems := read_policy_files({path: content})[1]:
        raise FileInvalid(*problems)
