"""Writes a cycle's intents to the fleet repository."""

import logging
from collections.abc import Sequence

from carbonfleet.fleet import FleetError, Intent, Published, Repository
from carbonfleet.hub.observe import Blocker

_log = logging.getLogger(__name__)


def publish(repository: Repository, intents: Sequence[Intent]) -> tuple[Published | None, Blocker | None]:
    """Write all intents to Git together; a failure blocks them until a later cycle tries again."""
    if not intents:
        return None, None
    try:
        return repository.publish(intents), None
    except FleetError as error:
        _log.warning("the fleet repository was not written: %s", error)
        return None, Blocker(error.reason, str(error))
