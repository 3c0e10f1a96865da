"""The rules that people keep in `policies/*.yaml`: where work may run, who must agree, at which tier."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from carbonfleet.api.wire import API_VERSION, Duration, Jurisdiction, Name, RegionName, StoreName, Wire
from carbonfleet.api.workload import Reference

DataClass = Name
"""A class of data that policies speak of, such as public or eu-personal."""
NamespacePattern = Annotated[str, Field(pattern=r"^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$", max_length=63)]


class ReviewMode(StrEnum):
    """Whether a placement is committed at once or proposed for people to merge."""

    AUTO = "auto"
    REQUIRED = "required"


class Scope(Wire):
    """Which jobs a policy speaks of; an empty list means all."""

    data_classes: Annotated[tuple[DataClass, ...], Field(max_length=64)] = ()
    """Data classes, as jobs name them in `residency.dataClass`."""
    namespaces: Annotated[tuple[NamespacePattern, ...], Field(max_length=256)] = ()
    """Names or patterns with `*`."""


class Residency(Wire):
    """Where the jobs in scope may run. Lists that are given must all hold."""

    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(max_length=64)] = ()
    """A spoke in any of these legal areas will do, such as "EU", "EEA", "US"."""
    regions: Annotated[tuple[RegionName, ...], Field(max_length=256)] = ()
    """A spoke in any of these provider regions will do."""
    clusters: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Any of these spokes will do."""
    anywhere: bool = False
    """True allows every spoke; it must be written, never implied."""

    @model_validator(mode="after")
    def _says_something(self) -> "Residency":
        named = bool(self.jurisdictions or self.regions or self.clusters)
        if named == self.anywhere:
            raise ValueError("name jurisdictions, regions or clusters, or write anywhere: true (not both)")
        return self


class Review(Wire):
    """When a person must agree before a placement is committed."""

    mode: ReviewMode = ReviewMode.AUTO
    """required: always; auto: only when a limit below is crossed."""
    above_cost_usd: Annotated[float, Field(ge=0)] | None = None
    """Review is required when the expected cost is higher."""
    below_saving_percent: Annotated[float, Field(ge=-1000, le=100)] | None = None
    """Review is required when the expected saving is lower."""
    moves: ReviewMode = ReviewMode.AUTO
    """For moving a job that already runs."""


class Tier(Wire):
    """How long, and above which intensity, a job of this tier waits."""

    name: Name
    """What jobs name in `schedule.tier`."""
    scope: Scope = Scope()
    """Which jobs may name it; left out, all."""
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    """Higher goes first."""
    max_delay: Duration = Field(default="24h", validate_default=True)
    """The longest wait for a cleaner hour; 0s never waits."""
    max_intensity_grams_per_kwh: Annotated[float, Field(gt=0, le=2000)] | None = None
    """The highest mean intensity over a run, while the delay has such a window."""
    max_intensity_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """The same as a percentile of the zone's history."""
    minimum_gain_percent_per_hour: Annotated[float, Field(ge=0, le=100)] = 0.01
    """Each hour of delay must save so much of what a start at once there would score; 0 waits for any gain."""


CARBON_PRICE_USD_PER_TONNE: Final = 50.0
"""Where nobody sets one: a round figure for a first try, of no market; a policy names its own."""


class Goal(StrEnum):
    """What the choice of place and time makes small."""

    COMPOSITE = "composite"
    CARBON = "carbon"
    COST = "cost"


class Aim(Wire):
    """What is made small, and how much more than the cheapest it may cost."""

    minimize: Goal | None = None
    """Carbon; cost; or composite: cost plus carbon price times carbon. Where nobody says, carbon."""
    carbon_price_usd_per_tonne: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """For composite, what a tonne of CO2e is worth, in US dollars. Where nobody says, 50."""
    cost_tolerance_percent: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """Only windows that cost at most so much more than the cheapest that is free. Where nobody says, any."""

    @property
    def goal(self) -> Goal:
        """What is made small."""
        return self.minimize or Goal.CARBON

    @property
    def usd_per_tonne(self) -> float:
        """What a tonne of CO2e is worth in a composite."""
        return (
            CARBON_PRICE_USD_PER_TONNE if self.carbon_price_usd_per_tonne is None else self.carbon_price_usd_per_tonne
        )


class Budget(Wire):
    """What the namespaces in scope may emit and use in a calendar month (UTC), together."""

    carbon_kg_per_month: Annotated[float, Field(gt=0)] | None = None
    """Emissions in kg CO2e."""
    gpu_hours_per_month: Annotated[float, Field(gt=0)] | None = None
    """GPUs times hours."""
    running_gpus: Annotated[int, Field(ge=1)] | None = None
    """GPUs in use at the same time."""


class Store(Wire):
    """Where a store of data lies: checkpoints and adapters, or datasets."""

    name: StoreName
    """Unique in the fleet; what a cluster file names in `store`."""
    uri: Reference | None = None
    """Everything whose address begins so, folder by folder, such as s3://lora-eu/."""
    region: RegionName
    """The provider's region that it lies in."""
    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=8)]
    """The legal areas that it lies in, as for a cluster."""


class PolicySpec(Wire):
    """One policy file's content. Of the policies in whose scope a job falls, the stricter wins."""

    scope: Scope = Scope()
    """Which jobs it speaks of; left out, all."""
    residency: Residency | None = None
    """Where they may run."""
    review: Review | None = None
    """When a person must agree first."""
    objective: Aim | None = None
    """What they make small where they don't say, and how much more than the cheapest it may cost."""
    budget: Budget | None = None
    """What they may emit and use in a month, together."""
    share_weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Turns that each namespace in scope has for those of others when GPUs are short; left out, 1."""
    tiers: Annotated[tuple[Tier, ...], Field(max_length=32)] = ()
    """Tiers are the fleet's, whatever the scope; a name may be defined once."""
    stores: Annotated[tuple[Store, ...], Field(max_length=256)] = ()
    """Stores are the fleet's, whatever the scope; a name and an address may be declared once."""


class PolicyMetadata(Wire):
    """A policy's name, which is also its file's name."""

    name: Name


class FleetPolicy(Wire):
    """A file in `policies/`."""

    api_version: Literal["carbonfleet.dev/v1alpha1"] = API_VERSION  # type: ignore[assignment]
    kind: Literal["FleetPolicy"] = "FleetPolicy"
    metadata: PolicyMetadata
    spec: PolicySpec
