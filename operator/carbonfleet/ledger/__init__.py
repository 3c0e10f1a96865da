"""What was really emitted, kept append-only.

Here are the lines, the chain over them and their export, by the standard library alone, so that an audit of many lines
starts at once; `emissions/` has the arithmetic, `store/` the database.
 Its names are in `__init__.pyi`, and each is loaded where it is asked for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
