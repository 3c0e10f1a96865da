"""How a Kubernetes API is reached: by a kubeconfig or as the pod's service account, whose files may be replaced."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from carbonfleet.kube.answers import KubeError

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_REACHED_BY: Final = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy")


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig (the usual places when None) or the pod's service account; people and timers replace its files."""

    file: Path | None = None
    context: str = ""
    """One that the kubeconfig names; empty for its current one."""

    @property
    def _is_in_pod(self) -> bool:
        return self.file is None and not self.context and _SERVICE_ACCOUNT.exists()

    def contents(self) -> tuple[bytes, ...]:
        """What its files hold, tokens' files too; raises whatever a reader of files raises."""
        return (_SERVICE_ACCOUNT.read_bytes(),) if self._is_in_pod else tuple(self._contents())

    def _contents(self) -> Iterator[bytes]:
        for name in str(self.file or KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep):
            file = Path(name).expanduser()
            if name and file.is_file():
                yield (content := file.read_bytes())
                users = (entry["user"] for entry in yaml.safe_load(content).get("users") or ())
                tokens = (file.parent / user["tokenFile"] for user in users if user and "tokenFile" in user)
                yield from (token.read_bytes() for token in tokens if token.is_file())

    def load(self) -> client.Configuration:
        """How to reach the API; runs the program that an `exec` in it names. Raises KubeError."""
        configuration = client.Configuration()
        try:
            if self._is_in_pod:
                config.load_incluster_config(client_configuration=configuration)
            else:
                file = str(self.file) if self.file else None
                context = self.context or None
                config.load_kube_config(config_file=file, context=context, client_configuration=configuration)
        except Exception as error:  # a file may hold anything, and its reader raises more than it says
            where = self.file or "the usual places"
            why = " ".join(str(error).split())[:200].rstrip(".;")
            raise KubeError(0, "NoKubeconfig", f"no usable kubeconfig at {where}: {why}; set KUBECONFIG") from error
        return configuration


@dataclass(frozen=True, slots=True)
class Access:
    """How the API is reached, by what the kubeconfig's files held when they were read last."""

    configuration: client.Configuration
    pool: urllib3.HTTPConnectionPool
    contents: tuple[bytes, ...]
    read_at: float

    def with_settings(self, configuration: client.Configuration, contents: tuple[bytes, ...]) -> "Access":
        """By other settings; open connections are kept where they lead to the same place."""
        is_same = all(getattr(configuration, name) == getattr(self.configuration, name) for name in _REACHED_BY)
        pool = self.pool if is_same else pool_of(configuration)
        return replace(self, configuration=configuration, pool=pool, contents=contents)


def pool_of(configuration: client.Configuration) -> urllib3.HTTPConnectionPool:
    """Connections to the API, kept open."""
    configuration.connection_pool_maxsize = 16
    manager: urllib3.PoolManager = client.ApiClient(configuration).rest_client.pool_manager
    return manager.connection_from_url(configuration.host)


def authorization(configuration: client.Configuration) -> dict[str, str]:
    """The header with the token; a file's last line break is none of it."""
    setting = configuration.auth_settings().get("BearerToken")
    return {"Authorization": setting["value"].strip()} if setting else {}
