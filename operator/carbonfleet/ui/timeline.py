"""The time line: by zone the curve of the grid, and under it the jobs that wait, run and have run there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

from carbonfleet.api.job_status import Phase
from carbonfleet.placement.phrase import saving, shortened, time
from carbonfleet.ui.charts import Curve, TimeScale, curve
from carbonfleet.ui.pages import GROUPS, KIND, Context
from carbonfleet.ui.reader import FleetState
from carbonfleet.ui.values import AttemptRow, JobRow

WIDTH, CURVE_HEIGHT, LANE_HEIGHT = 900, 110, 26
NAME_WIDTH: Final = 150
SPANS: Final = (12, 24, 48, 96)
"""Hours that can be shown, a third of them past."""
MOST_LANES: Final = 25
"""Of a zone."""
LONGEST_WHY: Final = 300
Span = tuple[str, datetime, datetime, str]
"""Cluster, from, until, and what the job did or is to do."""
_Drawn = tuple[JobRow, list[Span]]
_ENDED: Final = {Phase.SUCCEEDED.value: "done", Phase.STOPPED_EARLY.value: "done"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a lane."""

    x: float
    width: float
    kind: str
    """waiting, planned, running, paused, moved, done or failed: a class of the style sheet."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One job in one zone."""

    job: JobRow
    bars: tuple[Bar, ...]
    ghost: Bar | None
    """Where the baseline would have run it."""
    why: str

    @property
    def name_x(self) -> float:
        """Where the job's name stands on a narrow screen: behind its last bar."""
        return min(max(bar.x + bar.width for bar in self.bars) + 6, WIDTH - NAME_WIDTH)


@dataclass(frozen=True, slots=True)
class Panel:
    """One zone."""

    zone: str
    spokes: tuple[str, ...]
    curve: Curve | None
    lanes: tuple[Lane, ...]
    left_out: int
    """Jobs that are there as well."""


def timeline(state: FleetState, now: datetime, hours: int, namespace: str = "") -> Context:
    """Every zone over some hours, a third of them past."""
    scale = TimeScale(now - timedelta(hours=hours / 3), now + timedelta(hours=hours * 2 / 3), WIDTH)
    zone_of = {spoke.name: spoke.zone for spoke in state.spokes}
    drawn = _drawn(state, zone_of, scale, now, namespace)
    spokes: dict[str, list[str]] = {}
    for name, zone in zone_of.items():
        spokes.setdefault(zone, []).append(name)
    panels = [_panel(zone, names, drawn.get(zone, []), state, scale) for zone, names in sorted(spokes.items())]
    return {
        "panels": panels,
        "scale": scale,
        "now_x": scale.x(now),
        "hours": hours,
        "spans": SPANS,
        "namespace": namespace,
        "namespaces": sorted({job.namespace for job in state.jobs}),
        "curve_height": CURVE_HEIGHT,
        "lane_height": LANE_HEIGHT,
    }


def _panel(zone: str, spokes: list[str], drawn: list[_Drawn], state: FleetState, scale: TimeScale) -> Panel:
    forecast = state.grid.forecasts.get((zone, KIND)) if state.grid else None
    history = state.grid.histories.get((zone, KIND)) if state.grid else None
    lanes = tuple(_lane(each, spokes, scale) for each in sorted(drawn, key=_order)[:MOST_LANES])
    shape = curve(history, forecast, scale, CURVE_HEIGHT)
    return Panel(zone, tuple(spokes), shape, lanes, len(drawn) - len(lanes))


def _lane(drawn: _Drawn, spokes: list[str], scale: TimeScale) -> Lane:
    job, spans = drawn
    bars = ((scale.x(start), scale.x(end), kind) for _, start, end, kind in spans)
    shapes = tuple(Bar(left, max(2.0, round(right - left, 1)), kind) for left, right, kind in bars)
    return Lane(job, shapes, _ghost(job, scale) if job.cluster in spokes else None, why_of(job))


def _order(drawn: _Drawn) -> tuple[int, float, str]:
    """Running, then waiting by start, then what is over, the newest first."""
    job = drawn[0]
    start = job.start.timestamp() if job.start else 0.0
    if job.phase in GROUPS["Running"]:
        return 0, start, job.key
    is_over = job.phase in GROUPS["Done"] or job.phase == Phase.FAILED
    return (2, -start, job.key) if is_over else (1, start, job.key)


