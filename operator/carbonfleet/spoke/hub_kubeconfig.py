"""The kubeconfig that is all a spoke holds of the hub: made and renewed where the hub's admin works."""

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from carbonfleet.kube import Kube, path

LIFE: Final = timedelta(hours=48)
"""Of its token: it is renewed once a day, and a day may be missed."""
MANAGER: Final = "carbonfleet-spoke-renew"


def fresh_kubeconfig(hub: Kube, spoke: str, server: str = "") -> str:
    """A kubeconfig with a new token of the spoke's account on the hub; `server` is the API's address, as it sees it.

    Raises KubeError, as where the account is not there yet; OSError where the hub's certificates can't be read.
    """
    where = path("api/v1", "serviceaccounts", f"spoke-{spoke}", "agent", "token")
    asked = {"spec": {"expirationSeconds": int(LIFE.total_seconds())}}
    token = hub.create(where, asked)["status"]["token"]
    known = hub.credentials()
    cluster: dict[str, Any] = {"server": server or known["server"]}
    if known["ca_path"]:
        data = Path(known["ca_path"]).read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(data).decode()
    if known["insecure"]:
        cluster["insecure-skip-tls-verify"] = True
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "hub", "cluster": cluster}],
            "users": [{"name": "agent", "user": {"token": token}}],
            "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "agent"}}],
            "current-context": "hub",
        },
        sort_keys=False,
    )


def put_into_secret(spoke: Kube, kubeconfig: str) -> None:
    """Give a cluster's agent the kubeconfig, which it reads anew. Raises KubeError."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "carbonfleet-hub", "namespace": "carbonfleet-system"},
        "type": "Opaque",
        "data": {"kubeconfig": base64.b64encode(kubeconfig.encode()).decode()},
    }
    spoke.apply(path("api/v1", "secrets", "carbonfleet-system", "carbonfleet-hub"), secret, MANAGER)
