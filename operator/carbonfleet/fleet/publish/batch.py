"""What a batch of intents changes on a tip: a function of values that refuses what must not be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from carbonfleet.faults import only
from carbonfleet.fleet.git import Tip
from carbonfleet.fleet.manifests import (
    CLUSTERS,
    FILES_UNREADABLE,
    MOVES,
    MOVES_UNREADABLE,
    Placement,
    check_uid,
    render,
    with_suspend,
)
from carbonfleet.fleet.publish.history import PlacementHistory, Vanished
from carbonfleet.fleet.publish.intents import (
    AlreadyThere,
    Intent,
    Lapse,
    Place,
    ProposeMove,
    Refused,
    Remove,
    Result,
    Suspend,
)
from carbonfleet.placement.rules import job_verdict, residency_verdict, tiers

FEWEST_GUARDED = 5
GUARDED_SHARE = 0.2


@dataclass(slots=True)
class IntentBatch:
    """What is to be written, and what is already known of each intent."""

    changes: dict[str, bytes | None] = field(default_factory=dict)
    accepted: list[Intent] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class World:
    """What intents are judged by."""

    tip: Tip
    planned_on: Tip
    """The tip as it was when they were decided on."""
    history: PlacementHistory
    vanished: Callable[[str], Vanished]
    leaving: frozenset[str] = frozenset()
    """The placements that intents of the same batch remove."""

    @property
    def by_id(self) -> Mapping[str, Placement]:
        """The placements on the tip."""
        return self.tip.index.by_id


Rule = Callable[[Place, World], Refused | None]


def prepare(
    intents: Sequence[Intent],
    world: World,
    allow_many_removals: bool,
    clone_faults: tuple[type[Exception], ...] = (),
) -> IntentBatch:
    """Decide each intent on the tip: already there, refused, or a change. Removals go first.

    Raises `clone_faults`; any other error is that of its intent, which is refused.
    """
    latest = {intent.id: intent for intent in intents}
    batch = IntentBatch()
    if not allow_many_removals:
        batch.results |= deletion_guard(latest.values(), world.tip)
    todo = [intent for intent in latest.values() if intent.id not in batch.results]
    world = replace(world, leaving=frozenset(intent.id for intent in todo if isinstance(intent, Remove)))
    for intent in sorted(todo, key=_order):
        with only(f"{intent.id} can't be written", partial(_fail, batch, intent), but=clone_faults):
            _decide(intent, world, batch)
    return batch


def _fail(batch: IntentBatch, intent: Intent, fault: str) -> None:
    batch.results[intent.id] = Refused("NotRenderable", f"{fault}; no other job is held up: please report it")


def deletion_guard(intents: Iterable[Intent], tip: Tip) -> dict[str, Refused]:
    """By id: the removals that are too many for one commit.

    Those that people asked for and those of jobs that are no more are counted apart: the one can be confirmed at each
    job, the other only in Git, and neither must hold up the other.
    """
    removals = [intent for intent in intents if isinstance(intent, Remove)]
    live = tip.index.by_id.keys() - {each.id for each in removals if each.finished}
    held: dict[str, Refused] = {}
    for orphaned in (False, True):
        wanted = {each.id for each in removals if not each.finished and each.orphaned is orphaned} & live
        if len(wanted) > (most := most_removals(len(live))):
            said = f"this would remove {len(wanted)} of {len(live)} live placements at once ({most} is the most)"
            held |= dict.fromkeys(wanted, Refused("DeletionGuardTripped", said))
    return held


def most_removals(live: int) -> int:
    """How many of so many live placements may go in one commit: a fifth, and always five."""
    return max(FEWEST_GUARDED, int(GUARDED_SHARE * live))


_RANKS: Final = {Remove: 0, Lapse: 1, Suspend: 2, Place: 3, ProposeMove: 4}


def _order(intent: Intent) -> tuple[int, str]:
    return _RANKS[type(intent)], intent.decision.key if isinstance(intent, Place) else intent.placement.path


def _decide(intent: Intent, world: World, batch: IntentBatch) -> None:
    match intent:
        case Place():
            _place(intent, world, batch)
        case Remove():
            _remove(intent, world, batch)
        case Suspend():
            _suspend(intent, world, batch)
        case ProposeMove():
            _ask(intent, world, batch)
        case Lapse():
            _lapse(intent, world, batch)


def _place(intent: Place, world: World, batch: IntentBatch) -> None:
    present = world.by_id.get(intent.id)
    if present is not None and not (intent.replace and present.edited):
        batch.results[intent.id] = AlreadyThere(world.tip.commit, present)
        return
    content = _rendered(intent, _RULES, world)
    if isinstance(content, Refused):
        batch.results[intent.id] = content
        return
    if present is not None and present.path != intent.path:
        batch.changes[present.path] = None
    if (agreed := world.tip.moves.get(intent.decision.uid)) is not None:
        batch.changes[agreed.path] = None  # the move is made, or another attempt overtook it
    batch.changes[intent.path] = content
    batch.accepted.append(intent)


def _refusal(place: Place, rules: Iterable[Rule], world: World) -> Refused | None:
    return next((refusal for rule in rules if (refusal := rule(place, world)) is not None), None)


def _rendered(place: Place, rules: Iterable[Rule], world: World) -> bytes | Refused:
    """A placement's file, if no rule is against it."""
    if (refusal := _refusal(place, rules, world)) is not None:
        return refusal
    facts = world.tip.clusters[place.window.cluster]
    try:
        return render(place.decision, place.spec, place.record, facts, place.expires_at, place.approved_in, place.form)
    except ValueError as error:
        return Refused("NotRenderable", str(error))


