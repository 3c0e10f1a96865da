"""A sweep's file as people write it: a job, the grid around a baseline, tiers, and rules that give each its tier."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from carbonfleet.api.job import Halving
from carbonfleet.api.wire import Name, PositiveDuration, Wire
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.grid import PLACES
from carbonfleet.sweep.rules import Rule, Scalar, Scalars
from carbonfleet.yaml_reader import read_document

LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9.-]{1,190}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]


class Threshold(StrEnum):
    """How a tier says below which intensity its jobs start."""

    GRAMS = "grams"
    PERCENTILE = "percentile"


class SweepTier(Wire):
    """How long the jobs of a tier wait, and for what."""

    name: Name
    """What rules name, and the label `carbonfleet.dev/sweep-tier` holds."""
    max_delay: PositiveDuration
    """The longest wait for a cleaner hour."""
    max_intensity_grams_per_kwh: Annotated[float, Field(gt=0, le=2000)] | None = None
    """Start at or below it, with the threshold `grams`."""
    max_intensity_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Start at or below this percentile of the zone's last 28 days, with the threshold `percentile`."""
    fleet_tier: Name | None = None
    """The tier of the fleet's policies whose priority the jobs have; left out, the job's own."""
    duration: PositiveDuration | None = None
    """The length of its runs; left out, the job's own."""


class JobTemplate(Wire):
    """What all jobs of the sweep share."""

    namespace: Name | None = None
    """Left out, the one that kubectl uses."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels beside the sweep's own."""
    spec: dict[str, Any]
    """A CarbonTrainingJob's spec, into which each configuration is written."""


class SweepFile(Wire):
    """The whole file."""

    name: Name
    """The sweep's name, with which each job's name begins."""
    threshold: Threshold = Threshold.GRAMS
    """Which of a tier's two figures holds."""
    job: JobTemplate
    """What all jobs share."""
    baseline: dict[str, Scalar]
    """The configuration that the others are compared with; it must be in the grid."""
    grid: Annotated[tuple[dict[str, Scalars], ...], Field(min_length=1, max_length=1000)]
    """The configurations; a field with a list stands for each of its values."""
    tiers: Annotated[tuple[SweepTier, ...], Field(min_length=1, max_length=32)]
    """The tiers that rules name."""
    early_stopping: Halving | None = None
    """Where jobs that fall behind are stopped; left out, nowhere."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=256)]
    """The first that matches gives the tier."""

    @field_validator("baseline")
    @classmethod
    def _baseline_fields_are_known(cls, baseline: dict[str, Scalar]) -> dict[str, Scalar]:
        _refuse_unknown(baseline)
        return baseline

    @field_validator("grid")
    @classmethod
    def _grid_fields_are_known(cls, grid: tuple[dict[str, Scalars], ...]) -> tuple[dict[str, Scalars], ...]:
        for row in grid:
            _refuse_unknown(row)
        return grid

    @model_validator(mode="after")
    def _tiers_are_named_once_and_known(self) -> "SweepFile":
        names = [tier.name for tier in self.tiers]
        if len(set(names)) != len(names):
            raise ValueError("two tiers have the same name")
        for rule in self.rules:
            _refuse_unknown(rule.match)
            if rule.tier not in names:
                raise ValueError(f"a rule gives tier {rule.tier}; there is {', '.join(names)}")
        return self


def read_sweep(path: Path) -> SweepFile:
    """A sweep from its file.

    Raises:
        SweepError: it can't be read.
        FileInvalid: it is not a sweep; every problem with file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SweepError(f"{path} can't be read: {error.strerror}") from error
    return read_document(str(path), content).read_as(SweepFile)


def _refuse_unknown(fields: dict[str, Any]) -> None:
    if unknown := [field for field in fields if field not in PLACES]:
        raise ValueError(f"{unknown[0]} is nothing that a sweep varies; there is {', '.join(PLACES)}")
