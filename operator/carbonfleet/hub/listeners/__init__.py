"""What is asked of the hub over HTTP: the forge's webhooks, and a zone's carbon intensity."""

from carbonfleet.hub.listeners.carbon import ZoneFigures, serve_carbon
from carbonfleet.hub.listeners.webhooks import listen

__all__ = ["ZoneFigures", "listen", "serve_carbon"]
