"""Decisions on the jobs of manifests, by the same plan as the hub's, without a hub."""

from dataclasses import replace
from datetime import datetime

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.cli.files.fleet_rules import Fleet
from carbonfleet.hub.settings import HORIZON
from carbonfleet.placement import Window, explain, frontier, plan
from carbonfleet.placement.record import record_of
from carbonfleet.placement.snapshot import Snapshot
from carbonfleet.signals import Signals

Decided = tuple[str, DecisionRecord, tuple[Window, ...]]
"""Of which job, what was decided, and cost against carbon."""


def with_grid(snapshot: Snapshot, service: Signals, now: datetime) -> Snapshot:
    """The snapshot with what is known of its zones; the service is closed."""
    zones = {spoke.facts.zone for spoke in snapshot.spokes} | set(snapshot.region_zones.values())
    wanted = {(zone, job.spec.signal) for zone in zones for job in snapshot.jobs}
    reading = service.forecasts(wanted, now, now + HORIZON)
    if reading.awaited:
        service.await_answers()
        reading = service.forecasts(wanted, now, now + HORIZON)
    service.close()
    return replace(snapshot, forecasts=reading.forecasts, histories=reading.histories, signal_problems=reading.problems)


def decided(snapshot: Snapshot, fleet: Fleet, now: datetime) -> list[Decided]:
    """What is decided of all jobs together, in their order."""
    planned = plan(snapshot, now)
    known = {
        decision.uid: (record_of(decision, explain(planned, decision), now), frontier(planned, decision))
        for decision in planned
    }
    return [(job.key, fleet.with_broken(known[job.uid][0]), known[job.uid][1]) for job in snapshot.jobs]
