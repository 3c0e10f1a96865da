"""SpokeCluster: a spoke's declared facts as read from Git, and what it last reported."""

from typing import Annotated, Literal

from pydantic import Field

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.condition import Condition
from carbonfleet.api.wire import Foreign, Metadata, Name, Text, Time, Wire


class PoolStatus(Wire):
    """GPUs of a pool as the spoke sees them now."""

    name: Name
    free_gpus: Annotated[int, Field(ge=0)]


class SpokeStatus(Wire):
    """What the spoke's agent reports, and it alone."""

    heartbeat_time: Time | None = None
    synced_commit: Annotated[str, Field(max_length=64)] = ""
    pools: Annotated[tuple[PoolStatus, ...], Field(max_length=32)] = ()
    agent_version: Annotated[str, Field(max_length=64)] = ""
    runtime_version: Annotated[str, Field(max_length=64)] = ""
    problems: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()


class SpokeCluster(Foreign):
    """A cluster-scoped `SpokeCluster` object on the hub."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = "carbonfleet.dev/v1alpha1"
    kind: Literal["SpokeCluster"] = "SpokeCluster"
    metadata: Metadata
    spec: ClusterFacts
    status: SpokeStatus = SpokeStatus()
