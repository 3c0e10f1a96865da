"""The planning cycle: observe, plan, claim, publish, account, record, release; the same from any state."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.fleet import Committed, FleetError, Intent, Place, Published, Refused, Remove, Tip
from carbonfleet.hub.accounting import ledger_updates
from carbonfleet.hub.observe import orphans
from carbonfleet.hub.observe.job_state import Stage
from carbonfleet.hub.observe.mirror import JOBS, SPOKES
from carbonfleet.hub.observe.observation import Scene, last_known_facts, snapshot_of, spokes_of
from carbonfleet.hub.observe.placed import PlacedInGit
from carbonfleet.hub.observe.reports import accepted
from carbonfleet.hub.planning import Planned, plan_around
from carbonfleet.hub.publish import proposals
from carbonfleet.hub.publish.finalizers import claim, release
from carbonfleet.hub.publish.intents import intents_of
from carbonfleet.hub.running import moves, running_jobs
from carbonfleet.hub.status import spoke_status
from carbonfleet.hub.status.status_inputs import Trouble
from carbonfleet.hub.status.status_writer import announce, with_statuses, write_statuses
from carbonfleet.hub.world import World
from carbonfleet.kube import Object
from carbonfleet.placement import plan
from carbonfleet.placement.decision import Outcome as Decided
from carbonfleet.placement.snapshot import Snapshot, Spoke
from carbonfleet.signals import Market, price_sources, repriced

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle did, for logs and benchmarks."""

    decided: int
    published: int
    written: int
    recheck_at: datetime | None
    """When the next cycle is due though nothing changes."""
    trouble: Trouble | None = None
    go_on: bool = False
    """This cycle's own writes call for another at once."""


def run(world: World) -> Outcome:
    """One cycle. Raises KubeError when the Kubernetes API is gone; all else ends in conditions."""
    scene = observe(world)
    if scene.tip is not None and scene.tip_is_fresh:
        spoke_status.warn_of_problems(world, scene.tip)
        spoke_status.mirror_clusters(world.kube, scene.tip, world.mirror)
    spoke_status.show_health(world, scene)
    figures, unbooked = ledger_updates.close(world, scene)
    scene = moves.recalled(world, replace(scene, holds={**proposals.late(world, scene), **unbooked}))
    scene, planned = decide(world, running_jobs.watch(world, scene))
    planned, asking = moves.ask_first(world, scene, planned)
    intents = claim(world, scene, [*intents_of(scene, planned.decisions, planned.records), *moves.lapses(scene)])
    announced = announce(world, scene, planned.records, intents)
    published, trouble = publish(world, intents)
    trouble = trouble or scene.trouble
    after = with_result(world, with_statuses(world, scene, announced), published)
    wanted = claim(world, after, [*proposals.proposals_of(after, planned), *asking.wanted])
    reviews = proposals.advance(world, after, wanted, asking)
    refused = moves.heard(world, reviews, after)
    reviews = {**world.moves, **reviews}
    written = write_statuses(world, after, planned.records, intents, published, trouble, figures, reviews)
    release(world, after)
    orphans.forget_reports(world, after)
    running_jobs.remember(world, scene, planned)
    ledger_updates.forget(world, after)
    in_vain = _tried_in_vain(scene, intents, published)
    due = [decision.recheck_at for uid, decision in planned.decisions.items() if uid not in in_vain]
    due += [scene.next_look] if scene.next_look else []
    go_on = refused or _calls_for_more(after, written, planned, intents, published)
    return Outcome(len(planned.decisions), len(intents), len(written), min(due, default=None), trouble, go_on)


def _tried_in_vain(scene: Scene, intents: Iterable[Intent], published: Published | None) -> set[str]:
    """Jobs that Git took no placement of, on the very tip that they were planned on: it will not until one changes."""
    if published is None or scene.tip is None or published.commit != scene.tip.commit:
        return set()
    places = (intent for intent in intents if isinstance(intent, Place))
    return {place.decision.uid for place in places if isinstance(published.results.get(place.id), Refused)}


def _calls_for_more(
    after: Scene, written: Collection[str], planned: Planned, intents: Iterable[Intent], published: Published | None
) -> bool:
    """Whether a status was written of what Git may now forget, or Git has just forgotten one."""
    results = published.results if published else {}
    removed = any(isinstance(i, Remove) and isinstance(results.get(i.id), Committed) for i in intents)
    moves = any(planned.decisions[uid].outcome is Decided.MOVE for uid in planned.decisions.keys() & written)
    leaves = (view.stage is Stage.ENDED or after.is_late(view) for view in after.views if view.uid in written)
    return removed or moves or any(leaves)


def observe(world: World) -> Scene:
    """Freeze what is known; without an answer of the repository, its last known tip."""
    trouble, reports = None, world.reports.read(world.clock.now())
    try:
        world.tip = world.repository.fetch()
    except FleetError as error:
        trouble = Trouble(error.reason, str(error))
    jobs, now = world.mirror.all(JOBS), world.clock.now()
    grace = max(world.settings.heartbeat_grace, world.settings.heartbeat_grace_real * world.clock.speed)
    tip, spokes = world.tip, world.mirror.all(SPOKES)
    heartbeats = world.heartbeats.hear(spokes, now)
    said = accepted(reports, _placed_in_git(world, jobs), now, is_fresh=trouble is None)
    views = world.views.of(jobs, tip.placements if tip else {}, said.reports)
    alive = frozenset(name for name, heard in heartbeats.items() if heard.at is not None and now - heard.at <= grace)
    return Scene(
        now=now,
        views=tuple(views),
        spokes=spokes_of(tip, spokes, heartbeats, now, grace),
        tip=tip,
        tip_is_fresh=trouble is None,
        trouble=trouble,
        facts=_facts(tip, spokes),
        refusals=said.refusals,
        report_problems=said.problems,
        spent_reports=said.spent,
        heard=heartbeats,
        alive=alive,
        unseen=orphans.unseen(world, views, spokes, alive),
        orphans=orphans.orphans(world, views),
        stray_moves=orphans.stray_moves(world, views),
    )


