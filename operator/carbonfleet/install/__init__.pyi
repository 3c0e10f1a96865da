"""What is applied to a hub's or a spoke's cluster: the overlays that came with carbonfleet, filled in."""

from .overlays import HubOverlay, InstallError, SpokeOverlay, SyncTool, render, write

__all__ = ["HubOverlay", "InstallError", "SpokeOverlay", "SyncTool", "render", "write"]
