"""The live page: what runs where, why, what is next, and what it saved; it is only read."""

from carbonfleet.ui.reader import Reader
from carbonfleet.ui.server import serve
from carbonfleet.ui.settings import PageSettings

__all__ = ["PageSettings", "Reader", "serve"]
