"""How `spoke up` is asked: the agent's own settings, and what the host is to be."""

from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from carbonfleet.settings import Settings
from carbonfleet.spoke.settings import AgentSettings, SpokeName, checked_name

HIDDEN: Final = frozenset(
    {
        *("runtime", "apply", "spoke_kubeconfig", "ray_address", "ray_token_file", "workload", "training_python"),
        *("state", "store", "datasets", "models", "liveness", "wake_hook", "sleep_hook"),
    }
)
"""Settings of the agent that follow from where things lie on the host, which never sleeps: no flags of `spoke up`."""
_FILES: Final = (
    *("fleet_token_file", "fleet_ssh_key", "fleet_known_hosts", "ca_file", "allowed_signers"),
    *("hub_kubeconfig", "allow_list"),
)
_MOST_BYTES: Final = 1_000_000
_NAMES_OTHERS: Final = (
    *("certificate-authority", "client-certificate", "client-key"),
    *("tokenFile", "exec", "auth-provider"),
)
_PORTS: Final = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def _pools(text: str) -> str:
    for each in text.split(",") if text else ():
        pool, _, gpus = each.partition("=")
        checked_name(pool)
        if not gpus.isdecimal() or not 1 <= int(gpus) <= 1024:
            raise ValueError("write POOL=GPUS, such as sim=8, and divide several by commas")
    return text


class HostAddressSettings(Settings):
    """Which spoke, and how its host is reached."""

    spoke: SpokeName
    """The cluster's name in the fleet repository and on the hub."""
    ssh_config: Path | None = None
    """A configuration of ssh in place of your own."""
    python: str = ""
    """The host's Python, of 3.11 or newer; its python3.11 if left out."""


class DownSettings(HostAddressSettings):
    """What may go with a spoke that is taken away."""

    end_runs: bool = False
    """End runs that are live."""
    delete_data: bool = False
    """Delete what trainings have saved there, and datasets and models too."""


class UpSettings(AgentSettings, HostAddressSettings):
    """The agent's settings, whose files are copied, and what the host is to be."""

    spoke: SpokeName
    """The cluster's name in the fleet repository and on the hub."""
    wheel: Path | None = None
    """The wheel to install; that of this very carbonfleet if left out."""
    site_packages: bool = False
    """Let it use packages that the host's Python has, where their versions fit: saves the download of PyTorch."""
    least_disk_gib: Annotated[float, Field(ge=0, le=1_000_000)] = 25.0
    """Free space below the home folder that is asked for before packages are installed."""
    simulated: Annotated[str, AfterValidator(_pools)] = ""
    """Use its CPUs and no GPU: POOL=GPUS for each pool that the cluster's file calls simulated, divided by commas."""
    check: bool = False
    """Only look whether the host has all that is needed."""
    end_runs: bool = False
    """End runs that are live where Ray has to be restarted; they are taken up from their checkpoints."""

    @model_validator(mode="after")
    def _has_a_hub(self) -> Self:
        if self.hub_kubeconfig is None:
            raise ValueError("hub-kubeconfig: give the spoke's kubeconfig of the hub, as `carbonfleet spoke join` says")
        return self

    def agent(self) -> dict[str, Any]:
        """The agent's settings that were given, but for files and what follows from the host."""
        own = set(AgentSettings.model_fields) - HIDDEN - set(_FILES)
        return self.model_dump(mode="json", include=own & self.model_fields_set)

    def files(self) -> dict[str, str]:
        """What the settings' files hold, by the setting's name. Raises ValueError, OSError."""
        given = {name: file for name in _FILES if (file := getattr(self, name)) is not None}
        return {name: _content(name, file) for name, file in given.items()}

    def reach(self) -> list[tuple[str, str, int]]:
        """What the host must reach: what it is, host and port. Raises ValueError, OSError."""
        named = {"Git": self.fleet_url, "Hub": _server(self.hub_kubeconfig)}
        found = []
        for subject, url in named.items():
            parts = urlsplit(url)
            found.append((subject, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)))
        return found


def _content(name: str, file: Path) -> str:
    if file.is_dir():
        raise ValueError(f"{file} is a folder: name a file, which is copied to the host")
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{file} is larger than {_MOST_BYTES} bytes, and no {name.replace('_', ' ')}")
    text = file.read_text()
    if name == "hub_kubeconfig":
        _server(file)
    return text


def _server(kubeconfig: Path | None) -> str:
    """The hub's address in a kubeconfig that is whole in itself. Raises ValueError, OSError."""
    from carbonfleet.yaml_reader import read_document

    file = kubeconfig or Path()
    config = read_document(str(file), file.read_bytes()).data
    try:
        parts = [part["cluster"] for part in config["clusters"]] + [part["user"] for part in config["users"]]
        server = str(parts[0]["server"])
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{file} is no kubeconfig: make one as `carbonfleet spoke join` says") from None
    if names := [name for part in parts for name in _NAMES_OTHERS if name in part]:
        raise ValueError(
            f"{file} refers by {names[0]} to what is on this machine alone: make it whole by "
            "`kubectl config view --flatten --minify --raw`, with a token of the spoke's own account"
        )
    return server