def _ask(intent: ProposeMove, world: World, batch: IntentBatch) -> None:
    content = _rendered(intent.place, _ASK_RULES, world)
    present = world.tip.moves.get(intent.placement.uid)
    if isinstance(content, Refused):
        batch.results[intent.id] = content
    elif present is not None and present.placement_id == intent.id:
        batch.results[intent.id] = AlreadyThere(world.tip.commit, present)
    elif present is not None:
        batch.results[intent.id] = _edited(intent.path)
    else:
        batch.changes[intent.path] = content
        batch.accepted.append(intent)


def _lapse(intent: Lapse, world: World, batch: IntentBatch) -> None:
    present = world.tip.moves.get(intent.placement.uid)
    if present is None or present.placement_id != intent.placement.placement_id:
        batch.results[intent.id] = AlreadyThere(world.tip.commit)
        return
    batch.changes[present.path] = None
    batch.accepted.append(intent)


def _remove(intent: Remove, world: World, batch: IntentBatch) -> None:
    present = world.by_id.get(intent.id)
    if present is None:
        batch.results[intent.id] = AlreadyThere(world.tip.commit)
        return
    if intent.to is not None and (refusal := _refusal(intent.to, _MOVE_RULES, world)) is not None:
        batch.results[intent.id] = refusal
        return
    batch.changes[present.path] = None
    batch.accepted.append(intent)


def _suspend(intent: Suspend, world: World, batch: IntentBatch) -> None:
    present = world.by_id.get(intent.id)
    content = world.tip.file(present.path) if present is not None else None
    if present is None or content is None:
        batch.results[intent.id] = Refused(
            "NotInGit", f"{intent.placement.path} is not on the branch any more; the hub looks again"
        )
    elif present.edited:
        batch.results[intent.id] = _edited(present.path)
    elif present.suspended == intent.suspended:
        batch.results[intent.id] = AlreadyThere(world.tip.commit, present)
    elif not intent.suspended and (refusal := _changed_since(world, present.cluster, present.uid)) is not None:
        batch.results[intent.id] = refusal
    else:
        batch.changes[present.path] = with_suspend(present.path, content, intent.suspended)
        batch.accepted.append(intent)


def _is_well_formed(intent: Place, world: World) -> Refused | None:
    try:
        _path, _uid = intent.path, check_uid(intent.decision.uid)
    except ValueError as error:
        return Refused("InvalidName", str(error))
    return None


def _cluster_takes_work(intent: Place, world: World) -> Refused | None:
    cluster = intent.window.cluster
    if cluster in world.tip.cluster_problems:
        return Refused("ClusterInvalid", world.tip.cluster_problems[cluster])
    facts = world.tip.clusters.get(cluster)
    if facts is None:
        return Refused(
            "ClusterMissing", f"clusters/{cluster}/cluster.yaml is not on the branch any more; the hub plans anew"
        )
    if why := world.tip.why_held(CLUSTERS, cluster):
        return Refused(FILES_UNREADABLE, why)
    if facts.maintenance:
        return Refused(
            "ClusterInMaintenance", f"{cluster} takes nothing new while its cluster file says maintenance: true"
        )
    return None


def _policy_allows(intent: Place, world: World) -> Refused | None:
    facts = world.tip.clusters[intent.window.cluster]
    policies, residency, namespace = world.tip.policies, intent.spec.residency, intent.decision.namespace
    ruling = residency_verdict(
        policies, residency.data_class, namespace, residency, facts, intent.spec.workload.data_places
    )
    if ruling.allowed and intent.spec.schedule.tier in tiers(policies):  # one that went meanwhile harms nobody
        ruling = job_verdict(policies, intent.spec, namespace)
    return None if ruling.allowed else Refused(ruling.reason, ruling.message)


