"""SpokeCluster objects follow the cluster files: people edit Git, and `kubectl get spokes` shows it."""

import logging

from carbonfleet.api.wire import API_VERSION
from carbonfleet.fleet import Tip
from carbonfleet.hub.mirror import SPOKES, Mirror
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
