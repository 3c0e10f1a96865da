"""The kinds that are served, their versions, and what is particular to single built-in kinds."""

from kubeapi.registry.conversion import to_served, to_stored
from kubeapi.registry.resource import Column, Registry, Resource
from kubeapi.registry.strategy import CRD, NAMESPACE, RBAC_GROUP, complete, find_kind_errors, holds_content

__all__ = [
    "CRD",
    "NAMESPACE",
    "RBAC_GROUP",
    "Column",
    "Registry",
    "Resource",
    "complete",
    "find_kind_errors",
    "holds_content",
    "to_served",
    "to_stored",
]
