"""SpokeCluster: a spoke's declared facts as read from Git, and what it last reported."""

from typing import Annotated, Literal

from pydantic import Field

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.condition import Condition
from carbonfleet.api.wire import Foreign, Metadata, Name, Text, Time, Wire, keyed_by

AgentIdentity = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,128}$", max_length=128)]
"""One agent under a spoke's name: its machine's name, and what its state folder alone holds."""


class PoolStatus(Wire):
    """GPUs of a pool as the spoke sees them now."""

    name: Name
    """The pool."""
    free_gpus: Annotated[int, Field(ge=0)]
    """GPUs that no attempt holds."""
    awake_hosts: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Machines that are awake, where the pool's may sleep."""
    idle_until: Time | None = None
    """Where nothing runs and machines may sleep: the next start that is planned there."""
    idle_kwh: Annotated[float, Field(ge=0)] | None = None
    """Drawn without work by the GPUs of machines that were awake, as declared, since the agent's state began."""
    idle_saved_kwh: Annotated[float, Field(ge=0)] | None = None
    """What the GPUs of sleeping machines would have drawn, since then."""


class PlannedStart(Wire):
    """A start that the hub plans on a pool."""

    pool: Name
    """The pool."""
    at: Time
    """When, as planned now."""
    gpus: Annotated[int, Field(ge=1, le=100_000)]
    """How many GPUs it takes."""


class SpokeStatus(Wire):
    """What the spoke's agent reports; the conditions and the planned starts are the hub's."""

    heartbeat_time: Time | None = None
    """When the agent last wrote."""
    synced_commit: Annotated[str, Field(max_length=64)] = ""
    """The fleet repository's commit that it last applied."""
    pools: Annotated[tuple[PoolStatus, ...], Field(max_length=32, json_schema_extra=keyed_by("name"))] = ()
    """GPUs as the spoke sees them now."""
    free: Annotated[str, Field(max_length=256)] = ""
    """For people: GPUs that are free, of all, by pool, as in `3/4 a100, 2/2 l40s`."""
    agent_version: Annotated[str, Field(max_length=64)] = ""
    """Version of the agent."""
    placement_form: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """The newest form of placements' files that the agent reads; without it the hub writes the oldest it knows."""
    runtime_version: Annotated[str, Field(max_length=64)] = ""
    """Version of Ray or KubeRay."""
    runtime_problem: Text = ""
    """Why Ray, or the spoke's own Kubernetes API, does not answer the agent; empty while it does."""
    holder_identity: AgentIdentity = ""
    """The agent that holds this spoke's name: no other may act under it until an admin takes it over."""
    lease_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Of which two thirds may pass without an answer of the hub before the holder starts nothing."""
    rival_identity: AgentIdentity = ""
    """Another agent under this name, which was refused and does nothing."""
    rival_time: Time | None = None
    """When the other one asked last."""
    planned_starts: Annotated[tuple[PlannedStart, ...], Field(max_length=64)] = ()
    """Of jobs that wait, on pools whose machines may sleep, the soonest first: by these the agent wakes them."""
    problems: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    """What a person should look at, a sentence each."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type"))] = ()
    """Ready: whether the hub places jobs here, and why not."""


class SpokeCluster(Foreign):
    """A cluster-scoped `SpokeCluster` object on the hub."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["SpokeCluster"] = "SpokeCluster"
    metadata: Metadata
    spec: ClusterFacts
    status: SpokeStatus = SpokeStatus()
