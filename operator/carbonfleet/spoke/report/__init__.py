"""What a spoke says to the hub: a report of each attempt, and its heartbeat, written when they are news."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
