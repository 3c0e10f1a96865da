"""What energy over time emitted where a grid was as it was; settled once the grid's values are final."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
