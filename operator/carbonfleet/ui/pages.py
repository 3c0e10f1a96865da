"""From the fleet's state to what each page shows: pure functions that make plain values."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final

from carbonfleet.api.job_status import Phase
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.hub.running import GOOD_FOR
from carbonfleet.ledger.report import Line
from carbonfleet.ledger.store.sums import added
from carbonfleet.sweep import LeaderboardLine, SweepStanding, TierProgress, ranked, tiers_of
from carbonfleet.ui.charts import Curve, Dot, TimeScale, bin_of, curve, plot
from carbonfleet.ui.reader import FleetState
from carbonfleet.ui.values import PHASES, UNREADABLE, JobRow, SpokeRow

KIND: Final = SignalKind.AVERAGE_LIFECYCLE
PER_PAGE: Final = 50
CARD_WIDTH, CARD_HEIGHT = 320, 90
_SHOWN_HOURS: Final = 24
_NEXT: Final = 6
GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "Waiting": frozenset({Phase.PENDING, Phase.WAITING, Phase.COMMITTED}),
    "Running": frozenset({Phase.RUNNING, Phase.PAUSED, Phase.MOVING}),
    "Need a person": frozenset({Phase.BLOCKED, Phase.REJECTED, Phase.PROPOSED, Phase.FAILED, UNREADABLE}),
    "Done": frozenset({Phase.SUCCEEDED, Phase.STOPPED_EARLY, Phase.CANCELLED}),
}
"""Every phase is in one."""
Context = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hour:
    """A cell of a zone's strip."""

    at: datetime
    grams_per_kwh: float
    colour: int


@dataclass(frozen=True, slots=True)
class ZoneCard:
    """A zone of the fleet with its spokes."""

    zone: str
    problem: str
    """Why nothing is known of its hours."""
    now_grams_per_kwh: float | None
    low: float
    high: float
    cleanest_at: datetime | None
    source: str
    curve: Curve | None
    strip: tuple[Hour, ...]
    spokes: tuple[SpokeRow, ...]


def fleet(state: FleetState, now: datetime) -> Context:
    """What runs where, at a glance."""
    counts = Counter(job.phase for job in state.jobs)
    upcoming = [job for job in state.jobs if job.phase in GROUPS["Waiting"] and job.start and job.start >= now]
    scale = TimeScale(now - timedelta(hours=6), now + timedelta(hours=_SHOWN_HOURS), CARD_WIDTH)
    return {
        "zones": [_card(zone, state, scale, now) for zone in _zones(state)],
        "scale": scale,
        "groups": {name: sum(counts[phase] for phase in phases) for name, phases in GROUPS.items()},
        "upcoming": sorted(upcoming, key=lambda job: (job.start or now, job.key))[:_NEXT],
        "running": [job for job in state.jobs if job.phase in GROUPS["Running"]][:_NEXT],
        "totals": state.accounts.by_namespace.totals if state.accounts else (),
    }


def _zones(state: FleetState) -> list[str]:
    """Those of the spokes, the cleanest at present first, then those of which nothing is known."""
    known = state.grid.forecasts if state.grid else {}

    def order(zone: str) -> tuple[float, str]:
        forecast = known.get((zone, KIND))
        return float(forecast.grams_per_kwh[0]) if forecast else inf, zone

    return sorted({spoke.zone for spoke in state.spokes}, key=order)


def _card(zone: str, state: FleetState, scale: TimeScale, now: datetime) -> ZoneCard:
    forecast = state.grid.forecasts.get((zone, KIND)) if state.grid else None
    history = state.grid.histories.get((zone, KIND)) if state.grid else None
    strip = _strip(forecast) if forecast else ()
    values = [hour.grams_per_kwh for hour in strip]
    return ZoneCard(
        zone=zone,
        problem=(state.grid.problems.get(zone, "") if state.grid else "")
        or ("" if forecast else "nothing is known yet"),
        now_grams_per_kwh=forecast.at(now) if forecast else None,
        low=min(values, default=0.0),
        high=max(values, default=0.0),
        cleanest_at=min(strip, key=lambda hour: hour.grams_per_kwh).at if strip else None,
        source=f"{forecast.source} ({forecast.link})" if forecast else "",
        curve=curve(history, forecast, scale, CARD_HEIGHT),
        strip=strip,
        spokes=tuple(spoke for spoke in state.spokes if spoke.zone == zone),
    )


def _why_unknown(zone: str, state: FleetState) -> str:
    return (state.grid.problems.get(zone, "") if state.grid else "") or "nothing was read of it yet"


def _strip(forecast: Forecast) -> tuple[Hour, ...]:
    values = forecast.grams_per_kwh[:_SHOWN_HOURS].tolist()
    return tuple(Hour(forecast.start + forecast.step * i, value, bin_of(value)) for i, value in enumerate(values))


