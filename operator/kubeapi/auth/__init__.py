"""Who is asking (tokens, impersonation), and who may do what (RBAC)."""

from kubeapi.auth.audit import AuditLog
from kubeapi.auth.rbac import Attributes, Authorizer, refusal
from kubeapi.auth.tokens import Tokens, impersonated

__all__ = ["Attributes", "AuditLog", "Authorizer", "Tokens", "impersonated", "refusal"]
