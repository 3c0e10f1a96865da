"""Deletes reports that nobody needs any more."""

import logging
from typing import Final

from carbonfleet.hub.observe import REPORTS, Mirror, Observation
from carbonfleet.kube import Kube, KubeError, ours

_log = logging.getLogger(__name__)
MOST_DELETED: Final = 50
"""Reports in one cycle."""


def delete_spent_reports(kube: Kube, mirror: Mirror, observation: Observation) -> None:
    """Delete what `observation` found spent. Raises KubeError when the API is away."""
    if observation.tip is None or not observation.tip_is_fresh or not mirror.synced:
        return
    for body in observation.spent_reports[:MOST_DELETED]:
        metadata = body["metadata"]
        try:
            kube.delete(ours(REPORTS, metadata["namespace"], metadata["name"]))
        except KubeError as error:
            if not error.is_about_one_object:
                raise
            _log.warning("report %s/%s was not deleted: %s", metadata["namespace"], metadata["name"], error)
