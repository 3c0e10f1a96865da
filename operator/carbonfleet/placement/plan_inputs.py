"""The whole of what one plan decides on, as arrays: jobs in their order, options, times, carbon, capacity."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np

from carbonfleet.api.job import SignalLossAction
from carbonfleet.api.policy import Budget, FleetPolicy, Tier
from carbonfleet.api.signal import SignalKind
from carbonfleet.placement.inputs import (
    MINUTE,
    NEVER,
    BoolArray,
    Capacity,
    Carbon,
    Demand,
    HourlyPrices,
    Limits,
    Options,
    Quota,
    Timeline,
    capacity_of,
    carbon,
    demand_of,
    hourly_prices_of,
    limits_of,
    options_of,
    timeline,
)
from carbonfleet.placement.plan_size import too_large
from carbonfleet.placement.rules import Admission, Refusal, budgets, covers_namespace, share_weight
from carbonfleet.placement.snapshot import HOUR, FloatArray, QueuedJob, Snapshot

LATE_ROOM: Final = timedelta(hours=24)
"""From now on; how far free GPUs are looked for beyond the latest start when none was free before it."""


@dataclass(slots=True)
class RemainingBudget:
    """What is left of a policy's monthly budget."""

    policy: FleetPolicy
    budget: Budget
    carbon_kg: float
    gpu_hours: float
    quota_row: int | None
    """The row of its limit on running GPUs in the capacity."""

    def quota(self) -> Quota | None:
        """Its limit on running GPUs."""
        if self.budget.running_gpus is None:
            return None
        return Quota(self.budget.running_gpus, partial(covers_namespace, self.policy.spec.scope))


@dataclass(frozen=True, slots=True, eq=False)
class PlanInputs:
    """Jobs that may be placed, and everything their windows are weighed by."""

    snapshot: Snapshot
    now: datetime
    jobs: tuple[QueuedJob, ...]
    """In the order in which they choose: tier, the namespaces' turns, and of one namespace slack, age, name."""
    limits: tuple[Limits, ...]
    options: Options
    line: Timeline
    carbon: Mapping[SignalKind, Carbon]
    demand: Demand
    admission: Admission
    admitted: BoolArray
    """Shape (jobs, options): no rule objects."""
    weighs: Mapping[SignalKind, BoolArray]
    """Shape (jobs,): those that weigh this signal."""
    known: Mapping[SignalKind, BoolArray]
    """Shape (options,): the grid there is known."""
    hours_known: Mapping[SignalKind, BoolArray]
    """The same, of its hours: more than its annual mean."""
    lost: BoolArray
    """Shape (jobs,): of none of the options that the rules leave more is known than the grid's annual mean."""
    prices: HourlyPrices
    capacity: Capacity
    remaining_budgets: tuple[RemainingBudget, ...]
    budgets_of: Mapping[tuple[str, str], tuple[int, ...]]
    """By data class and namespace: the remaining budgets that a job draws on."""
    refused: Mapping[str, Refusal]
    """By UID, jobs that ask for too much planning; they are not among the jobs."""
    percentiles: Mapping[tuple[SignalKind, float], FloatArray]
    """g/kWh by option, shape (options,), for each percentile that is some job's threshold."""

    def latest_start(self, job: int) -> int:
        """The last start of the job's own will, on any option."""
        return self.line.start_at_or_before(self.line.minute(self.limits[job].latest))

    def last_look(self, job: int) -> int:
        """The last start that is looked at, where nothing was free until the latest one.

        It is the job's own affair: a longer wait of another job must not change what this one finds.
        """
        return self.line.start_at_or_before(self.line.minute(max(self.limits[job].latest, self.now + LATE_ROOM)))

    def earliest_start(self, job: int) -> int:
        """The first start that is not before the job's earliest."""
        return self.line.start_at_or_after(self.line.minute_after(self.limits[job].earliest))

    def deadline_minute(self, job: int) -> int:
        """By which minute the run must have ended."""
        deadline = self.limits[job].deadline
        return NEVER if deadline is None else self.line.minute(deadline)

    def is_signal_lost(self, job: int) -> bool:
        """Whether the rules leave no option of which more is known than the grid's annual mean."""
        return bool(self.lost[job])

    def signal_rule(self, job: int) -> SignalLossAction:
        """What a job does of which the signal is lost: its own rule, but none starts before the first answer is in."""
        rule = self.jobs[job].spec.schedule.on_signal_loss.action
        awaited = self.snapshot.signals_awaited
        if rule is SignalLossAction.NOW and awaited:
            options = np.flatnonzero(self.admitted[job]).tolist()
            if any(self.options.entries[option].spoke.facts.zone in awaited for option in options):
                return SignalLossAction.LATEST_START
        return rule

    def waits_for_signal(self, job: int) -> bool:
        """Whether it asked to wait, however long, while nothing is known of the grid."""
        return self.is_signal_lost(job) and self.signal_rule(job) is SignalLossAction.WAIT

    def gives_up_threshold(self, job: int) -> bool:
        """Whether nothing was found below the job's threshold, so that it takes the cleanest window of its delay."""
        return self.limits[job].is_gated and bool(self.demand.carbon_alone[job])

    def gain_per_start(self, job: int) -> float:
        """The share of what a start at once on an option would score that each start of delay must save.

        Nothing where the grid is not known and the job's own rule says when it starts.
        """
        if self.lost[job] and self.signal_rule(job) is not SignalLossAction.NOW:
            return 0.0
        return self.limits[job].gain_percent_per_hour / 100 * self.line.slot_minutes / 60

    def budget_rows(self, job: int) -> tuple[int, ...]:
        """The remaining budgets that a job draws on."""
        queued = self.jobs[job]
        return self.budgets_of[queued.spec.residency.data_class, queued.namespace]


