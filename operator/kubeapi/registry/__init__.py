"""The kinds that are served, their versions, and what is particular to single built-in kinds."""

from kubeapi.registry.conversion import to_served, to_stored
from kubeapi.registry.dry_run import SERVER_GIVEN, dry_run, find_object_errors, resource_of
from kubeapi.registry.resource import Column, Registry, Resource
from kubeapi.registry.strategy import CRD, NAMESPACE, QUOTA, RBAC_GROUP, complete, holds_content

__all__ = [
    "CRD",
    "NAMESPACE",
    "QUOTA",
    "RBAC_GROUP",
    "SERVER_GIVEN",
    "Column",
    "Registry",
    "Resource",
    "complete",
    "dry_run",
    "find_object_errors",
    "holds_content",
    "resource_of",
    "to_served",
    "to_stored",
]