def _placed_in_git(world: World, jobs: Iterable[Object]) -> PlacedInGit:
    by_uid = {str(body["metadata"]["uid"]): body for body in jobs}
    return PlacedInGit(world.tip, by_uid, world.repository.attempts, world.repository.placement_in)


def _facts(tip: Tip | None, spokes: Iterable[Object]) -> dict[str, ClusterFacts]:
    remembered = {body["metadata"]["name"]: facts for body in spokes if (facts := last_known_facts(body))}
    return remembered | dict(tip.clusters if tip else {})


def decide(world: World, scene: Scene) -> tuple[Scene, Planned]:
    """A decision for each queued job; none without a fleet repository to plan for.

    A fault of the planner is told to each job that waits for it, so that nobody waits without knowing why.
    """
    if scene.tip is None or not (scene.queued() or scene.turns):
        return scene, Planned()
    try:
        planned = _plan(world, scene)
    except Exception:  # noqa: BLE001 - whatever it is, it must not stop the cycle
        _log.exception("planning failed")
        return replace(scene, trouble=_PLANNER_FAILS), Planned()
    return replace(scene, holds={**scene.holds, **dict.fromkeys(planned.faults, _JOB_FAILS_PLANNER)}), planned


_PLANNER_FAILS: Final = Trouble(
    "PlanningFailed",
    "The planner failed and tries again within half a minute; nothing new is placed meanwhile, and what runs goes on. "
    "The hub's log has the fault: if it stays, undo the last change of a policy or cluster file, and report it.",
)
_JOB_FAILS_PLANNER: Final = Trouble(
    "PlanningFailed",
    "The planner fails on this job, which is tried again every two minutes, and at once when its spec, a policy or a "
    "cluster file changes. Other jobs are not held up. The hub's log has the fault: please report it.",
)


def _plan(world: World, scene: Scene) -> Planned:
    snapshot = snapshot_of(scene, world.settings.baseline_region)
    kinds = {job.spec.signal for job in snapshot.jobs}
    zones = {spoke.facts.zone for spoke in snapshot.spokes} | set(snapshot.region_zones.values())
    wanted = {(zone, kind) for zone in zones for kind in kinds}
    reading = world.signals.forecasts(wanted, scene.now, scene.now + world.settings.horizon)
    complete = replace(
        snapshot,
        spokes=_priced(world.market, snapshot.spokes),
        forecasts=reading.forecasts,
        histories=reading.histories,
        assumptions=replace(snapshot.assumptions, surprise_share=world.settings.surprise_share),
        signal_problems=reading.problems,
        usage=ledger_updates.usage(world.ledger, _has_budgets(snapshot), scene),
    )
    if (known := world.last_plan.recall(complete, scene.now)) is not None:
        return known
    planned = plan_around(complete, scene.now, world.quarantine, plan, world.last_plan)
    records = {**planned.records, **running_jobs.expecting(planned, scene, reading.forecasts)}
    signed = {uid: _signed(record, world.hub_id) for uid, record in records.items()}
    world.last_plan.keep(complete, replace(planned, records=signed))
    return world.last_plan.planned


def _signed(record: DecisionRecord, hub_id: str) -> DecisionRecord:
    return record if record.hub == hub_id else record.model_copy(update={"hub": hub_id})


def _priced(market: Market | None, spokes: tuple[Spoke, ...]) -> tuple[Spoke, ...]:
    """The spokes at the market's present prices, where it names any."""
    if market is None:
        return spokes
    quotes = market.latest([(spoke.name, pool.name) for spoke in spokes for pool in spoke.facts.pools])
    return tuple(
        replace(spoke, facts=repriced(spoke.facts, quotes), price_sources=price_sources(spoke.facts, quotes))
        for spoke in spokes
    )


def _has_budgets(snapshot: Snapshot) -> bool:
    """Whether any policy has a budget, so that usage must be counted."""
    return any(policy.spec.budget is not None for policy in snapshot.policies.policies)


def publish(world: World, intents: list[Intent]) -> tuple[Published | None, Trouble | None]:
    """Write all intents to Git together; a failure is a trouble that a later cycle tries again."""
    if not intents:
        return None, None
    try:
        published = world.repository.publish(intents)
    except FleetError as error:
        _log.warning("the fleet repository was not written: %s", error)
        return None, Trouble(error.reason, str(error))
    for intent in intents:
        if isinstance(intent, Place) and isinstance(published.results.get(intent.id), Committed):
            world.records[intent.id] = intent.record  # what was just written need not be read back
    return published, None


def with_result(world: World, scene: Scene, published: Published | None) -> Scene:
    """The scene after publishing: the same moment, on the new tip."""
    if published is None or scene.tip is None or published.commit == scene.tip.commit:
        return scene
    world.tip = world.repository.known()
    placements = world.tip.placements
    views = tuple(replace(view, placement=placements.get(view.uid)) for view in scene.views)
    return replace(scene, tip=world.tip, views=views)
