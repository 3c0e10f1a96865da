"""SpokeCluster objects follow the cluster files: people edit Git, and `kubectl get spokes` shows it."""

import logging
from collections.abc import Iterable
from typing import Any

from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.fleet import Tip
from carbonfleet.hub.events import Happening
from carbonfleet.hub.mirror import SPOKES, Mirror
from carbonfleet.hub.scene import Scene
from carbonfleet.hub.world import World
from carbonfleet.kube import Kube, KubeError, Object, ours

_log = logging.getLogger(__name__)


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


def _holds(present: Object, wanted: Object) -> bool:
    """Whether the object says all that the file says; the API adds defaults of its own."""
    return all(present.get(key) == value for key, value in wanted.items())


def _object(name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": "SpokeCluster", "metadata": {"name": name}, "spec": spec}


def show_health(world: World, scene: Scene) -> None:
    """Write Ready of each SpokeCluster, as the planner sees the spoke, where that changed; and tell of it."""
    if scene.tip is None:
        return
    spokes = {spoke.name: spoke for spoke in scene.spokes}
    for body in world.mirror.all(SPOKES):
        name = body["metadata"]["name"]
        spoke = spokes.get(name)
        if spoke is None:
            what = Happening("NotDeclared", f"clusters/{name}/cluster.yaml is not in Git: nothing is placed here", True)
        elif not spoke.healthy:
            what = Happening(spoke.reason or "NotHealthy", spoke.message or "the spoke is not well", True)
        else:
            what = Happening("Ready", "declared in Git and heard from: jobs may be placed here", False)
        _show(world, body, what, scene)


def _show(world: World, body: Object, what: Happening, scene: Scene) -> None:
    old = _ready_of((body.get("status") or {}).get("conditions") or ())
    new = {"status": "False" if what.is_warning else "True", "reason": what.reason, "message": what.message[:1024]}
    if all(old.get(key) == value for key, value in new.items()):
        return
    same = old.get("status") == new["status"]
    since = old["lastTransitionTime"] if same else format_time(scene.now)
    generation = body["metadata"].get("generation") or 0
    ready = {"type": "Ready", **new, "lastTransitionTime": since, "observedGeneration": generation}
    where = ours("spokeclusters", name=body["metadata"]["name"])
    try:
        written = world.kube.patch(f"{where}/status", {"status": {"conditions": [ready]}})
    except KubeError as error:
        if not error.is_about_one_object:
            raise
        _log.warning("the status of SpokeCluster %s was not written: %s", body["metadata"]["name"], error)
        return
    world.mirror.refresh(SPOKES, written)
    if old:
        world.teller.tell_of_spoke(body, what, scene.now)


def _ready_of(conditions: Iterable[Any]) -> Object:
    return next((dict(each) for each in conditions if each.get("type") == "Ready"), {})
