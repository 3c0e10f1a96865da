"""What the grid will do: from measured history and issued forecasts to a forecast with its doubt, as pure functions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
