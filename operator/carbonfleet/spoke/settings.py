"""How one agent is set up: from the environment or the command line, checked at the door."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from carbonfleet.api.wire import Name


class AgentSettings(BaseModel):
    """Everything an agent needs to know of itself. Seconds are real ones: they pace requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spoke: Name
    """The cluster's name in the fleet repository and on the hub."""
    state: Path
    """A directory for the bare clone and for what the agent must not forget."""
    allow_list: Path | None = None
    """The admin's own list of data classes: a ConfigMap's file, or the folder it is mounted at."""
    watch_only: bool = False
    """Flux or Argo CD applies the folder; the agent only looks and reports."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    """Between two looks at the runtime."""
    sync_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 15.0
    """Between two looks at Git."""
    progress_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """At least so long between two reports of an attempt that differ in progress alone."""
    heartbeat_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Of the house's clock, between two heartbeats."""
    heartbeat_least_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """Of real time, however fast the house's clock runs."""
    resync_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """Between two full reads of the hub's reports."""
    unknown_after_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """A runtime that is silent for longer makes its attempts Unknown."""
