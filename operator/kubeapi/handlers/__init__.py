"""From an authorised request for a resource to its answer."""

from kubeapi.handlers.dispatch import Answer, handle
from kubeapi.handlers.table import Shape
from kubeapi.handlers.watch import Watch

__all__ = ["Answer", "Shape", "Watch", "handle"]
