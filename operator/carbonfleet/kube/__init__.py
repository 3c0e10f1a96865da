"""A Kubernetes API as carbonfleet speaks to it: plain objects, one error type, a timeout on every call."""

from carbonfleet.kube.answers import KubeError, Object
from carbonfleet.kube.connection import APPLY_PATCH, LONGEST_WAIT_SECONDS, TOKEN_SECONDS, Kube
from carbonfleet.kube.paths import name_of, ours, path

__all__ = [
    "APPLY_PATCH",
    "LONGEST_WAIT_SECONDS",
    "TOKEN_SECONDS",
    "Kube",
    "KubeError",
    "Object",
    "name_of",
    "ours",
    "path",
]