def plan_inputs(snapshot: Snapshot, jobs: list[QueuedJob], tiers: Mapping[str, Tier], now: datetime) -> PlanInputs:
    """Put a snapshot into arrays. `jobs` are those whose tier and policies are in order."""
    options = options_of(snapshot.spokes, _extra_zones(snapshot, jobs), snapshot.assumptions)
    admission = Admission(options, snapshot.policies)
    demand = demand_of(jobs, options, _region_means(snapshot), snapshot.run_lengths, snapshot.assumptions)
    jobs, limits, demand = _in_order(snapshot, jobs, tiers, demand, now)
    beyond = too_large(jobs, limits, demand, options, now, snapshot.assumptions)
    refused = {jobs[row].uid: refusal for row, refusal in beyond.items()}
    jobs, limits, demand = _taken(jobs, limits, demand, [row for row in range(len(jobs)) if row not in beyond])
    line = _timeline(jobs, limits, demand, now, snapshot)
    signals = sorted({job.spec.signal for job in jobs})
    carbons = {signal: carbon(snapshot, signal, options.zones, line, len(demand.lengths_by_kind)) for signal in signals}
    remaining_budgets, budgets_of = _remaining_budgets(snapshot, jobs, int(options.capacity_row.max(initial=-1)) + 1)
    quotas = [quota for remaining_budget in remaining_budgets if (quota := remaining_budget.quota()) is not None]
    admitted = admission.table(jobs)
    of_jobs = [job.spec.signal for job in jobs]
    weighs = {signal: np.array([each is signal for each in of_jobs], dtype=np.bool_) for signal in signals}
    known = {signal: _known(carbons[signal], options) for signal in signals}
    hours_known = {signal: _known(carbons[signal], options, hours=True) for signal in signals}
    return PlanInputs(
        snapshot=snapshot,
        now=now,
        jobs=tuple(jobs),
        limits=tuple(limits),
        options=options,
        line=line,
        carbon=carbons,
        demand=demand,
        admission=admission,
        admitted=admitted,
        weighs=weighs,
        known=known,
        hours_known=hours_known,
        lost=_lost(weighs, admitted, hours_known),
        prices=hourly_prices_of(options, line),
        capacity=capacity_of(snapshot, options, line, quotas),
        remaining_budgets=remaining_budgets,
        budgets_of=budgets_of,
        refused=refused,
        percentiles=_percentiles(snapshot, jobs, limits, options, carbons),
    )


