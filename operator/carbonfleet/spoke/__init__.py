"""The spoke: an agent that runs what Git wants of it on Ray or KubeRay, and reports to the hub."""

from carbonfleet.spoke.agent import Agent
from carbonfleet.spoke.errors import SpokeError
from carbonfleet.spoke.report import HubLink, release
from carbonfleet.spoke.runtimes import KubeRay, RayJobs, RaySettings, Run, Runtime, gpu_resource
from carbonfleet.spoke.settings import AgentSettings
from carbonfleet.spoke.wanted import FleetFolder

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
