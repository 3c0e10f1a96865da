"""How the fleet stands after a cycle, in numbers that an alert can watch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from carbonfleet.api.job_status import Phase
from carbonfleet.faults import only
from carbonfleet.hub.observe import Blocker, JobState, Observation
from carbonfleet.placement.rules import covers_namespace
from carbonfleet.placement.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SpokeFigures:
    """One spoke of the fleet repository."""

    is_ready: bool
    """It may be given new work."""
    silent_seconds: float | None
    """Since its last heartbeat; None where it never sent one, or by a clock that is ahead."""
    free_gpus: Mapping[str, int]
    """By pool, as the spoke last reported."""
    idle_kwh: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By pool whose hosts may sleep: drawn without work, and what sleeping ones would have drawn."""


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """Jobs, spokes, grid and budgets at the end of a cycle."""

    jobs: Mapping[Phase, int] = field(default_factory=dict)
    """By phase, each phase."""
    held_jobs: Mapping[str, int] = field(default_factory=dict)
    """By reason, as in crds/HOLDS.md."""
    late_jobs: int = 0
    """Jobs whose promised finish, its P90, is after their deadline."""
    spokes: Mapping[str, SpokeFigures] = field(default_factory=dict)
    zone_links: Mapping[str, str] = field(default_factory=dict)
    """By zone: the link of the chain that the last plan stood on, `none` where nothing is known."""
    budget_shares: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By policy and unit, `carbon` or `gpu-hours`: what is used of this month's budget, 1 where all is."""
    missed_runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By namespace and schedule: runs that never got a job."""


def figures_of(observation: Observation, blockers: Mapping[str, Blocker], planned_on: Snapshot | None) -> FleetFigures:
    """From what a cycle saw, what holds jobs by UID, and what was last planned on."""
    fails = "it can't be counted"
    phases = Counter(phase for _, phase in observation.each(fails, lambda state: state.status.phase))
    return FleetFigures(
        jobs={phase: phases[phase] for phase in Phase},
        held_jobs=Counter(blocker.reason for blocker in blockers.values()),
        late_jobs=len(observation.which(fails, _is_late)),
        spokes=_spokes(observation),
        zone_links=_zone_links(planned_on) if planned_on else {},
        budget_shares=_budget_shares(planned_on) if planned_on else {},
    )


def _is_late(state: JobState) -> bool:
    deadline = state.job.spec.schedule.deadline if state.job is not None else None
    expected, status = state.status.expected, state.status
    if deadline is None or expected is None or expected.promise is None or status.phase.is_terminal:
        return False
    return expected.promise.finish.p90 > deadline


def _spokes(observation: Observation) -> dict[str, SpokeFigures]:
    found = {}
    for spoke in observation.spokes:
        with only(f"{spoke.facts.name} can't be counted"):
            last = observation.heard.get(spoke.name)
            silent = (observation.now - last.at).total_seconds() if last is not None and last.at is not None else None
            pools = observation.idle.get(spoke.name, ())
            idle = {pool.name: (pool.idle_kwh or 0.0, pool.idle_saved_kwh or 0.0) for pool in pools}
            found[spoke.name] = SpokeFigures(spoke.healthy, silent, spoke.free_gpus or {}, idle)
    return found


def _zone_links(planned_on: Snapshot) -> dict[str, str]:
    links = {zone: forecast.link for (zone, _), forecast in planned_on.forecasts.items()}
    return {spoke.facts.zone: links.get(spoke.facts.zone, "none") for spoke in planned_on.spokes}


def _budget_shares(planned_on: Snapshot) -> dict[tuple[str, str], float]:
    shares = {}
    for policy in planned_on.policies.policies:
        budget = policy.spec.budget
        if budget is None:
            continue
        used = [use for name, use in planned_on.usage.items() if covers_namespace(policy.spec.scope, name)]
        if budget.carbon_kg_per_month is not None:
            shares[policy.metadata.name, "carbon"] = sum(use.carbon_kg for use in used) / budget.carbon_kg_per_month
        if budget.gpu_hours_per_month is not None:
            shares[policy.metadata.name, "gpu-hours"] = sum(use.gpu_hours for use in used) / budget.gpu_hours_per_month
    return shares
