"""The spoke: an agent that runs what Git wants of it on Ray or KubeRay, and reports to the hub."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
