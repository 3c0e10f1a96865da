"""A spoke on a host without Kubernetes, over SSH: `up` makes it, `down` takes it away."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
