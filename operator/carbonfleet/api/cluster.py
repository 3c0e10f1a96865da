"""The facts of a spoke, as people declare them in `clusters/<name>/cluster.yaml`."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from carbonfleet.api.wire import (
    SET,
    Duration,
    GpuType,
    Jurisdiction,
    Name,
    RegionName,
    Wire,
    ZoneKey,
    cel,
    keyed_by,
)

ACCOUNT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$|^$"
"""AWS: 12 digits; Google Cloud: letters, digits, `-`, and `.` and `:` where it has a domain; Azure: a UUID."""
WAKE_MARGIN: Final = timedelta(minutes=2)
"""Hosts are woken so much earlier than they need to wake: what is planned is heard about once a minute."""


class ClusterRuntime(StrEnum):
    """How a spoke runs an attempt."""

    RAY = "ray"
    KUBERAY = "kuberay"


class PriceHours(Wire):
    """A price that holds in some hours of the UTC day, half-open: 22 to 6 runs over midnight."""

    from_hour: Annotated[int, Field(ge=0, le=23)]
    """The first hour."""
    to_hour: Annotated[int, Field(ge=0, le=24)]
    """The hour in which it ends."""
    usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)]
    """Price of one GPU for an hour."""


class GpuPool(
    Wire,
    json_schema_extra=cel(
        (
            "!has(self.idleWatts) || !has(self.peakWatts) || self.idleWatts <= self.peakWatts",
            "idleWatts must not be more than peakWatts",
        )
    ),
):
    """GPUs of one type that are priced alike."""

    name: Name
    """Unique in the cluster."""
    gpu_type: GpuType
    """A GPU model as the hardware profiles name it, such as A100, H100 or RTX-3090."""
    gpus: Annotated[int, Field(ge=1, le=100_000)]
    """How many there are."""
    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = 8
    """How many one machine has."""
    memory_gib: Annotated[float, Field(gt=0, le=1024)]
    """Memory of one GPU, in GiB."""
    usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Price of one GPU for an hour. Left out: the spoke is refused for jobs that mind cost."""
    spot_usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Price of one that can be reclaimed; left out: there are none."""
    spot_reclaims_per_hour: Annotated[float, Field(ge=0, le=10)] = 0.05
    """How often a spot GPU is reclaimed, on average."""
    prices_by_hour: Annotated[tuple[PriceHours, ...], Field(max_length=24)] = ()
    """Hours with another price than `usdPerGpuHour`."""
    idle_watts: Annotated[float, Field(ge=0, le=5000)] | None = None
    """Power of one GPU without work, over the hardware profile's figure."""
    peak_watts: Annotated[float, Field(gt=0, le=5000)] | None = None
    """Power of one GPU at full work, over the hardware profile's figure."""
    host_watts: Annotated[float, Field(ge=0, le=20_000)] | None = None
    """Power of one machine at work beside its GPUs: CPUs, memory, fans. Each GPU counts its share of it, one of
    `gpusPerNode`; where RAPL measures CPUs and memory, that counts instead. Left out: none is counted."""
    wake_time: Annotated[Duration, Field(json_schema_extra={"format": "duration"})] | None = None
    """How long an idle host takes to wake, such as 10m: with it hosts may sleep while nobody needs them, where the
    spoke's agent has a hook for that. Every run here is planned to begin so much later."""
    relative_speed: Annotated[float, Field(gt=0, le=100)] | None = None
    """Speed beside the profile's reference GPU (A100 = 1), over the profile's figure."""
    simulated: bool = False
    """The GPUs are declared for a demo and do not exist."""

    @model_validator(mode="after")
    def _power_rises(self) -> "GpuPool":
        if self.idle_watts is not None and self.peak_watts is not None and self.idle_watts > self.peak_watts:
            raise ValueError("idleWatts must not be more than peakWatts")
        return self

    @property
    def hosts(self) -> int:
        """How many machines it has."""
        return -(-self.gpus // self.gpus_per_node)

    def hosts_for(self, gpus: int) -> int:
        """Machines that hold so many GPUs, at most all."""
        return min(self.hosts, -(-gpus // self.gpus_per_node))

    def awake_hosts(
        self, awake: int, held_gpus: int, starts: Iterable[tuple[datetime, int]], now: datetime
    ) -> tuple[int, int]:
        """How many of its hosts must be awake, and how many may stay so at most; both are all without a wake time.

        `starts` are those planned: when, and how many GPUs. What starts within the wake time needs its hosts now. What
        starts within twice that keeps them: they would hardly have slept. What should have begun is held by then.
        """
        if self.wake_time is None:
            return self.hosts, self.hosts
        due = [(start - now, gpus) for start, gpus in starts if start > now]
        needed = self.hosts_for(held_gpus + sum(gpus for ahead, gpus in due if ahead <= self.wake_time + WAKE_MARGIN))
        kept = self.hosts_for(held_gpus + sum(gpus for ahead, gpus in due if ahead <= 2 * self.wake_time + WAKE_MARGIN))
        return needed, max(needed, min(awake, kept))


class ClusterFacts(Wire):
    """Everything the hub must know of a spoke before it may place work there."""

    name: Name
    """The spoke's name, which is also its folder's."""
    region: RegionName
    """The provider's region, such as europe-north1 or us-east-2."""
    account: Annotated[str, Field(pattern=ACCOUNT_PATTERN, max_length=128)] = ""
    """The cloud account that pays, by its id: an AWS account (in quotes: it is no number), a Google Cloud project,
    an Azure subscription. The ledger keeps it, for `carbonfleet report reconcile`."""
    zone: ZoneKey
    """The electricity zone by Electricity Maps' key, such as "NO-NO1"."""
    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=8, json_schema_extra=SET)]
    """The legal areas it lies in, as policies name them, such as "NO" and "EEA"."""
    pools: Annotated[tuple[GpuPool, ...], Field(min_length=1, max_length=32, json_schema_extra=keyed_by("name"))]
    """Its GPUs, by type and price."""
    pue: Annotated[float, Field(ge=1, le=3)] = 1.2
    """Power usage effectiveness: building power over machine power."""
    egress_usd_per_gib: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Price of taking a GiB out of it."""
    ingress_gib_per_hour: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """How fast a dataset that does not lie here comes in, until three runs tell; left out, in no time until then."""
    electricity_usd_per_kwh: Annotated[float, Field(ge=0, le=100)] | None = None
    """What power costs here: the price of a pool of GPUs that are your own and have no other."""
    runtime: ClusterRuntime = ClusterRuntime.KUBERAY
    """kuberay: RayJobs on Kubernetes; ray: a Ray head's Jobs API, without Kubernetes."""
    overhead: Duration = Field(default="5m", validate_default=True)
    """Image pull and start-up before the first step."""
    store: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]*$", max_length=63)] = ""
    """Its checkpoint store by a name of yours; spokes that name the same one take up each other's checkpoints. It lies
    where the spoke does, unless a policy's `stores` declare it elsewhere."""
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]+$", max_length=64)] = "UTC"
    """Its local time by IANA name, such as Europe/Oslo."""
    maintenance: bool = False
    """True: keep what runs, place nothing new."""

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (KeyError, ValueError, OSError) as error:
            close = get_close_matches(name, available_timezones(), n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"no time zone is called {name}{meant}") from error

    @field_validator("pools")
    @classmethod
    def _names_differ(cls, pools: tuple[GpuPool, ...]) -> tuple[GpuPool, ...]:
        if len({pool.name for pool in pools}) != len(pools):
            raise ValueError("two pools have the same name")
        return pools
