"""Files of the fleet repository: where they lie, how a placement's file is rendered, and how it is read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
