"""How one agent is set up, by flags, environment or file: checked before anything is opened."""

import os
import sys
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from carbonfleet.api.wire import Name
from carbonfleet.fleet import RepositorySettings
from carbonfleet.settings import INTERNAL, Settings

SpokeName = Annotated[Name, Field(max_length=57)]
"""Its namespace on the hub is `spoke-<name>`, a label of at most 63 characters."""


def checked_name(name: str) -> str:
    """The name, where a spoke can have it. Raises ValidationError."""
    return TypeAdapter(SpokeName).validate_python(name)


class RuntimeKind(StrEnum):
    """How attempts run on a spoke."""

    RAY = "ray"
    KUBERAY = "kuberay"


class Applier(StrEnum):
    """Who applies the spoke's folder."""

    AGENT = "agent"
    WATCH = "watch"


def _networks(text: str) -> str:
    for each in text.split(",") if text else ():
        ip_network(each.strip())
    return text


Networks = Annotated[str, AfterValidator(_networks)]


class AgentSettings(Settings):
    """Everything an agent needs to know. Seconds are real ones: they pace requests."""

    spoke: Name
    """The cluster's name in the fleet repository and on the hub."""
    fleet_url: str
    """The fleet repository: https://, ssh:// or git://."""
    fleet_branch: str = "main"
    """Its branch."""
    fleet_token_file: Path | None = None
    """A read-only token, for https."""
    fleet_ssh_key: Path | None = None
    """A read-only key, for ssh."""
    fleet_known_hosts: Path | None = None
    """The SSH server's keys."""
    ca_file: Path | None = None
    """Trusted for https, in place of the system's."""
    allowed_signers: Path | None = None
    """Follow only what these keys have signed: the hub's the placements, people's the rest."""
    hub_kubeconfig: Path | None = None
    """How to reach the hub."""
    runtime: RuntimeKind = RuntimeKind.KUBERAY
    """How attempts run here."""
    apply: Applier = Applier.AGENT
    """watch: Flux or Argo CD applies the folder, and the agent only looks and reports."""
    spoke_kubeconfig: Path | None = None
    """This cluster, for kuberay; in a pod left out."""
    ray_address: str = "http://127.0.0.1:8265"
    """Ray's Jobs API, for ray."""
    ray_token_file: Path | None = None
    """Its token, where it wants one."""
    workload: Path | None = None
    """The folder that holds workloads/, for ray; the one that came with carbonfleet if left out."""
    training_python: Path | None = None
    """The Python that trains, for ray; the agent's own if left out."""
    state: Path = Path(".carbonfleet/spoke")
    """Folder for the bare clone and for what must not be forgotten."""
    store: Path = Path(".carbonfleet/store")
    """Where attempts save, for ray."""
    datasets: Path = Path(".carbonfleet/datasets")
    """The only folder whose files may be jobs' datasets, for ray; links out of it are refused."""
    models: Path = Path(".carbonfleet/models")
    """The same for models that are named by a path."""
    output_folders: str = ""
    """Folders, divided by commas, that jobs may save in by checkpoints.uri, beside the store and s3://, for ray."""
    private_networks: Networks = ""
    """Networks with private addresses that jobs may fetch datasets from, for ray: 10.1.0.0/16,192.168.1.7/32."""
    allow_list: Path | None = None
    """The admin's own list of data classes: a ConfigMap's file, or the folder it is mounted at."""
    wake_hook: Path | None = None
    """A program that wakes hosts of pools with a wakeTime: called with the pool and how many are to be awake."""
    sleep_hook: Path | None = None
    """One that puts hosts without work to sleep: called with the pool and how many are to stay awake."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 2.0
    """Between two looks at the runtime."""
    sync_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 15.0
    """Between two looks at Git."""
    progress_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """At least so long between two reports of an attempt that differ in progress alone."""
    hide_logs: bool = False
    """Tell the hub where a training's log is kept, and none of its lines: they may quote what it trains on."""
    liveness: str = ""
    """Where to answer probes, http://0.0.0.0:8080/healthz."""
    heartbeat_seconds: Annotated[float, Field(ge=1, le=3600, json_schema_extra=INTERNAL)] = 60.0
    """Of carbonfleet's clock, between two heartbeats."""
    lease_seconds: Annotated[float, Field(ge=1, le=86_400, json_schema_extra=INTERNAL)] = 300.0
    """Of which two thirds may pass without an answer of the hub before this agent starts nothing."""
    heartbeat_least_seconds: Annotated[float, Field(ge=0, le=60, json_schema_extra=INTERNAL)] = 5.0
    """Of real time, however fast that clock runs."""
    resync_seconds: Annotated[float, Field(ge=1, le=86_400, json_schema_extra=INTERNAL)] = 600.0
    """Between two full reads of the hub's reports."""
    unknown_after_seconds: Annotated[float, Field(ge=0, le=3600, json_schema_extra=INTERNAL)] = 30.0
    """A runtime that is silent for longer makes its attempts Unknown."""

    @model_validator(mode="after")
    def _repository_is_sound(self) -> Self:
        _ = self.repository
        return self

    @model_validator(mode="after")
    def _hooks_are_a_pair(self) -> Self:
        if (self.wake_hook is None) != (self.sleep_hook is None):
            raise ValueError("--wake-hook and --sleep-hook belong together: what sleeps must be woken")
        for hook in (self.wake_hook, self.sleep_hook):
            if hook is not None and not (hook.is_file() and os.access(hook, os.X_OK)):
                raise ValueError(f"{hook} is no executable file, and can't be a hook")
            if hook is not None and not hook.is_absolute():
                raise ValueError(f"{hook} must be an absolute path, since it is a hook")
        return self

    @property
    def watch_only(self) -> bool:
        """Flux or Argo CD applies the folder; the agent only looks and reports."""
        return self.apply is Applier.WATCH

    @property
    def repository(self) -> RepositorySettings:
        """Where placements are read, and as whom."""
        return RepositorySettings(
            url=self.fleet_url,
            directory=self.state.resolve() / "fleet.git",
            branch=self.fleet_branch,
            token_file=self.fleet_token_file,
            ssh_key=self.fleet_ssh_key,
            known_hosts=self.fleet_known_hosts,
            ca_file=self.ca_file,
            allowed_signers=self.allowed_signers,
        )

    @property
    def training_command(self) -> tuple[str, ...]:
        """What a Ray job runs. The interpreter of a venv is a link out of it, so it is not resolved."""
        python = self.training_python or Path(sys.executable)
        return str(python.absolute()), "-m", "workloads.lora.train"
