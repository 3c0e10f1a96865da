"""SpokeCluster objects follow the cluster files: people edit Git, and `kubectl get spokes` shows it."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.fleet import Tip
from carbonfleet.fleet.publish import most_removals
from carbonfleet.hub.observe.mirror import SPOKES, Mirror
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.observe.reports import rough
from carbonfleet.hub.status.events import Happening
from carbonfleet.hub.world import World
from carbonfleet.kube import Kube, KubeError, Object, ours
from carbonfleet.placement.snapshot import Spoke

_log = logging.getLogger(__name__)
REPORTS_VALID: Final = "ReportsValid"
CLOCK_IN_SYNC: Final = "ClockInSync"
PLACEMENTS_OWNED: Final = "PlacementsOwned"
MOST_TOLD: Final = 3
"""Problems of a spoke's reports that its condition tells in full."""
LONGEST_TOLD: Final = 250
"""Characters of each."""


def mirror_clusters(kube: Kube, tip: Tip, mirror: Mirror) -> None:
    """Create or update a SpokeCluster for each cluster file that differs from it.

    A cluster whose file is gone or broken keeps its object: its agent may still have work to report.
    """
    present = {body["metadata"]["name"]: body for body in mirror.all(SPOKES)}
    for name, facts in tip.clusters.items():
        spec = facts.to_wire()
        try:
            if name not in present:
                mirror.put(SPOKES, kube.create(ours("spokeclusters"), _object(name, spec)))
            elif not _holds(present[name].get("spec") or {}, spec):
                mirror.refresh(SPOKES, kube.patch(ours("spokeclusters", name=name), {"spec": spec}))
        except KubeError as error:
            if not error.is_conflict:
                _log.warning("SpokeCluster %s was not written: %s", name, error)


def warn_of_problems(world: World, tip: Tip) -> None:
    """Log what is wrong with files of the fleet repository, once each: those who wrote them may see no job's status."""
    problems = {*tip.policies.problems, *tip.cluster_problems.values(), *tip.problems.values()}
    for problem in sorted(problems - world.warned_of):
        _log.warning("the fleet repository: %s", problem)
    world.warned_of = frozenset(problems)


def _holds(present: Object, wanted: Object) -> bool:
    """Whether the object says all that the file says; the API adds defaults of its own."""
    return all(present.get(key) == value for key, value in wanted.items())


