"""Deletions: beginning and finishing them, and what follows from them in the background."""

from kubeapi.garbage.collector import Collector
from kubeapi.garbage.finalizers import begin_deletion

__all__ = ["Collector", "begin_deletion"]
