"""What is applied to a hub's or a spoke's cluster: the overlays that came with carbonfleet, filled in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