def _object(name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": "SpokeCluster", "metadata": {"name": name}, "spec": spec}


def show_health(world: World, scene: Scene) -> None:
    """Write the hub's conditions of each SpokeCluster where they changed, and tell of it.

    `Ready` says whether jobs are placed there, as the planner sees the spoke. Three more stand there once they were in
    doubt: `ReportsValid`, that all that the spoke reports is its own to report, `ClockInSync`, and `PlacementsOwned`,
    that no placements are left there whose jobs are no more.
    """
    if scene.tip is None:
        return
    spokes, held = {spoke.name: spoke for spoke in scene.spokes}, _held_orphans(scene, scene.tip)
    for body in world.mirror.all(SPOKES):
        name = body["metadata"]["name"]
        found = {"Ready": _readiness(name, spokes.get(name))}
        said = scene.report_problems.get(name, ())
        if said or _condition(body, REPORTS_VALID):
            found[REPORTS_VALID] = _validity(said)
        if _is_skewed(name, scene) or _condition(body, CLOCK_IN_SYNC):
            found[CLOCK_IN_SYNC] = _synchrony(name, scene)
        left = held.get(name, ())
        if left or _condition(body, PLACEMENTS_OWNED):
            found[PLACEMENTS_OWNED] = _ownership(left)
        _show(world, body, found, scene)
    _warn(world, scene)


def _readiness(name: str, spoke: Spoke | None) -> Happening:
    if spoke is None:
        return Happening("NotDeclared", f"clusters/{name}/cluster.yaml is not in Git: nothing is placed here", True)
    if not spoke.healthy:
        return Happening(spoke.reason or "NotHealthy", spoke.message or "the spoke is not well", True)
    return Happening("Ready", "declared in Git and heard from: jobs may be placed here", False)


def _is_skewed(name: str, scene: Scene) -> bool:
    return name in scene.heard and bool(scene.heard[name].skew)


def _synchrony(name: str, scene: Scene) -> Happening:
    if not _is_skewed(name, scene):
        return Happening("InSync", "its clock and the hub's agree", False)
    skew = scene.heard[name].skew
    off = f"{rough(abs(skew))} {'ahead of' if skew > timedelta() else 'behind'} the hub's"
    return Happening("ClockSkewed", f"its clock is {off}: set it right, for what it reports is dated by it", True)


def _validity(said: Sequence[str]) -> Happening:
    if not said:
        return Happening("AsInGit", "all that it reports is on what Git has for it", False)
    return Happening("NotAsInGit", f"{_in_short(said)}. If the agent there is ours, see who else has its account", True)


def _held_orphans(scene: Scene, tip: Tip) -> dict[str, list[str]]:
    """By spoke: the files of jobs that are no more, where they are too many to be removed unasked."""
    files = defaultdict[str, list[str]](list)
    if len(scene.orphans) > most_removals(len(tip.index.by_id)):
        for placed in scene.orphans:
            files[placed.cluster].append(placed.path)
    return files


def _ownership(files: Sequence[str]) -> Happening:
    if not files:
        return Happening("Owned", "every placement is of a job that is there", False)
    return Happening(
        "DeletionGuardTripped",
        f"{len(files)} placements are of jobs that are no more, and so many are not removed unasked: if the jobs were "
        f"meant to go, remove their files from Git, which stops what runs: {', '.join(sorted(files)[:MOST_TOLD])}"
        f"{', ...' if len(files) > MOST_TOLD else ''}",
        True,
    )


def _in_short(said: Sequence[str]) -> str:
    more = f"; and {_roughly(len(said) - MOST_TOLD)} more" if len(said) > MOST_TOLD else ""
    return "; ".join(text[:LONGEST_TOLD] for text in said[:MOST_TOLD]) + more


def _roughly(count: int) -> str:
    """A number that does not change with each report of a flood."""
    return str(count) if count < 10 else f"over {10 ** (len(str(count)) - 1) - 1}"


def _warn(world: World, scene: Scene) -> None:
    """Log what spokes report and must not, once."""
    for spoke, said in scene.report_problems.items():
        known = world.warned.get(spoke, frozenset())
        if news := [text for text in said if text not in known]:
            _log.warning("spoke %s: %s", spoke, _in_short(news))
    world.warned = {spoke: frozenset(said) for spoke, said in scene.report_problems.items()}


def _show(world: World, body: Object, found: Mapping[str, Happening], scene: Scene) -> None:
    news = {kind: what for kind, what in found.items() if not _says(_condition(body, kind), what)}
    if not news:
        return
    conditions = [_as_condition(body, kind, what, scene) for kind, what in found.items()]
    where = ours("spokeclusters", name=body["metadata"]["name"])
    try:
        written = world.kube.patch(f"{where}/status", {"status": {"conditions": conditions}})
    except KubeError as error:
        if not error.is_about_one_object:
            raise
        _log.warning("the status of SpokeCluster %s was not written: %s", body["metadata"]["name"], error)
        return
    world.mirror.refresh(SPOKES, written)
    for kind, what in news.items():
        if kind != "Ready" or _condition(body, kind):
            world.teller.tell_of_spoke(body, what, scene.now)


def _condition(body: Object, kind: str) -> Object:
    """What the object says already; empty where it says nothing of it."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((dict(each) for each in conditions if each.get("type") == kind), {})


def _says(condition: Object, what: Happening) -> bool:
    return all(condition.get(key) == value for key, value in _said(what).items())


def _said(what: Happening) -> Object:
    status = "False" if what.is_warning else "True"
    return {"status": status, "reason": what.reason, "message": what.message[:1024]}


def _as_condition(body: Object, kind: str, what: Happening, scene: Scene) -> Object:
    """The condition; its time of transition is kept where its status did not change."""
    old, new = _condition(body, kind), _said(what)
    same = old.get("status") == new["status"]
    since = old["lastTransitionTime"] if same else format_time(scene.now)
    generation = body["metadata"].get("generation") or 0
    return {"type": kind, **new, "lastTransitionTime": since, "observedGeneration": generation}
