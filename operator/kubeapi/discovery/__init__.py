"""The documents that tell clients what is served: discovery, OpenAPI, the version."""

from typing import Final

from kubeapi.discovery import discovery, openapi
from kubeapi.errors import no_such_resource
from kubeapi.objects import Obj
from kubeapi.registry import Registry

AGGREGATED: Final = discovery.AGGREGATED
EMPTY_V2: Final = openapi.EMPTY_V2
V2_MEDIA_TYPE: Final = openapi.V2_MEDIA_TYPE


def make_document(registry: Registry, parts: list[str], *, aggregated: bool) -> Obj:
    """The document at a path, which comes in its parts. Raises 404 where there is none."""
    if aggregated:
        return discovery.aggregated(registry, core=parts[0] == "api")
    match parts:
        case ["version"]:
            return dict(discovery.VERSION)
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["api", version]:
            return discovery.resource_list(registry, "", version)
        case ["apis"]:
            return discovery.group_list(registry)
        case ["apis", group]:
            return discovery.group(registry, group)
        case ["apis", group, version]:
            return discovery.resource_list(registry, group, version)
        case ["openapi", "v3"]:
            return openapi.index(registry)
        case ["openapi", "v3", "api", version]:
            return openapi.document(registry, "", version)
        case ["openapi", "v3", "apis", group, version]:
            return openapi.document(registry, group, version)
        case [""]:
            return {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
    raise no_such_resource()
