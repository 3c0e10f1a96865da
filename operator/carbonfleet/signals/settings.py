"""Which sources are asked, in which order, and what is believed for how long: all of it can be set."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator

from carbonfleet.api.problems import told
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Duration, Wire, ZoneKey

TOKEN_VARIABLE: Final = "ELECTRICITY_MAPS_TOKEN"  # noqa: S105 - the variable's name

Grams = Annotated[float, Field(ge=0, le=2000)]
Location = Annotated[str, Field(min_length=1, max_length=128)]


class Endpoint(Wire):
    """A provider's server, and how gently it is treated."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$", max_length=512)]
    ca_file: Path | None = None
    """Certificates to trust, in PEM, instead of the machine's own."""
    connect_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    read_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    tries: Annotated[int, Field(ge=1, le=5)] = 2
    retry_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Before the second try, doubled for each further one; half of it is jitter."""
    throttle_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long to wait after HTTP 429 where the server names no time."""
    requests_per_minute: Annotated[float, Field(gt=0, le=6000)] = 120.0

    @property
    def host(self) -> str:
        """For messages."""
        return urlsplit(self.url).netloc


class Key(Wire):
    """Where a secret is read from: a file (mounted from a Secret) or an environment variable."""

    file: Path | None = None
    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)] | None = None

    def read(self) -> SecretStr:
        """The secret; empty when there is none. Read at each use, so that a rotated one takes over."""
        if self.file is not None:
            try:
                return SecretStr(self.file.read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                return SecretStr("")
        return SecretStr(os.environ.get(self.variable or "", "").strip())


class ElectricityMapsSettings(Wire):
    """Electricity Maps, version 3 or 4 of its API."""

    type: Literal["electricitymaps"] = "electricitymaps"
    version: Literal["v3", "v4"] = "v3"
    endpoint: Endpoint = Endpoint(url="https://api.electricitymaps.com")
    token: Key = Key(variable=TOKEN_VARIABLE)
    horizon_hours: Annotated[int, Field(ge=1, le=168)] = 72
    locations: Mapping[ZoneKey, Location] = {}
    """How to ask for a zone other than by its key: `lat,lon`, or `provider:region` of a cloud."""


class WattTimeSettings(Wire):
    """WattTime's marginal emissions."""

    type: Literal["watttime"] = "watttime"
    endpoint: Endpoint = Endpoint(url="https://api.watttime.org")
    username: Key = Key(variable="WATTTIME_USERNAME")
    password: Key = Key(variable="WATTTIME_PASSWORD")
    regions: Mapping[ZoneKey, Location] = {}
    """WattTime's region for a zone, over the region table's."""


class UkCarbonSettings(Wire):
    """The Carbon Intensity API of Great Britain."""

    type: Literal["uk-carbon-intensity"] = "uk-carbon-intensity"
    endpoint: Endpoint = Endpoint(url="https://api.carbonintensity.org.uk")


class CarbonAwareSdkSettings(Wire):
    """A Carbon Aware SDK web API."""

    type: Literal["carbon-aware-sdk"] = "carbon-aware-sdk"
    endpoint: Endpoint
    kind: SignalKind
    """What the source behind it measures: it does not say so itself."""
    locations: Annotated[Mapping[ZoneKey, Location], Field(min_length=1, max_length=1000)]
    """Its name for each zone."""


class HttpPriceSettings(Wire):
    """A server that lists GPU prices."""

    type: Literal["price-server"] = "price-server"
    endpoint: Endpoint
    path: Annotated[str, Field(max_length=512)] = "prices"
    token: Key | None = None
    """Sent as a bearer token."""
    refresh: Duration = Field(default="5m", validate_default=True)


class PriceFileSettings(Wire):
    """A CSV file of GPU prices."""

    type: Literal["price-file"] = "price-file"
    path: Path


class TraceSettings(Wire):
    """A recorded or made series in a CSV file. Its future serves as a perfect forecast."""

    type: Literal["trace"] = "trace"
    path: Path
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./-]*$", max_length=64)] = "trace"
    forecast: bool = True
    """False: what is to come stays unknown."""


class DemoSettings(Wire):
    """The demo's grid: a made trace, or live forecasts fetched once at start and replayed."""

    type: Literal["demo"] = "demo"
    replay: ElectricityMapsSettings | None = None
    zones: Annotated[tuple[ZoneKey, ...], Field(max_length=32)] = ("NO-NO1", "CA-QC", "US-MIDA-PJM")
    """The zones to fetch for a replay."""


class StaticSettings(Wire):
    """One factor for each zone, the last resort."""

    type: Literal["static"] = "static"
    kind: SignalKind = SignalKind.AVERAGE_LIFECYCLE
    grams_per_kwh: Annotated[Mapping[ZoneKey, Grams], Field(max_length=1000)] = {}
    annual_averages: bool = False
    """True: for other zones, the grid's annual average as the region table gives it."""


SourceSettings = Annotated[
    ElectricityMapsSettings
    | WattTimeSettings
    | UkCarbonSettings
    | CarbonAwareSdkSettings
    | TraceSettings
    | DemoSettings
    | StaticSettings,
    Field(discriminator="type"),
]
Link = Literal["forecast", "cached", "profile", "last", "static"]


class Limits(Wire):
    """How old data may be, in each link of the fallback chain."""

    forecast: Duration = Field(default="2h", validate_default=True)
    """A forecast issued longer ago counts as cached."""
    cached: Duration = Field(default="24h", validate_default=True)
    measured: Duration = Field(default="3h", validate_default=True)
    """A newest value older than this is stale: it is no longer the level of now."""
    profile: Duration = Field(default="48h", validate_default=True)
    last: Duration = Field(default="12h", validate_default=True)


class SignalSettings(Wire):
    """The whole room's settings."""

    sources: Annotated[tuple[SourceSettings, ...], Field(min_length=1, max_length=16)] = (ElectricityMapsSettings(),)
    """In the order in which they are believed."""
    prices: Annotated[
        tuple[Annotated[HttpPriceSettings | PriceFileSettings, Field(discriminator="type")], ...],
        Field(max_length=8),
    ] = ()
    """GPU prices, in the order in which they are believed; the cluster files come last."""
    chain: Annotated[tuple[Link, ...], Field(min_length=1, max_length=5)] = (
        "forecast",
        "cached",
        "profile",
        "last",
        "static",
    )
    limits: Limits = Limits()
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
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return SignalSettings.model_validate({} if data is None else data)
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"{path}: {told(error, SignalSettings)}") from error
