"""Deletes reports that nobody needs any more."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

from carbonfleet.faults import only
from carbonfleet.hub.observe import REPORTS, Mirror, Observation
from carbonfleet.kube import Kube, KubeError, Object, ours

_log = logging.getLogger(__name__)
MOST_DELETED: Final = 50
"""Reports in one cycle."""


def delete_spent_reports(kube: Kube, mirror: Mirror, observation: Observation) -> None:
    """Delete what `observation` found spent, as far as the API takes it."""
    if observation.tip is None or not observation.tip_is_fresh or not mirror.synced:
        return
    for body in in_turn(observation.spent_reports)[:MOST_DELETED]:
        metadata = body["metadata"]
        try:
            with only(f"report {metadata['namespace']}/{metadata['name']} was not deleted", but=KubeError):
                kube.delete(ours(REPORTS, metadata["namespace"], metadata["name"]))
        except KubeError as error:
            _log.warning("report %s/%s was not deleted: %s", metadata["namespace"], metadata["name"], error)
            if error.is_away:
                return


def in_turn(bodies: Iterable[Object]) -> list[Object]:
    """One of each spoke, then another of each: the flood of one keeps no other's reports."""
    of_spoke = defaultdict[str, list[Object]](list)
    for body in bodies:
        of_spoke[str(body["metadata"]["namespace"])].append(body)
    return [body for turn in zip_longest(*of_spoke.values()) for body in turn if body is not None]
