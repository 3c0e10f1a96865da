"""TrainingReports that count: each on its sender's own placement, within what Git and the clock allow.

All that the hub knows of reports comes from here. A spoke may write anything into its namespace, so a report counts
only where job UID, spoke, attempt and placement id are those that stand in Git, or stood there last; the rest of its
identity is taken from Git, and its times are brought into the attempt's own. A spoke may write as many as it likes:
what they are on is cheap to read, and more is read only of a few on each attempt that it ever had.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Final, TypeVar

from pydantic import ValidationError

from carbonfleet.api import TrainingReport
from carbonfleet.api.problems import told
from carbonfleet.api.report import (
    AttemptNumber,
    AttemptPhase,
    JobRef,
    PlacementId,
    Progress,
    ReportSpec,
    Stint,
    Validation,
)
from carbonfleet.api.wire import Foreign, Name, Uid
from carbonfleet.faults import only
from carbonfleet.hub.energy import is_beyond_hardware
from carbonfleet.hub.observe.heartbeats import MOST_SKEW
from carbonfleet.hub.observe.mirror import REPORTS, Mirror
from carbonfleet.hub.observe.placed import LONG_AGO, Placed, PlacedInGit
from carbonfleet.kube import Object, name_of

REFUSAL_HOLDS: Final = timedelta(hours=24)
"""A spoke that refused a job is not asked again for so long: its own list may change."""
REPORT_REST: Final = timedelta(minutes=10)
"""A report outlives its job by so much, and one on what Git never had its being seen."""
MOST_OF_ATTEMPT: Final = 4
"""Reports of one attempt that are read: its agent writes one."""
MOST_STRAYS: Final = 100
"""Of one spoke, on what Git never had for it, that are left to be seen; of its problems, that are told."""
_PREFIX: Final = "spoke-"
Identity = tuple[str, str, int, str]
"""Job UID, spoke, attempt, placement id."""
Moment = TypeVar("Moment", datetime, datetime | None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What spokes said at one moment, as far as it counts, and what of it does not."""

    reports: Mapping[str, ReportSpec] = field(default_factory=dict)
    """By job UID: on the attempt that stands in Git, or stood there last."""
    refusals: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By job UID: the spokes that refused an attempt of it lately."""
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By spoke: what it said and must not, a sentence each."""
    spent: tuple[Object, ...] = ()
    """Objects that nobody needs any more: of jobs that are no more, or on attempts that their spoke never had."""


class _Job(Foreign):
    uid: Uid


class _Said(Foreign):
    """What a report is on, which is cheap to read."""

    spoke: Name
    job: _Job
    placement_id: PlacementId
    attempt: AttemptNumber


@dataclass(slots=True)
class _Read:
    """One object, what it is on, and what it was found to be worth."""

    body: Object
    name: str
    """The object's."""
    namespace: str
    seen_at: datetime
    """By the hub's clock: when this version was first seen. What it tells of happened before."""
    spoke: str = field(init=False)
    """Who can have written it: each spoke writes into a namespace of its own."""
    identity: Identity | None = None
    problem: str = ""
    """Why it can't count, wherever its attempt stands."""
    version: object = None
    """Of what Git says of the job, when the rest was worked out."""
    verdict: "_Verdict | None" = None

    def __post_init__(self) -> None:
        self.spoke = self.namespace.removeprefix(_PREFIX)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one report is worth, as Git stands."""

    problem: str = ""
    """Why it does not count."""
    spec: ReportSpec | None = None
    """As it was written, where it is on an attempt that its spoke had."""
    report: ReportSpec | None = None
    """The report, bounded; None also for one on an earlier attempt of its spoke."""
    corrections: tuple[str, ...] = ()
    """What was put right in it."""
    is_stray: bool = False
    """It is on what its spoke never had, or one of too many."""


_TOO_MANY: Final = _Verdict(f"is one of more than {MOST_OF_ATTEMPT} on its attempt: it does not count", is_stray=True)


@dataclass(slots=True)
class Reports:
    """Reads reports: each is parsed and bounded again only when it, or its placement, has changed."""

    mirror: Mirror
    _known: dict[str, _Read] = field(default_factory=dict)

    def read(self, now: datetime) -> tuple[_Read, ...]:
        """Every report that the API has. Read before the branch, so that what they tell of is there by then."""
        found: dict[str, _Read] = {}
        for body in self.mirror.all(REPORTS):
            with only(f"trainingreport {name_of(body)} can't be read"):
                found[str(body["metadata"]["uid"])] = self._read(body, now)
        self._known = found
        return tuple(found.values())

    def _read(self, body: Object, now: datetime) -> _Read:
        known = self._known.get(str(body["metadata"]["uid"]))
        if known is not None and known.body["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]:
            return known
        return read(body, now)


def read(body: Object, now: datetime) -> _Read:
    """One object, as far as to know what it is on; what is wrong where that is none of its spoke's business."""
    metadata = body["metadata"]
    found = _Read(body, str(metadata["name"]), str(metadata.get("namespace") or ""), now)
    try:
        said = _Said.model_validate(body.get("spec"))
    except Exception as error:  # noqa: BLE001 - whatever a spoke wrote, it harms no other
        return replace(found, problem=_unreadable(error))
    if found.namespace != f"{_PREFIX}{said.spoke}":
        return replace(found, problem=f"is in the name of another spoke, {said.spoke}")
    return replace(found, identity=(said.job.uid, said.spoke, said.attempt, said.placement_id))


