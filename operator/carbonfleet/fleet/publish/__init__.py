"""Changes wanted of the fleet repository, as values, and the one way in which they are committed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