def _in_order(
    snapshot: Snapshot, jobs: list[QueuedJob], tiers: Mapping[str, Tier], demand: Demand, now: datetime
) -> tuple[list[QueuedJob], list[Limits], Demand]:
    """Jobs, their limits and their demand in the order in which they choose."""
    limits = [limits_of(job, tiers[job.spec.schedule.tier], now) for job in jobs]
    order = _in_turns(snapshot, jobs, limits, demand, _by_slack(jobs, limits, demand, now), now)
    return _taken(jobs, limits, demand, order)


def _taken(
    jobs: list[QueuedJob], limits: list[Limits], demand: Demand, rows: list[int]
) -> tuple[list[QueuedJob], list[Limits], Demand]:
    return [jobs[row] for row in rows], [limits[row] for row in rows], demand.taken(rows)


def _known(grid: Carbon, options: Options, *, hours: bool = False) -> BoolArray:
    """Where a forecast says something of the grid, or with `hours` something of its hours."""
    found = [forecast is not None and (forecast.tells_hours or not hours) for forecast in grid.forecasts]
    by_zone = np.array(found, dtype=np.bool_)
    return by_zone[options.zone]


def _percentiles(
    snapshot: Snapshot,
    jobs: list[QueuedJob],
    limits: list[Limits],
    options: Options,
    carbons: Mapping[SignalKind, Carbon],
) -> dict[tuple[SignalKind, float], FloatArray]:
    """Of each zone's history, or of its own forecast where it has none."""
    asked = {
        (job.spec.signal, limit.gate_percentile)
        for job, limit in zip(jobs, limits, strict=True)
        if limit.gate_percentile is not None
    }
    found = {}
    for signal, percent in sorted(asked):
        by_zone = np.full(len(options.zones), np.inf)
        for row, zone in enumerate(options.zones):
            known = snapshot.histories.get((zone, signal)), carbons[signal].forecasts[row]
            grams = next((series.grams_per_kwh for series in known if series and len(series.grams_per_kwh)), None)
            if grams is not None:
                by_zone[row] = np.percentile(grams, percent)
        found[signal, percent] = by_zone[options.zone]
    return found


def _lost(
    weighs: Mapping[SignalKind, BoolArray], admitted: BoolArray, known: Mapping[SignalKind, BoolArray]
) -> BoolArray:
    lost = np.zeros(len(admitted), dtype=np.bool_)
    for signal, options in known.items():
        rows = np.flatnonzero(weighs[signal])
        lost[rows] = admitted[rows].any(axis=1) & ~(admitted[rows] & options).any(axis=1)
    return lost


def _in_turns(
    snapshot: Snapshot, jobs: list[QueuedJob], limits: list[Limits], demand: Demand, order: list[int], now: datetime
) -> list[int]:
    """Within a tier, namespaces take turns by their share of GPU hours, so that a long queue delays none but its own.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): a job's turn comes at the GPU hours that its namespace has
    in use, and those of its jobs before this one, over its weight. `order` is that in which jobs would choose alone.
    """
    namespaces = {job.namespace for job in jobs}
    if len(namespaces) < 2:
        return order
    weight = {name: share_weight(snapshot.policies, name) for name in namespaces}
    taken = dict.fromkeys(namespaces, 0.0)
    for held in snapshot.reservations:
        if held.namespace in taken:
            taken[held.namespace] += held.gpus * max((held.end - max(held.start, now)) / HOUR, 0.0)
    longest = snapshot.assumptions.longest_run // MINUTE
    size = (demand.gpus_by_kind * np.minimum(demand.minutes_by_kind, longest)).min(axis=1, initial=NEVER) / 60
    turn = [0.0] * len(jobs)
    for row in order:
        job = jobs[row]
        turn[row] = taken[job.namespace] / weight[job.namespace]
        if job.incumbent is None or not job.incumbent.running:  # what runs is in use already
            taken[job.namespace] += float(size[row])
    return sorted(order, key=lambda row: (-limits[row].priority, turn[row]))