def _nobody_took_it_away(intent: Place, world: World) -> Refused | None:
    """A person's revert holds for the generation; the hub's own removal for the attempt."""
    if intent.replace:
        return None
    if world.history.removed_in(intent.id):
        return Refused(
            "AlreadyRemoved", f"attempt {intent.decision.attempt} was removed before; the hub plans the next"
        )
    decided = world.history.placed_for(intent.decision.uid, intent.decision.generation)
    for placement_id, path in decided.items():
        if placement_id not in world.by_id and not world.history.removed_in(placement_id):
            return Refused(
                "RevertedByHuman",
                f"{path} was taken out of Git by {world.vanished(path).who}; it is not written again until "
                "the job's spec changes or its replace annotation is set",
            )
    return None


def _no_other_attempt(intent: Place, world: World) -> Refused | None:
    for placement in world.tip.index.attempts.get(intent.decision.uid, ()):
        if placement.placement_id not in world.leaving | {intent.id}:
            return Refused(
                "AttemptStillInGit",
                f"attempt {placement.attempt} is still in {placement.path}; the hub waits until it has stopped",
            )
    return None


def _path_is_free(intent: Place, world: World) -> Refused | None:
    """What lies there already must be on its way out, and must not be a person's work."""
    present = world.tip.files.get(intent.path)
    if present is not None and present.placement_id not in world.leaving:
        if present.edited and not intent.replace and present.uid == intent.decision.uid:
            return _edited(intent.path)
        if present.placement_id != intent.id:
            return Refused(
                "PathTaken",
                f"{intent.path} holds the placement of another job, {present.uid}, and is waited for; if that "
                "job is no more, remove the file from Git",
            )
    if intent.path in world.tip.problems and not intent.replace:
        return _edited(intent.path)
    return None


def _is_still_agreed(intent: Place, world: World) -> Refused | None:
    """What people agreed to stands on the tip, and is this very place."""
    if not intent.approved_in:
        return None
    if why := world.tip.why_held(MOVES):
        return Refused(MOVES_UNREADABLE, why)
    agreed, window = world.tip.moves.get(intent.decision.uid), intent.window
    wanted = (intent.id, window.cluster, window.pool)
    if agreed is not None and (agreed.placement_id, agreed.cluster, agreed.pool) == wanted:
        return None
    return _withdrawn(f"nothing is placed on {window.cluster}")


def _leaves_the_live_attempt(intent: Place, world: World) -> Refused | None:
    """A move follows the attempt that is in Git, and no other."""
    if why := world.tip.why_held(MOVES):
        return Refused(MOVES_UNREADABLE, why)
    attempts = [placed.attempt for placed in world.tip.index.attempts.get(intent.decision.uid, ())]
    if attempts == [intent.decision.attempt - 1]:
        return None
    return Refused(
        "NotInGit",
        f"attempt {intent.decision.attempt - 1} is not on the branch, or not alone there; the hub looks again",
    )


def _is_as_planned(intent: Place, world: World) -> Refused | None:
    """What others pushed since may want a review, or something else, that the plan knew nothing of."""
    return _changed_since(world, intent.window.cluster, intent.decision.uid)


def _changed_since(world: World, cluster: str, uid: str) -> Refused | None:
    def bearing(tip: Tip) -> object:
        return tip.policies, tip.clusters.get(cluster), tip.held, tip.moves.get(uid)

    if world.planned_on.commit == world.tip.commit or bearing(world.planned_on) == bearing(world.tip):
        return None
    return Refused(
        "BranchMoved", f"what is said of {cluster}, policies or moves was changed; it is looked at in the next cycle"
    )


def _withdrawn(so: str) -> Refused:
    return Refused(
        "ApprovalWithdrawn",
        f"what people agreed to of its move is not on the branch any more: {so}; the hub decides anew",
    )


def _edited(path: str) -> Refused:
    return Refused(
        "EditedByHuman",
        f"{path} was changed by a person; it is left alone until the job's replace annotation is set",
    )


_RULES: tuple[Rule, ...] = (
    _is_well_formed,
    _is_still_agreed,
    _cluster_takes_work,
    _policy_allows,
    _nobody_took_it_away,
    _no_other_attempt,
    _path_is_free,
    _is_as_planned,
)
_ASK_RULES: tuple[Rule, ...] = (_is_well_formed, _cluster_takes_work, _policy_allows, _leaves_the_live_attempt)
_MOVE_RULES: tuple[Rule, ...] = (*_ASK_RULES, _is_still_agreed, _is_as_planned)
"""Before the live attempt is stopped for the next."""
