"""A person's yes given from the command line where a forge shows the proposals: merged there, and nowhere else."""

import random
import time
from datetime import datetime
from typing import Final

from carbonfleet.fleet.review.branches import Branches, ReviewRefused
from carbonfleet.fleet.review.pull_requests import Forge, MergeOutcome, PullRequest, PullState

_DONE: Final = frozenset({MergeOutcome.MERGED, MergeOutcome.ALREADY_MERGED, MergeOutcome.SCHEDULED})
_PASSING: Final = frozenset({MergeOutcome.NOT_READY, MergeOutcome.BASE_MOVED})
"""What may be otherwise in a moment: the forge still works out whether it can be merged."""
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before it is tried again."""


def merge_on_forge(branches: Branches, forge: Forge, name: str, head: str, now: datetime) -> PullRequest:
    """Merge a proposal's request at exactly the commit that was looked at; the request.

    The forge's own rules hold (owners, checks). Never twice: a request that is merged already is left as it is. Raises
    ReviewRefused where the branch has moved, its time has passed, the tip's policies forbid it or the forge will not,
    and ForgeError where the forge can't be asked.
    """
    request = forge.find(name)
    if request is not None and request.state is PullState.MERGED and request.head_sha == head:
        return request
    branches.check(name, head, now)
    if request is None or request.state is not PullState.OPEN:
        raise ReviewRefused(f"{name} has no open request on the forge; the hub opens it in its next cycle")
    if request.head_sha != head:
        raise ReviewRefused(f"{request.url} is not at {head[:10]}: look at it again")
    result = forge.merge(request.number, head, request.title)
    for seconds in _PAUSES:
        if result.outcome not in _PASSING:
            break
        time.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  spreads people
        result = forge.merge(request.number, head, request.title)
    if result.outcome not in _DONE:
        raise ReviewRefused(f"{request.url} was not merged ({result.outcome}): {result.detail or 'try again'}")
    return request
