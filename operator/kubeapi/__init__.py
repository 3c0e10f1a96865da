"""A small Kubernetes API for one machine, enough for Kopf, the Python client and a real kubectl.

It is an embedded default for trying, testing and demonstrating, not a production API server: one process, on
loopback only, bearer tokens, no etcd, no controllers beyond garbage collection, no pods that run.
Validating admission policies are stored but not evaluated; CRDs convert with strategy None only.
"""

from kubeapi.settings import MASTERS, ApiSettings, StaticToken, write_kubeconfig

__all__ = ["MASTERS", "ApiSettings", "StaticToken", "run", "serve", "write_kubeconfig"]


def __getattr__(name: str) -> object:
    """Load the server only when it is asked for: settings and kubeconfigs need no aiohttp."""
    if name in ("run", "serve"):
        from kubeapi import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
