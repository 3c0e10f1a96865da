"""What runs attempts on a spoke: a Ray head of this machine, or KubeRay; and what their trainings leave behind."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
