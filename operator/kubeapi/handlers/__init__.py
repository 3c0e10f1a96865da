"""From an authorised request for a resource to its answer."""

from kubeapi.handlers.dispatch import handle
from kubeapi.handlers.table import Shape
from kubeapi.handlers.watch import Watch

__all__ = ["Shape", "Watch", "handle"]
