"""The spoke: an agent that runs what Git wants of it on Ray or KubeRay, and reports to the hub."""

from .agent import Agent
from .errors import SpokeError
from .report import HubLink, release
from .runtimes import KubeRay, RayJobs, RaySettings, Run, Runtime, gpu_resource
from .settings import AgentSettings
from .wanted import FleetFolder

__all__ = [
    "Agent",
    "AgentSettings",
    "FleetFolder",
    "HubLink",
    "KubeRay",
    "RayJobs",
    "RaySettings",
    "Run",
    "Runtime",
    "SpokeError",
    "gpu_resource",
    "release",
]
