"""The hub's API by an Airflow connection of the type `kubernetes`, read as the Kubernetes provider reads it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from carbonfleet.kube import Kube, KubeError

DEFAULT_CONNECTION: Final = "kubernetes_default"
_PREFIX: Final = "extra__kubernetes__"
"""That forms of older Airflows put before a field."""
_WAYS: Final = ("in_cluster", "kube_config_path", "kube_config")


class ConnectionInvalid(ValueError):  # noqa: N818  named like its reason
    """The connection can't be used; the message says what to write."""


def extra_of(conn_id: str) -> dict[str, Any]:
    """The connection's fields; none where it is the default one and not defined. In a trigger, call it in a thread."""
    try:
        return dict(BaseHook.get_connection(conn_id).extra_dejson)
    except AirflowNotFoundException:
        if conn_id == DEFAULT_CONNECTION:
            return {}
        raise


def namespace_of(extra: Mapping[str, Any]) -> str:
    """Where jobs are that name no namespace."""
    return str(_field(extra, "namespace") or "default")


def kube_of(conn_id: str, extra: Mapping[str, Any]) -> Kube:
    """The API; one connection for all tasks and triggers of a process. Raises KubeError and ConnectionInvalid."""
    given = [way for way in _WAYS if _is_on(_field(extra, way))]
    if len(given) > 1:
        raise ConnectionInvalid(f"connection {conn_id}: {' and '.join(given)} exclude one another; give one")
    if _is_on(_field(extra, "disable_verify_ssl")):
        raise ConnectionInvalid(
            f"connection {conn_id}: disable_verify_ssl is not supported: give the certificate, or say "
            "insecure-skip-tls-verify in the kubeconfig"
        )
    config = _field(extra, "kube_config")
    text = config if isinstance(config, str) or config is None else json.dumps(config)
    path, context = str(_field(extra, "kube_config_path") or ""), str(_field(extra, "cluster_context") or "")
    return _kube(conn_id, given[0] if given else "", path, context, text or "")


@lru_cache(maxsize=32)
def _kube(conn_id: str, way: str, path: str, context: str, text: str) -> Kube:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        match way:
            case "kube_config":
                written = json.loads(text)
                config.load_kube_config_from_dict(written, context or None, client_configuration=configuration)
            case "in_cluster":
                config.load_incluster_config(client_configuration=configuration)
            case _:
                return Kube.connect(Path(path) if path else None, context=context)
    except KubeError:
        raise
    except Exception as error:  # noqa: BLE001 - it may hold anything, a secret too, and its reader raises more than it says
        raise ConnectionInvalid(f"connection {conn_id}: its {way} can't be used ({type(error).__name__})") from None
    return Kube(configuration)


def _field(extra: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON
    return extra.get(name) or extra.get(_PREFIX + name) or None


def _is_on(value: object) -> bool:
    """Forms write truth values as text, too."""
    return bool(value) and str(value).strip().lower() not in {"false", "0", "no"}
