"""Ports of loopback that stay free until whoever was given them listens."""

import random
import socket
from pathlib import Path
from typing import Final

_LOWEST: Final = 10_000
_TRIES: Final = 200
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, below those that the kernel gives to clients and to who asks for any port.

    One of those could be taken before our server listens there, or while it is down and to come back.
    """
    highest = _first_given_out() - 1
    for _ in range(_TRIES if highest > 2 * _LOWEST else 0):
        port = random.randint(_LOWEST, highest)  # noqa: S311 - so that neighbours don't try the same one
        if _is_free(host, port):
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _first_given_out() -> int:
    try:
        return int(_GIVEN_OUT.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
