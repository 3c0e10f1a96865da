"""What the embedded API is started with, its clock included, and the kubeconfig that reaches it."""

import base64
import ipaddress
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

MASTERS: Final = "system:masters"
"""Members of this group may do everything, whatever the roles say."""

CLOCK_VARIABLE: Final = "CARBONFLEET_CLOCK"


class Clock(NamedTuple):
    """Reads `origin + (real - real_origin) * speed`, in seconds since 1970; by default the machine's own time."""

    real_origin_seconds: float = 0.0
    origin_seconds: float = 0.0
    speed: float = 1.0

    @classmethod
    def from_environment(cls) -> "Clock":
        """The clock in `CARBONFLEET_CLOCK` (`real_origin,origin,speed`); real time where it is empty."""
        text = os.environ.get(CLOCK_VARIABLE, "")
        try:
            return cls(*(float(part) for part in text.split(","))) if text else cls()
        except (ValueError, TypeError):
            raise ValueError(f"{CLOCK_VARIABLE} must be real_origin,origin,speed in seconds: {text!r}") from None

    def now(self) -> datetime:
        """The present, aware UTC."""
        elapsed_seconds = time.time() - self.real_origin_seconds
        return datetime.fromtimestamp(self.origin_seconds + elapsed_seconds * self.speed, UTC)


class StaticToken(BaseModel):
    """A bearer token given at the start, and whom it stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr = Field(min_length=16, description="The secret; at least 16 characters.")
    user: str = Field(min_length=1)
    groups: tuple[str, ...] = ()


class ApiSettings(BaseModel):
    """Where the server listens, where it keeps its data, and whom it lets in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Path = Field(description="A folder of its own; made with mode 0700 where it does not exist.")
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    tokens: tuple[StaticToken, ...] = Field(min_length=1)
    tls: bool = Field(default=True, description="False speaks plain HTTP, over which kubectl sends no token.")
    ready_file: Path | None = Field(default=None, description="Gets the server's URL once it listens.")
    audit_log: Path | None = Field(default=None, description="Gets a line for each request for a resource.")
    watch_log_events: int = Field(default=10_000, ge=10, description="Events kept per resource; older ones answer 410.")
    bookmark_seconds: float = Field(default=30.0, gt=0, description="How often an idle watch gets a bookmark.")
    request_seconds: float = Field(default=60.0, gt=0, description="For a request's headers, and again for its body.")

    @property
    def certificate(self) -> Path:
        """Where the certificate that clients are to trust is, once the server has started."""
        return self.state / "tls.crt"

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        """An embedded server is for this machine: its tokens must never leave it."""
        if host == "localhost":
            return "127.0.0.1"
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(f"the embedded API listens on loopback only, not on {host!r}; use 127.0.0.1")
        return host


def write_kubeconfig(
    path: Path,
    url: str,
    token: str,
    *,
    certificate: Path | None = None,
    namespace: str = "default",
    name: str = "kubeapi",
) -> None:
    """Write a kubeconfig with one context, readable by its owner only (mode 0600).

    `certificate` is the PEM file to trust the server by (`ApiSettings.certificate`); it is copied in.
    """
    cluster = {"server": url}
    if certificate is not None:
        cluster["certificate-authority-data"] = base64.b64encode(certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner only (mode 0600)."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    fresh.replace(path)
