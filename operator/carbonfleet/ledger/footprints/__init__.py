"""The clouds' own footprint exports, read by the layouts that they document and laid beside the ledger.

Its names are in `__init__.pyi`, and each is loaded where it is asked for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
