"""Where a server is, how gently it is treated, and where its key is read from."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from carbonfleet.api.wire import Wire


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
    """How long to wait after a rate limit where the server names no time; twice as long each further time in a row, and
    up to a half more as jitter.
    """
    requests_per_minute: Annotated[float, Field(gt=0, le=6000)] = 120.0
    burst: Annotated[int | None, Field(ge=1, le=6000)] = None
    """How many requests may go at once, where the server allows them beside `requests_per_minute`; otherwise half of
    those go at once, and half as time goes by.
    """
    longest_cooling_seconds: Annotated[float, Field(ge=1, le=3600)] = 600.0
    """For how long a server that keeps failing is left alone at most."""

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