def _unreadable(error: Exception) -> str:
    why = told(error, TrainingReport) if isinstance(error, ValidationError) else type(error).__name__
    return f"can't be read: {why}"


def accepted(heard: Iterable[_Read], git: PlacedInGit, now: datetime, *, is_fresh: bool = True) -> Accepted:
    """The reports that count, as Git bounds them. Of several on one attempt the one observed last does.

    What Git does not know is no problem of its spoke while the branch can't be read (`is_fresh`), but never counts.
    """
    problems: dict[str, list[str]] = {}
    counted: list[_Counted] = []
    spent: list[Object] = []
    strays = Counter[str]()
    of_attempt = Counter[Identity | None]()
    for one in sorted(heard, key=attrgetter("seen_at", "name")):
        with only(f"trainingreport {one.name} in {one.namespace}", partial(_blame, problems, one)):
            of_attempt[one.identity] += 1
            verdict = _TOO_MANY if one.identity and of_attempt[one.identity] > MOST_OF_ATTEMPT else _verdict(one, git)
            strays[one.spoke] += verdict.is_stray
            if (verdict.is_stray and strays[one.spoke] > MOST_STRAYS) or _is_spent(one, verdict, git, now):
                spent.append(one.body)
            if is_fresh:
                _note(problems, one, *filter(None, (verdict.problem, *verdict.corrections)))
            if verdict.spec is not None:
                counted.append(_Counted(_at(one, verdict.spec), one.name, verdict.spec, verdict.report))
    counted.sort(key=attrgetter("at", "name"))
    return Accepted(
        reports={each.report.job.uid: each.report for each in counted if each.report is not None},
        refusals=_refusals(counted, now),
        problems={spoke: tuple(found) for spoke, found in problems.items()},
        spent=tuple(spent),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """A report that is on an attempt which its spoke had."""

    at: datetime
    """When it was observed."""
    name: str
    spec: ReportSpec
    report: ReportSpec | None


def _refusals(counted: Iterable[_Counted], now: datetime) -> dict[str, frozenset[str]]:
    refusals: dict[str, frozenset[str]] = {}
    for each in counted:
        if each.spec.phase is AttemptPhase.REFUSED and now - each.at < REFUSAL_HOLDS:
            uid = each.spec.job.uid
            refusals[uid] = refusals.get(uid, frozenset()) | {each.spec.spoke}
    return refusals


def _at(one: _Read, spec: ReportSpec) -> datetime:
    """When it was observed; what is dated in the future, when it was seen."""
    return min(spec.observed_at, one.seen_at)


def _blame(problems: dict[str, list[str]], one: _Read, fault: str) -> None:
    """The fault names the report itself."""
    problems.setdefault(one.spoke, []).append(f"{fault}: it does not count; the hub's log has the fault")


def _note(problems: dict[str, list[str]], one: _Read, *found: str) -> None:
    told = problems.setdefault(one.spoke, []) if found else []
    if found and len(told) < MOST_STRAYS:
        texts = (f"trainingreport {one.name} in {one.namespace} {text}" for text in found)
        told.extend(map(_printable, texts))


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _verdict(one: _Read, git: PlacedInGit) -> _Verdict:
    if one.identity is None:
        return _Verdict(one.problem)
    version = git.version(one.identity[0])
    if one.verdict is None or one.version != version:
        one.version, one.verdict = version, _judged(one, one.identity, git)
    return one.verdict


def _judged(one: _Read, identity: Identity, git: PlacedInGit) -> _Verdict:
    if not git.ever(identity):
        problem = f"is on an attempt {identity[2]} that Git never had for this spoke: it does not count"
        return _Verdict(problem, is_stray=True)
    try:
        spec = TrainingReport.model_validate(one.body).spec
    except Exception as error:  # noqa: BLE001 - whatever a spoke wrote, it harms no other
        return _Verdict(_unreadable(error))
    last = git.last(identity[0])
    if last is None or last.identity != identity:
        return _Verdict(spec=spec)
    report, corrections = bounded(spec, last, one.seen_at)
    return _Verdict("", spec, report, corrections)


def _is_spent(one: _Read, verdict: _Verdict, git: PlacedInGit, now: datetime) -> bool:
    if verdict.is_stray:
        return now - one.seen_at > REPORT_REST
    spec = verdict.spec
    if spec is None:
        return False  # a later version of us may be able to read it
    return spec.phase.is_terminal and not git.may_be_there(spec.job) and now - _at(one, spec) > REPORT_REST


def bounded(spec: ReportSpec, placed: Placed, seen_at: datetime) -> tuple[ReportSpec, tuple[str, ...]]:
    """A report with Git's figures and times that can be, and what was put right in it.

    No moment lies before the placement's commit, nor after the hub saw the report. One from the future was written by
    a clock that is ahead, so that all its times are brought back by as much.
    """
    known = [moment for moment in placed.not_before if moment <= seen_at]
    span = _Span(max(known, default=LONG_AGO), seen_at, max(timedelta(), spec.observed_at - seen_at))
    start, end = span.within(spec.start_time), span.within(spec.end_time)
    claims = {
        "job": _job_of(spec.job, placed),
        "pool": placed.pool or spec.pool,
        "gpus": placed.gpus or spec.gpus,
    }
    moments = {
        "start_time": start,
        "end_time": max(start, end) if start is not None and end is not None else end,
        "stints": _in_order(spec.stints, span),
        "observed_at": span.within(spec.observed_at),
    }
    inner = {"progress": _progress(spec, span), "checkpoint": _checkpoint(spec, span), "energy": _energy(spec, span)}
    found = spec.model_copy(update={**claims, **moments, **inner})
    wrong = (*_false(spec, claims), *_skewed(spec, span))
    if spec.progress is not None and len(_possible_validations(spec.progress)) < len(spec.progress.validations):
        wrong += ("names validations of steps that it has not done, or has named before: they do not count",)
    if _is_elsewhere(spec):
        wrong += ("names a checkpoint that is not in its job's own folder: it counts as none",)
    if placed.hardware is not None and is_beyond_hardware(found, placed.hardware):
        wrong += ("counts more energy than its GPUs can draw: their profile's estimate is taken",)
        found = found.model_copy(update={"energy": None})
    return found, wrong


def _job_of(said: JobRef, placed: Placed) -> JobRef:
    return said.model_copy(update={"namespace": placed.namespace, "name": placed.name}) if placed.name else said


@dataclass(frozen=True, slots=True)
class _Span:
    """The time in which an attempt can have done anything, and by how much its spoke's clock is ahead."""

    first: datetime
    last: datetime
    ahead: timedelta

    def within(self, moment: Moment) -> Moment:
        """The moment by the hub's clock, brought into the span."""
        return None if moment is None else min(max(moment - self.ahead, self.first), self.last)


def _in_order(stints: tuple[Stint, ...], span: _Span) -> tuple[Stint, ...]:
    """Stints that follow each other: an attempt holds its GPUs once at a time. Only the last may be open."""
    found: list[Stint] = []
    free_from = span.first
    for number, stint in enumerate(stints):
        start = max(span.within(stint.start), free_from)
        last = number == len(stints) - 1
        end = span.within(stint.end) if stint.end is not None or last else span.within(stints[number + 1].start)
        end = max(start, end) if end is not None else None
        found.append(Stint(start=start, end=end))
        free_from = end or start
    return tuple(found)


def _progress(spec: ReportSpec, span: _Span) -> object:
    said = spec.progress
    if said is None:
        return None
    validations = tuple(one.model_copy(update={"time": span.within(one.time)}) for one in _possible_validations(said))
    return said.model_copy(update={"first_step_time": span.within(said.first_step_time), "validations": validations})


def _possible_validations(said: Progress) -> tuple[Validation, ...]:
    """One for each step that the training has done, in their order."""
    found: list[Validation] = []
    for one in said.validations:
        if (found[-1].step if found else 0) < one.step <= said.step:
            found.append(one)
    return tuple(found)


def _checkpoint(spec: ReportSpec, span: _Span) -> object:
    said = spec.checkpoint
    if said is None or _is_elsewhere(spec):
        return None
    return said.model_copy(update={"time": span.within(said.time)})


def _is_elsewhere(spec: ReportSpec) -> bool:
    """Whether it names a checkpoint that isn't in its job's own folder: what is served would be another job's."""
    parts = spec.checkpoint.uri.rstrip("/").split("/") if spec.checkpoint is not None else [spec.job.uid]
    return parts[-1] != spec.job.uid or ".." in parts


def _energy(spec: ReportSpec, span: _Span) -> object:
    said = spec.energy
    if said is None:
        return None
    return said.model_copy(
        update={"samples": tuple(one.model_copy(update={"time": span.within(one.time)}) for one in said.samples)}
    )


def _false(spec: ReportSpec, claims: Mapping[str, object]) -> list[str]:
    """What it says of its placement that is not so."""
    wrong = [name for name, true in claims.items() if getattr(spec, name) != true]
    return [f"names another {' and '.join(wrong)} than its placement in Git, which counts"] if wrong else []


def _skewed(spec: ReportSpec, span: _Span) -> list[str]:
    if span.ahead > MOST_SKEW:
        return [f"is dated {rough(span.ahead)} ahead of the hub's clock: set the spoke's clock right"]
    if spec.start_time is not None and spec.start_time < span.first - MOST_SKEW:
        return [
            f"says that it began {rough(span.first - spec.start_time)} before its placement was committed, which "
            "counts: see whether the spoke's clock is behind"
        ]
    return []


def rough(span: timedelta) -> str:
    """A span in two figures or so, for people."""
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
