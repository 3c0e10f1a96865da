"""How the fleet repository is reached, and as whom we write to it."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class Backoff(BaseModel):
    """How failed tries are repeated: `first` x `factor`^n, half of it at random, never above `cap`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: timedelta = timedelta(seconds=1)
    factor: Annotated[float, Field(ge=1)] = 1.5
    cap: timedelta = timedelta(seconds=30)
    tries: Annotated[int, Field(ge=1, le=1000)] = 10

    def seconds(self, failures: int, random: float) -> float:
        """How long to wait after so many failures; `random` is in [0, 1)."""
        whole: float = min(self.cap.total_seconds(), self.first.total_seconds() * self.factor ** (failures - 1))
        return whole * (0.5 + random)


class RepositorySettings(BaseModel):
    """Where the fleet repository is, and as whom we read and write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """https://, http:// (loopback or a trusted network), ssh:// or git://."""
    directory: Path
    """The bare clone; it may be deleted while nothing runs."""
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=100)] = "main"
    author_name: Annotated[str, Field(pattern=r"^[^<>\n\x00]+$", max_length=100)] = "carbonfleet hub"
    author_email: Annotated[str, Field(pattern=r"^[^<>\s\x00]+$", max_length=200)] = "hub@carbonfleet.dev"
    username: str = "x-access-token"
    """Sent with the token; forges take any name, or want the name of the token's owner."""
    token: SecretStr | None = None
    """For http and https."""
    token_file: Path | None = None
    """Read anew for each connection, so that short-lived tokens can be renewed beside us."""
    ca_file: Path | None = None
    """The certificates to trust for https, where the server has its own; in place of the system's."""
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    """The SSH server's pinned keys; without the server's key in it, nothing is sent."""
    signing_key: Path | None = None
    """An SSH private key or an armored OpenPGP one, without a passphrase; commits are then signed."""
    allowed_signers: Path | None = None
    """Who may change what counts, in ssh-keygen's format or armored OpenPGP; None where nobody need sign. The signing
    key itself: the hub alone, whatever stood there before."""
    timeout: timedelta = timedelta(seconds=30)
    """For each answer of the server."""
    backoff: Backoff = Backoff()

    @field_validator("url")
    @classmethod
    def _url_is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "file" or url.startswith(("/", ".")):
            raise ValueError(
                "file:// and paths are refused, since two writers there lose each other's commits: "
                "serve the repository (`git daemon`, or any forge) and give its address"
            )
        if parts.scheme not in {"https", "http", "ssh", "git"} or not parts.hostname:
            raise ValueError("write https://HOST/PATH, ssh://USER@HOST/PATH or git://HOST/PATH")
        if parts.password is not None:
            raise ValueError("the address holds a password: take it out and give it as the token")
        return url

    @property
    def scheme(self) -> str:
        """`https`, `http`, `ssh` or `git`."""
        return urlsplit(self.url).scheme
