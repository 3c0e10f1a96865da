"""What is applied to a hub's or a spoke's cluster: the overlays that came with carbonfleet, filled in."""

from carbonfleet.install.overlays import Applier, HubOverlay, InstallError, SpokeOverlay, render, write

__all__ = ["Applier", "HubOverlay", "InstallError", "SpokeOverlay", "render", "write"]
