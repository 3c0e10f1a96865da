"""The forges that proposals can go to."""

from collections.abc import Callable
from typing import Final

from carbonfleet.clock import Clock
from carbonfleet.fleet.review.forges.forge_http import ForgeSettings
from carbonfleet.fleet.review.forges.gitea import Gitea
from carbonfleet.fleet.review.forges.github import GitHub
from carbonfleet.fleet.review.forges.gitlab import GitLab
from carbonfleet.fleet.review.pull_requests import Forge
from carbonfleet.fleet.review.webhook import ForgeKind

_FORGES: Final[dict[ForgeKind, Callable[[ForgeSettings, Clock], Forge]]] = {
    ForgeKind.GITHUB: GitHub,
    ForgeKind.GITLAB: GitLab,
    ForgeKind.GITEA: Gitea,
}


def open_forge(kind: ForgeKind, settings: ForgeSettings, clock: Clock) -> Forge:
    """A forge. Nothing is asked of it yet."""
    return _FORGES[kind](settings, clock)
