"""What a job may read of this host and of the network behind it: files of given folders, and public addresses."""

import glob
import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from .failure import Failure, Reason

DATASETS = "LORA_DATASETS"
"""The variable with the only folder of this host whose files may be datasets; unset where a job has its own host."""
MODELS = "LORA_MODELS"
"""The same for models."""
NETWORKS = "LORA_PRIVATE_NETWORKS"
"""The variable with the networks, as in `10.1.0.0/16,192.168.1.7/32`, whose private addresses may be fetched from.

Unset, private ones may, as in a pod, whose cluster's network policy is the limit; loopback and link-local ones, where
a cloud gives out credentials, never without being named.
"""
_OPTIONS = {DATASETS: "--datasets", MODELS: "--models"}
_KINDS = {DATASETS: "datasets", MODELS: "models"}
_REASONS: dict[str, Reason] = {DATASETS: "UnknownDataset", MODELS: "UnknownModel"}


def allowed_file(path: str, variable: str) -> str:
    """The file or folder, its links followed, where the variable's folder is set; raises Failure for one out of it."""
    folder = os.environ.get(variable)
    if not folder:
        return path
    file = Path(path.removeprefix("file://")).resolve()
    # `::` chains addresses and `*` looks for files: the library would follow both to other places.
    if "::" in path or glob.has_magic(path) or not file.is_relative_to(Path(folder).resolve()):
        raise _refusal(path, variable)
    return str(file)


def allowed_name(name: str, variable: str) -> str:
    """A hub's name, or an allowed path; raises Failure where a local folder bears the name: libraries would take it."""
    if name.startswith("/"):
        return allowed_file(name, variable)
    if os.environ.get(variable) and Path(name).exists():
        raise _refusal(name, variable)
    return name


def expect_no_folder(name: str, field: str, revision: str | None) -> None:
    """Raise `BadConfig` for a revision where a local folder bears the name: libraries would take it as it is."""
    if revision is not None and Path(name).exists():
        raise Failure("BadConfig", f"{field}: {name[:200]!r} is a folder of this host, which has no revisions")


def _refusal(path: str, variable: str) -> Failure:
    where = f"{os.environ[variable]}, the only folder of this host that {_KINDS[variable]} are read from"
    advice = f"(the agent's {_OPTIONS[variable]}). Put it there, or name an address"
    return Failure(_REASONS[variable], f"{path[:200]!r} is not within {where} {advice}")


async def http_client(**options: Any) -> Any:  # noqa: ANN401  # fsspec has no types
    """A client for fsspec that connects to allowed addresses alone, whatever names and redirects lead to."""
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=_socket), **options)


def _socket(place: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, _name, (host, *_) = place
    address = _inner(ip_address(str(host).partition("%")[0]))
    if not _is_allowed(address):
        advice = "let its admin name the network (the agent's --private-networks), or use a public address"
        raise Failure(
            "UnknownDataset", f"{address} is of a private network, which this spoke fetches nothing from: {advice}"
        )
    return socket.socket(family, kind, protocol)


def _is_allowed(address: IPv4Address | IPv6Address) -> bool:
    networks = os.environ.get(NETWORKS)
    named = (ip_network(each.strip()) for each in (networks or "").split(",") if each.strip())
    if any(address in network for network in named):
        return True
    if address.is_global and not address.is_multicast:
        return True
    mine = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    return networks is None and not mine


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, where it does: `::ffff:127.0.0.1` is loopback."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address.sixtofour or address
    return address
