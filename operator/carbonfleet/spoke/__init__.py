"""The spoke: an agent that runs what Git wants of it on Ray or KubeRay, and reports to the hub."""

from carbonfleet.spoke.agent import Agent
from carbonfleet.spoke.errors import SpokeError
from carbonfleet.spoke.hub_link import HubLink
from carbonfleet.spoke.kuberay import KubeRay
from carbonfleet.spoke.ray_jobs import RayJobs, RaySettings, gpu_resource
from carbonfleet.spoke.runtime import Run, Runtime
from carbonfleet.spoke.settings import AgentSettings
from carbonfleet.spoke.source import FleetFolder

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
]
