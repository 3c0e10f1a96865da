"""A spoke on a host without Kubernetes, over SSH: `up` makes it, `down` takes it away."""

from .host import HostStep, check, down, up
from .settings import HIDDEN, DownSettings, UpSettings
from .ssh import SshAddress, SshError

__all__ = ["HIDDEN", "DownSettings", "HostStep", "SshAddress", "SshError", "UpSettings", "check", "down", "up"]
