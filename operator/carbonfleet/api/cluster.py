"""The facts of a spoke, as people declare them in `clusters/<name>/cluster.yaml`."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from carbonfleet.api.wire import Duration, GpuType, Jurisdiction, Name, RegionName, Wire, ZoneKey


class Runtime(StrEnum):
    """How a spoke runs an attempt."""

    RAY = "ray"
    KUBERAY = "kuberay"


class PriceHours(Wire):
    """A price that holds in some hours of the UTC day, half-open: 22 to 6 runs over midnight."""

    from_hour: Annotated[int, Field(ge=0, le=23)]
    to_hour: Annotated[int, Field(ge=0, le=24)]
    usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)]


class GpuPool(Wire):
    """GPUs of one type that are priced alike."""

    name: Name
    gpu_type: GpuType
    gpus: Annotated[int, Field(ge=1, le=100_000)]
    """How many there are."""
    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = 8
    memory_gib: Annotated[float, Field(gt=0, le=1024)]
    """Memory of one GPU."""
    usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Price of one GPU for an hour. Left out: the spoke is refused for jobs that mind cost."""
    spot_usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)] | None = None
    spot_reclaims_per_hour: Annotated[float, Field(ge=0, le=10)] = 0.05
    prices_by_hour: Annotated[tuple[PriceHours, ...], Field(max_length=24)] = ()
    idle_watts: Annotated[float, Field(ge=0, le=5000)] | None = None
    """Power of one GPU, over the hardware profile's figures."""
    peak_watts: Annotated[float, Field(gt=0, le=5000)] | None = None
    relative_speed: Annotated[float, Field(gt=0, le=100)] | None = None
    """Speed beside the profile's reference GPU (A100 = 1), over the profile's figure."""
    simulated: bool = False
    """The GPUs are declared for a demo and do not exist."""


class ClusterFacts(Wire):
    """Everything the hub must know of a spoke before it may place work there."""

    name: Name
    region: RegionName
    zone: ZoneKey
    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=8)]
    pools: Annotated[tuple[GpuPool, ...], Field(min_length=1, max_length=32)]
    pue: Annotated[float, Field(ge=1, le=3)] = 1.2
    """Power usage effectiveness: building power over machine power."""
    egress_usd_per_gib: Annotated[float, Field(ge=0, le=10)] = 0.0
    runtime: Runtime = Runtime.KUBERAY
    overhead: Duration = Field(default="5m", validate_default=True)
    """Image pull and start-up before the first step."""
    time_zone: Annotated[str, Field(max_length=64)] = "UTC"
    maintenance: bool = False
    """True: keep what runs, place nothing new."""

    @field_validator("pools")
    @classmethod
    def _names_differ(cls, pools: tuple[GpuPool, ...]) -> tuple[GpuPool, ...]:
        if len({pool.name for pool in pools}) != len(pools):
            raise ValueError("two pools have the same name")
        return pools

    @model_validator(mode="before")
    @classmethod
    def _zone_is_text(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("zone"), bool):
            raise ValueError('zone was read as true or false: quote it, as in zone: "NO"')
        return data
