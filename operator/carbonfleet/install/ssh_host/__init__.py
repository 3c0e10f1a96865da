"""A spoke on a host without Kubernetes, over SSH: `up` makes it, `down` takes it away."""

from carbonfleet.install.ssh_host.host import HostStep, check, down, up
from carbonfleet.install.ssh_host.settings import HIDDEN, DownSettings, UpSettings
from carbonfleet.install.ssh_host.ssh import SshAddress, SshError

__all__ = ["HIDDEN", "DownSettings", "HostStep", "SshAddress", "SshError", "UpSettings", "check", "down", "up"]
