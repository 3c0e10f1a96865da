"""What runs attempts on a spoke: a Ray head of this machine, or KubeRay; and what their trainings leave behind."""

from .energy import joined
from .kuberay import KubeRay
from .output import Findings
from .ray_jobs import RayJobs, RaySettings, gpu_resource
from .runtime import ObservationScope, Observed, Run, Runtime

__all__ = [
    "Findings",
    "KubeRay",
    "ObservationScope",
    "Observed",
    "RayJobs",
    "RaySettings",
    "Run",
    "Runtime",
    "gpu_resource",
    "joined",
]
