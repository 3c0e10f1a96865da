"""The fleet repository's clone, its server, its signatures, and what it says at a commit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
