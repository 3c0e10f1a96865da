"""The forges that proposals can go to."""

from carbonfleet.fleet.review.forges.forge_http import ForgeSettings
from carbonfleet.fleet.review.forges.kinds import open_forge

__all__ = [
    "ForgeSettings",
    "open_forge",
]
