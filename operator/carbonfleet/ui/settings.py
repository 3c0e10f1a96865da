"""What the page is served with, and where it reads."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from carbonfleet.signals import SignalSettings

_WEB: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
LEAST_TOKEN: Final = 16
"""Characters."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """Raises ValueError for an address that others reach without anybody asking who they are."""

    kubeconfig: Path | None
    ledger: str
    """A file, or a database's URL."""
    signals: SignalSettings
    """Whose store is read."""
    address: str = "127.0.0.1:8088"
    hosts: tuple[str, ...] = ()
    """Names under which a proxy is asked for the page."""
    proxy_token_file: Path | None = None
    """What the proxy sends with each request; needed on any address but loopback's."""
    fleet_web: str = ""
    """The fleet repository's pages on its forge."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.is_loopback and self.proxy_token_file is None:
            raise ValueError(
                f"{self.address} can be reached from elsewhere, and the page asks nobody who they are: listen on "
                "127.0.0.1 and reach it by `kubectl port-forward` or ssh, or put a proxy that authenticates people "
                "before it and give the token that it sends with --proxy-token-file"
            )
        if self.proxy_token_file is not None and len(self.proxy_token()) < LEAST_TOKEN:
            raise ValueError(f"{self.proxy_token_file} must hold a token of {LEAST_TOKEN} characters or more")
        if not self.is_loopback and not self.hosts:
            raise ValueError("say with --hosts under which names people ask the proxy for the page")
        if self.fleet_web and not _WEB.fullmatch(self.fleet_web):
            raise ValueError(f"--fleet-web is an address like https://git.example.org/fleet, not {self.fleet_web!r}")

    @property
    def host(self) -> str:
        """Without brackets."""
        return self._parts()[0]

    @property
    def port(self) -> int:
        """0 for any that is free."""
        return self._parts()[1]

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        return self.host == "localhost" or ip_address(self.host).is_loopback

    def proxy_token(self) -> str:
        """As its file holds it now; empty where there is none. Raises OSError."""
        return self.proxy_token_file.read_text().strip() if self.proxy_token_file else ""

    def _parts(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        host = host.strip("[]")
        try:
            if host != "localhost":
                ip_address(host)
            if not 0 <= int(port) < 2**16:
                raise ValueError(port)
        except ValueError:
            raise ValueError(f"--address is IP:PORT, such as 127.0.0.1:8088, not {self.address!r}") from None
        return host, int(port)