SORTS: Final[Mapping[str, Callable[[JobRow], Any]]] = {
    "job": lambda job: job.key,
    "phase": lambda job: (PHASES.index(job.phase), job.key),
    "where": lambda job: (job.cluster or "\uffff", job.key),
    "start": lambda job: (job.start.timestamp() if job.start else inf, job.key),
    "carbon": lambda job: (job.figures.grams_co2e if job.figures else inf, job.key),
    "saved": lambda job: (-(job.figures.saved_grams_co2e or 0.0) if job.figures else inf, job.key),
}


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs are listed, and in which order."""

    text: str = ""
    group: str = ""
    namespace: str = ""
    sort: str = "job"
    is_descending: bool = False
    page: int = 1


def jobs(state: FleetState, query: JobQuery) -> Context:
    """One page of the jobs that are asked for."""
    found = sorted((job for job in state.jobs if _fits(job, query)), key=SORTS[query.sort], reverse=query.is_descending)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(query.page, pages)
    return {
        "jobs": found[(page - 1) * PER_PAGE : page * PER_PAGE],
        "found": len(found),
        "of": len(state.jobs),
        "page": page,
        "pages": pages,
        "query": query,
        "groups": tuple(GROUPS),
        "namespaces": sorted({job.namespace for job in state.jobs}),
    }


def _fits(job: JobRow, query: JobQuery) -> bool:
    if query.namespace and job.namespace != query.namespace:
        return False
    if query.group and job.phase not in GROUPS[query.group]:
        return False
    told = (job.key, job.model, job.cluster, job.sweep, job.phase, job.summary)
    return all(any(word in each.casefold() for each in told) for word in query.text.casefold().split())


@dataclass(frozen=True, slots=True)
class SweepLine:
    """A sweep in the list of them."""

    namespace: str
    name: str
    tiers: tuple[TierProgress, ...]
    best: LeaderboardLine | None


def sweeps(state: FleetState) -> Context:
    """Every sweep with how far it is and its best."""
    found = [
        SweepLine(namespace, name, tiers_of(standings), next((each for each in ranked(standings) if each.place), None))
        for (namespace, name), standings in sorted(_by_sweep(state).items())
    ]
    return {"sweeps": found}


def sweep(state: FleetState, namespace: str, name: str) -> Context | None:
    """One sweep's leaderboard; None where it has no job."""
    standings = _by_sweep(state).get((namespace, name))
    if standings is None:
        return None
    lines = ranked(standings)
    rungs = sorted({rung.percent for line in lines for rung in line.standing.rungs})
    return {
        "namespace": namespace,
        "name": name,
        "lines": lines,
        "tiers": tiers_of(standings),
        "rungs": rungs,
        "plot": plot([dot for line in lines if (dot := _dot(line))], 640, 260),
    }


def _by_sweep(state: FleetState) -> dict[tuple[str, str], list[SweepStanding]]:
    found: dict[tuple[str, str], list[SweepStanding]] = {}
    for job in state.jobs:
        if job.standing is not None:
            found.setdefault((job.namespace, job.sweep), []).append(job.standing)
    return found


def _dot(line: LeaderboardLine) -> Dot | None:
    one = line.standing
    if not one.is_final or not one.is_accounted or one.grams_co2e is None or one.validation_loss is None:
        return None
    title = f"{line.place}: {one.job}, loss {one.validation_loss:.4g}, {one.grams_co2e:.4g} gCO2e"
    kind = "baseline" if one.is_baseline else "done"
    return Dot(one.grams_co2e, one.validation_loss, kind, str(line.place), title, f"/jobs/{one.namespace}/{one.job}")


@dataclass(frozen=True, slots=True)
class SavingsTable:
    """Lines of the ledger by one thing."""

    by: str
    lines: tuple[Line, ...]
    most_grams: float
    """Of all lines, ours or the baseline's: what bars are drawn by."""


def savings(state: FleetState) -> Context:
    """What was emitted and saved, by month, team and model."""
    accounts = state.accounts
    if accounts is None:
        return {"totals": (), "tables": ()}
    tables = [
        _table("Month", accounts.by_month.lines),
        _table("Team (namespace)", accounts.by_namespace.lines),
        _table("Model", _by_model(state, accounts.by_job.lines)),
    ]
    return {"totals": accounts.by_namespace.totals, "tables": tables}


def _table(by: str, lines: Sequence[Line]) -> SavingsTable:
    most = max((max(line.sums.grams, line.baseline_grams or 0.0) for line in lines), default=0.0)
    return SavingsTable(by, tuple(lines), most)


def _by_model(state: FleetState, lines: Sequence[Line]) -> list[Line]:
    """Jobs' lines added up by what was trained, as the API has it."""
    models = {job.uid: job.model for job in state.jobs}
    grouped: dict[str, list[Line]] = {}
    for line in lines:
        grouped.setdefault(models.get(line.sums.job_uid, "jobs that were deleted"), []).append(line)
    return [
        Line(replace(sums, group=model))
        for model, found in sorted(grouped.items())
        for sums in added(line.sums for line in found)
    ]


def proposals(state: FleetState) -> Context:
    """What waits for a person: proposals first, then jobs that are held."""
    asked = [job for job in state.jobs if job.request is not None]
    held = [job for job in state.jobs if job.phase in (Phase.BLOCKED, Phase.REJECTED, Phase.FAILED, UNREADABLE)]
    until = {job.uid: job.start + GOOD_FOR for job in asked if job.start and job.request and not job.request.is_move}
    return {"asked": asked, "until": until, "held": held[:PER_PAGE], "held_total": len(held)}