def _drawn(
    state: FleetState, zone_of: Mapping[str, str], scale: TimeScale, now: datetime, namespace: str
) -> dict[str, list[_Drawn]]:
    """By zone: the jobs that did or are to do something there within the scale, and what."""
    attempts = _attempts_of(state)
    found: dict[str, list[_Drawn]] = {}
    for job in state.jobs:
        if namespace and job.namespace != namespace:
            continue
        by_zone: dict[str, list[Span]] = {}
        for span in _spans(job, attempts.get(job.uid, ()), now):
            cluster, start, end, _ = span
            if (zone := zone_of.get(cluster)) and start < scale.end and end > scale.start:
                by_zone.setdefault(zone, []).append(span)
        for zone, spans in by_zone.items():
            found.setdefault(zone, []).append((job, spans))
    return found


def _attempts_of(state: FleetState) -> dict[str, list[AttemptRow]]:
    """By job UID: attempts as they are accounted, or else as their spokes report them, in their order."""
    known: dict[tuple[str, int], AttemptRow] = {}
    for each in (*state.attempts, *(state.accounts.recent if state.accounts else ())):
        known[each.job_uid, each.attempt] = each
    found: dict[str, list[AttemptRow]] = {}
    for (uid, _), each in sorted(known.items()):
        found.setdefault(uid, []).append(each)
    return found


def _spans(job: JobRow, attempts: Iterable[AttemptRow], now: datetime) -> Iterator[Span]:
    begun = [each for each in attempts if each.stints]
    first = begun[0].stints[0][0] if begun else job.first_start or job.start
    if job.created and first and job.cluster and first > job.created:
        yield begun[0].cluster if begun else job.cluster, job.created, first, "waiting"
    for attempt, later in zip_longest(begun, begun[1:]):
        yield from _stints(attempt, now, is_moved=later is not None and later.cluster != attempt.cluster)
    if job.phase in GROUPS["Running"]:
        if not begun and job.first_start:
            yield job.cluster, job.first_start, now, "running"
        if job.finish and job.finish > now:
            yield job.cluster, now, job.finish, "planned"
    elif job.phase in GROUPS["Waiting"] or job.phase == Phase.PROPOSED:
        if job.start and job.finish and job.finish > job.start:
            yield job.cluster, job.start, job.finish, "planned"
    elif not begun and job.first_start and job.finish:
        yield job.cluster, job.first_start, job.finish, _ENDED.get(job.phase, "failed")


def _stints(attempt: AttemptRow, now: datetime, *, is_moved: bool) -> Iterator[Span]:
    """When an attempt held its GPUs, and the pauses between; the last before a move to another spoke says so."""
    last: datetime | None = None
    for number, (start, end) in enumerate(attempt.stints, 1):
        if last is not None and start > last:
            yield attempt.cluster, last, start, "paused"
        last = end or now
        kind = "running" if end is None else _ENDED.get(attempt.phase, "failed" if attempt.phase == "Failed" else "ran")
        is_last = number == len(attempt.stints)
        yield attempt.cluster, start, last, "moved" if is_moved and is_last and kind == "ran" else kind


def _ghost(job: JobRow, scale: TimeScale) -> Bar | None:
    if job.created is None or not job.baseline_region or not job.duration:
        return None
    left, right = scale.x(job.created), scale.x(job.created + job.duration)
    return Bar(left, round(right - left, 1), "ghost") if right > left else None


def why_of(job: JobRow) -> str:
    """A job in one text: where it stands, why, and what it saves."""
    figures, since = job.figures, f", {time(job.start)}" if job.start else ""
    told = f"{job.key}, {job.phase}{since}: {job.summary}"
    if figures is not None and figures.saved_grams_co2e is not None:
        saved = saving(figures.saved_grams_co2e, figures.saved_percent)
        beside = job.baseline_region or "the baseline"
        told += f" {'Saved' if job.is_accounted else 'Expected to save'} {saved} beside {beside}."
    return shortened(told, LONGEST_WHY)
