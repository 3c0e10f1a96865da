"""The forges that proposals can go to."""

from .forge_http import ForgeSettings
from .kinds import open_forge

__all__ = [
    "ForgeSettings",
    "open_forge",
]
