"""The declared clusters with what their agents last said of them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter

from pydantic import ValidationError

from carbonfleet.api import SpokeStatus
from carbonfleet.api.cluster import ClusterFacts, ClusterRuntime
from carbonfleet.api.problems import told
from carbonfleet.api.spoke import PoolStatus
from carbonfleet.faults import only
from carbonfleet.fleet import Tip
from carbonfleet.fleet.manifests import CLUSTERS, FILES_UNREADABLE
from carbonfleet.hub.observe.heartbeats import Heard
from carbonfleet.kube import Object, name_of
from carbonfleet.placement.phrase import time
from carbonfleet.placement.snapshot import Spoke


def spokes_of(
    tip: Tip | None, bodies: Iterable[Object], heard: Mapping[str, Heard], now: datetime, grace: timedelta
) -> tuple[Spoke, ...]:
    """The declared clusters with what their agents last said, and when that was heard.

    One whose file is broken takes nothing, and is shown with what was last known of it.
    """
    if tip is None:
        return ()
    spokes: list[Spoke] = []
    reported: dict[str, Object] = {}
    for body in bodies:
        with only(f"SpokeCluster {name_of(body)} can't be read"):
            reported[str(body["metadata"]["name"])] = body
    for name, declared in tip.clusters.items():
        invalid = partial(_invalid, spokes, declared)
        with only(f"spoke {name}", invalid):
            spokes.append(_held(tip, _spoke(declared, reported.get(name), heard.get(name), now, grace)))
    for name, problem in tip.cluster_problems.items():
        facts = last_known_facts(reported.get(name))
        if facts is not None:
            spokes.append(Spoke(facts, False, "Invalid", problem))
    return tuple(sorted(spokes, key=attrgetter("facts.name")))


def _invalid(spokes: list[Spoke], facts: ClusterFacts, fault: str) -> None:
    spokes.append(Spoke(facts, False, "Invalid", f"its SpokeCluster's status can't be read: {fault}"))


def _spoke(facts: ClusterFacts, body: Object | None, heard: Heard | None, now: datetime, grace: timedelta) -> Spoke:
    try:
        status = SpokeStatus.model_validate((body or {}).get("status") or {})
    except ValidationError as error:
        return Spoke(facts, False, "Invalid", f"its SpokeCluster's status can't be read: {told(error, SpokeStatus)}")
    healthy, reason, message = _health(facts, heard, status.runtime_problem, now, grace)
    free = {pool.name: pool.free_gpus for pool in status.pools} if status.pools else None
    return Spoke(facts, healthy, reason, message, free)


def _held(tip: Tip, spoke: Spoke) -> Spoke:
    """A spoke that is well takes nothing new all the same while a file among its placements can't be read."""
    why = tip.why_held(CLUSTERS, spoke.name)
    return replace(spoke, healthy=False, reason=FILES_UNREADABLE, message=why) if spoke.healthy and why else spoke


def _runtime_away(facts: ClusterFacts, problem: str) -> str:
    is_ray = facts.runtime is ClusterRuntime.RAY
    name, what = ("Ray", "the Ray head") if is_ray else ("The spoke's API", "the spoke's API")
    return f"{name} unreachable: {problem.rstrip('.')}; see that {what} runs"


def last_known_facts(body: Object | None) -> ClusterFacts | None:
    """A cluster as its SpokeCluster remembers it, also when its file is broken or gone."""
    try:
        return ClusterFacts.model_validate((body or {}).get("spec"))
    except Exception:  # noqa: BLE001 - whatever stands there, nothing is known by it
        return None


def synced_commit(body: Object) -> str:
    """The fleet repository's commit that a spoke last applied, as it says."""
    return str((body.get("status") or {}).get("syncedCommit") or "")


def placement_forms(bodies: Iterable[Object]) -> dict[str, int]:
    """By spoke: the newest form of placements' files that its agent reads; those that do not say are left out."""
    found = {}
    for body in bodies:
        with only(f"SpokeCluster {name_of(body)} can't be read"):
            form = (body.get("status") or {}).get("placementForm")
            if isinstance(form, int):
                found[name_of(body)] = form
    return found


def idle_energy(bodies: Iterable[Object]) -> dict[str, tuple[PoolStatus, ...]]:
    """By spoke: its pools whose hosts may sleep, with what they drew idle and what sleep saved, as its agent says."""
    found = {}
    for body in bodies:
        with only(f"the idle energy of SpokeCluster {name_of(body)} can't be read"):
            pools = map(PoolStatus.model_validate, (body.get("status") or {}).get("pools") or ())
            if sleepers := tuple(pool for pool in pools if pool.idle_kwh is not None):
                found[name_of(body)] = sleepers
    return found


def _health(
    facts: ClusterFacts, heard: Heard | None, runtime_problem: str, now: datetime, grace: timedelta
) -> tuple[bool, str, str]:
    if facts.maintenance:
        return False, "Maintenance", "its cluster file says maintenance: true"
    if heard is None:
        return False, "NeverJoined", "its agent has never reported; run `carbonfleet spoke run` there"
    if heard.at is None:
        return False, "Unreachable", "its last heartbeat is from the future, and none has come since the hub began"
    if now - heard.at > grace:
        return False, "Unreachable", f"its agent was last heard {time(heard.at)}; see that it runs and reaches the hub"
    if runtime_problem:
        return False, "RuntimeUnreachable", _runtime_away(facts, runtime_problem)
    return True, "", ""
