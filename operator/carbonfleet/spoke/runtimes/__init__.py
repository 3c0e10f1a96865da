"""What runs attempts on a spoke: a Ray head of this machine, or KubeRay; and what their trainings leave behind."""

from carbonfleet.spoke.runtimes.energy import joined
from carbonfleet.spoke.runtimes.kuberay import KubeRay
from carbonfleet.spoke.runtimes.output import Findings
from carbonfleet.spoke.runtimes.ray_jobs import RayJobs, RaySettings, gpu_resource
from carbonfleet.spoke.runtimes.runtime import ObservationScope, Observed, Run, Runtime

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
