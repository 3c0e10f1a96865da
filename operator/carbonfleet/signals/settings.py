"""Which sources are asked, in which order, and what is believed for how long: all of it can be set."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from carbonfleet.api.wire import Duration, Wire
from carbonfleet.forecast import AgeLimits, Link
from carbonfleet.signals.prices import PriceSettings
from carbonfleet.signals.sources import FREE_SOURCES, ElectricityMapsSettings, SourceSettings
from carbonfleet.yaml_reader import FileInvalid, read_document, read_documents


class SignalSettings(Wire):
    """Sources of carbon intensities and prices, and how they are used."""

    sources: Annotated[tuple[SourceSettings, ...], Field(min_length=1, max_length=16)] = (
        ElectricityMapsSettings(),
        *FREE_SOURCES,
    )
    """In the order in which they are believed. What costs nothing serves zones that are not in the plan, or all."""
    prices: Annotated[
        tuple[PriceSettings, ...],
        Field(max_length=8),
    ] = ()
    """GPU prices, in the order in which they are believed; the cluster files come last."""
    usd_per_eur: Annotated[float, Field(gt=0, le=100)] | None = None
    """What a euro costs. Where it is set, GPUs of your own without a price cost their power at the day-ahead price of
    their zone, where a source has it (Electricity Maps); left out, at the cluster's `electricityUsdPerKwh`."""
    chain: Annotated[tuple[Link, ...], Field(min_length=1, max_length=6)] = (
        "forecast",
        "cached",
        "profile",
        "last",
        "static",
        "annual",
    )
    limits: AgeLimits = AgeLimits()
    refresh: Duration = Field(default="15m", validate_default=True)
    """How often a zone is asked for, at most; forecast and measured values by turns."""
    patience_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a cycle waits for a zone of which nothing is known yet."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    store: Annotated[str, Field(max_length=512)] = "sqlite://"
    """A SQLAlchemy URL; the default keeps the history in memory."""

    @field_validator("refresh")
    @classmethod
    def _not_too_often(cls, span: timedelta) -> timedelta:
        if not timedelta(seconds=10) <= span <= timedelta(hours=1):
            raise ValueError("refresh must be between 10s and 1h")
        return span


class SettingsError(ValueError):
    """The settings file can't be used; the message says where and why."""


def load_settings(path: Path) -> SignalSettings:
    """The settings in a YAML file. Raises SettingsError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    try:
        if not read_documents(str(path), content):
            return SignalSettings()
        return read_document(str(path), content).read_as(SignalSettings)
    except FileInvalid as error:
        raise SettingsError(str(error)) from error
