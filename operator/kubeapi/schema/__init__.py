"""Structural schemas: pruning, defaults, validation, CEL rules, and the metadata that every object has."""

from kubeapi.schema.cel import NOT_EVALUATED, check_rules, evaluate_condition, find_rule_errors
from kubeapi.schema.objectmeta import (
    META_NODE,
    OBJECT_META,
    cannot_handle,
    check_decodable,
    check_shape,
    find_errors,
    find_update_errors,
    is_dns_label,
    is_subdomain,
)
from kubeapi.schema.pruning import apply_defaults, prune
from kubeapi.schema.structural import ANYTHING, Node, compile_pattern, compile_schema, find_schema_errors
from kubeapi.schema.validation import BLOCKING, MISSING, NOT_CHECKED, validate

__all__ = [
    "ANYTHING",
    "BLOCKING",
    "META_NODE",
    "MISSING",
    "NOT_CHECKED",
    "NOT_EVALUATED",
    "OBJECT_META",
    "Node",
    "apply_defaults",
    "cannot_handle",
    "check_decodable",
    "check_rules",
    "check_shape",
    "compile_pattern",
    "compile_schema",
    "evaluate_condition",
    "find_errors",
    "find_rule_errors",
    "find_schema_errors",
    "find_update_errors",
    "is_dns_label",
    "is_subdomain",
    "prune",
    "validate",
]