def _by_slack(jobs: list[QueuedJob], limits: list[Limits], demand: Demand, now: datetime) -> list[int]:
    """Tier first, then the time that is left before the job must start, then age, then name."""
    shortest = demand.minutes_by_kind.min(axis=1, initial=NEVER).tolist()

    def key(i: int) -> tuple[int, timedelta, datetime, str, str]:
        limit, job = limits[i], jobs[i]
        must = limit.latest
        if limit.deadline is not None:
            must = min(must, limit.deadline - min(shortest[i], 10**8) * MINUTE)
        return -limit.priority, must - now, job.submitted_at, job.key, job.uid

    return sorted(range(len(jobs)), key=key)


def _timeline(
    jobs: list[QueuedJob], limits: list[Limits], demand: Demand, now: datetime, snapshot: Snapshot
) -> Timeline:
    """As long as the jobs need that can be weighed: one whose run is too long everywhere is only told so."""
    most = snapshot.assumptions.longest_run // MINUTE
    runs = np.array([job.incumbent is not None and job.incumbent.is_under_way for job in jobs], dtype=np.bool_)
    can_run = (demand.minutes_by_kind <= most) | runs[:, None]
    waits = [limits[row].latest - now for row in np.flatnonzero(can_run.any(axis=1)).tolist()]
    runs_for = (demand.minutes_by_kind, demand.lengths_by_kind)
    longest = min(max(int(each.max(initial=60, where=can_run)) for each in runs_for), most) * MINUTE
    return timeline(now, max([LATE_ROOM, *waits]), longest, snapshot.assumptions)


def _extra_zones(snapshot: Snapshot, jobs: Iterable[QueuedJob]) -> set[str]:
    wanted = {job.spec.baseline_region or snapshot.default_baseline_region for job in jobs}
    return {snapshot.region_zones[region] for region in wanted if region in snapshot.region_zones}


def _region_means(snapshot: Snapshot) -> Callable[[str], float | None]:
    zones = dict(snapshot.region_zones)
    zones.update({spoke.facts.region: spoke.facts.zone for spoke in snapshot.spokes})

    def mean(region: str) -> float | None:
        found = snapshot.forecasts.get((zones.get(region, ""), SignalKind.AVERAGE_LIFECYCLE))
        return None if found is None else float(found.grams_per_kwh.mean())

    return mean


def _remaining_budgets(
    snapshot: Snapshot, jobs: list[QueuedJob], first_row: int
) -> tuple[tuple[RemainingBudget, ...], dict[tuple[str, str], tuple[int, ...]]]:
    remaining_budgets: list[RemainingBudget] = []
    index: dict[str, int] = {}
    of: dict[tuple[str, str], tuple[int, ...]] = {}
    for data_class, namespace in sorted({(j.spec.residency.data_class, j.namespace) for j in jobs}):
        rows = []
        for policy, budget in budgets(snapshot.policies, data_class, namespace):
            name = policy.metadata.name
            if name not in index:
                index[name] = len(remaining_budgets)
                quotas = sum(remaining_budget.quota_row is not None for remaining_budget in remaining_budgets)
                row = first_row + quotas if budget.running_gpus is not None else None
                remaining_budgets.append(_remaining_budget(policy, budget, row, snapshot))
            rows.append(index[name])
        of[data_class, namespace] = tuple(rows)
    return tuple(remaining_budgets), of


def _remaining_budget(policy: FleetPolicy, budget: Budget, row: int | None, snapshot: Snapshot) -> RemainingBudget:
    """What is left: the limit less the use of all namespaces in scope."""
    used = [use for namespace, use in snapshot.usage.items() if covers_namespace(policy.spec.scope, namespace)]
    carbon_kg = float("inf") if budget.carbon_kg_per_month is None else budget.carbon_kg_per_month
    gpu_hours = float("inf") if budget.gpu_hours_per_month is None else budget.gpu_hours_per_month
    return RemainingBudget(
        policy,
        budget,
        carbon_kg - sum(use.carbon_kg for use in used),
        gpu_hours - sum(use.gpu_hours for use in used),
        row,
    )
