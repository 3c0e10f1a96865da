"""Who may do what: Roles and bindings, evaluated for real."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from kubeapi.auth.audit import AuditLog
from kubeapi.call import Call, User
from kubeapi.errors import ApiError, forbidden
from kubeapi.objects import Obj, encode, metadata, quoted
from kubeapi.registry import NAMESPACE, RBAC_GROUP
from kubeapi.settings import MASTERS
from kubeapi.storage import Store

_OPEN_PATHS: Final = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz", "/.well-known")
"""What every user who has a token may read (the real `system:discovery` and `system:public-info-viewer`)."""

_EVERYONE: Final[tuple[Obj, ...]] = (
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
)
"""The rules of `system:basic-user`."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What authorisation is asked about: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def reference(self) -> dict[str, str]:
        """The object, as an audit event names it."""
        return {
            "resource": self.resource,
            "apiGroup": self.group,
            "subresource": self.subresource,
            "namespace": self.namespace,
            "name": self.name,
        }


class Authorizer:
    """Answers from the RBAC objects in the store."""

    def __init__(self, store: Store, audit: AuditLog) -> None:
        self._store = store
        self._audit = audit

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether some rule allows it."""
        if MASTERS in user.groups or (wanted.verb == "get" and _is_open(wanted.path)):
            return True
        return any(_rule_allows(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> list[Obj]:
        """Every rule that holds for a user in a namespace (or cluster-wide, where it is empty)."""
        bindings = list(self._store.collection((RBAC_GROUP, "clusterrolebindings")).items.items())
        if namespace:
            local = self._store.collection((RBAC_GROUP, "rolebindings"))
            bindings += [(key, local.items[key]) for key in local.ordered(namespace)]
        rules = list(_EVERYONE)
        for key, binding in bindings:
            if any(_is_subject(subject, user, key[0]) for subject in binding.get("subjects") or ()):
                rules.extend(self.rules_of(binding["roleRef"], key[0]))
        return rules

    def rules_of(self, reference: Obj, namespace: str) -> list[Obj]:
        """The rules of the role that a binding names; none where it does not exist."""
        plural, key = ("roles", namespace) if reference["kind"] == "Role" else ("clusterroles", "")
        role = self._store.get((RBAC_GROUP, plural), (key, reference["name"]))
        return list(role.get("rules") or ()) if role else []

    def demand(self, call: Call, verb: str = "") -> None:
        """Raise 403 unless the caller may do what the request asks."""
        wanted = _attributes_of(call, verb or call.verb)
        allowed = self.allows(call.user, wanted)
        self._audit.note(call.user, wanted.verb, wanted.reference, call.now, allowed=allowed)
        if not allowed:
            raise refusal(call.user, wanted)

    def check_grant(self, call: Call, obj: Obj) -> None:
        """Raise 403 where a role or binding would give more than its writer holds.

        Whoever may `escalate` roles, or `bind` the role that a binding names, is let through.
        """
        if call.resource.group != RBAC_GROUP or MASTERS in call.user.groups:
            return
        name, namespace = metadata(obj).get("name", ""), call.target.namespace
        if call.resource.plural in ("roles", "clusterroles"):
            verb, plural, target, rules = "escalate", call.resource.plural, name, obj.get("rules") or []
        else:
            reference = obj["roleRef"]
            plural = "roles" if reference["kind"] == "Role" else "clusterroles"
            verb, target, rules = "bind", reference["name"], self.rules_of(reference, namespace)
        if self.allows(call.user, Attributes(verb, RBAC_GROUP, plural, "", namespace, target)):
            return
        held = self.rules(call.user, namespace)
        missing = "\n".join(encode(rule).decode() for rule in rules if not _covers(held, rule))
        if missing:
            who = f"user {quoted(call.user.name)} (groups=[{' '.join(sorted(call.user.groups))}])"
            why = f"{who} is attempting to grant RBAC permissions not currently held:\n{missing}"
            raise forbidden(call.resource.group, call.resource.plural, name, why)


def _attributes_of(call: Call, verb: str) -> Attributes:
    """What a request for a resource asks."""
    target, resource = call.target, call.resource
    namespace = target.name if resource.storage == NAMESPACE else target.namespace
    name = target.name or _selected_name(call.query.get("fieldSelector", ""))
    return Attributes(verb, resource.group, resource.plural, target.subresource, namespace, name)


def _selected_name(selector: str) -> str:
    """The one name that a list or watch is limited to, so that `resourceNames` can allow it."""
    match = re.fullmatch(r"metadata\.name==?([^,!=]+)", selector)
    return match[1] if match else ""


def refusal(user: User, wanted: Attributes) -> ApiError:
    """The 403 of a real server."""
    who = f"User {quoted(user.name)} cannot {wanted.verb}"
    if wanted.path:
        return ApiError(403, "Forbidden", f"forbidden: {who} path {quoted(wanted.path)}")
    resource = wanted.resource + (f"/{wanted.subresource}" if wanted.subresource else "")
    where = f"in the namespace {quoted(wanted.namespace)}" if wanted.namespace else "at the cluster scope"
    why = f"{who} resource {quoted(resource)} in API group {quoted(wanted.group)} {where}"
    return forbidden(wanted.group, wanted.resource, wanted.name, why)


def _is_open(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in _OPEN_PATHS)


def _is_subject(subject: Obj, user: User, binding_namespace: str) -> bool:
    name = subject.get("name")
    match subject.get("kind"):
        case "User":
            return bool(name == user.name)
        case "Group":
            return name in user.groups
        case "ServiceAccount":
            namespace = subject.get("namespace") or binding_namespace
            return user.name == f"system:serviceaccount:{namespace}:{name}"
    return False


def _has(allowed: list[str] | None, wanted: str) -> bool:
    return bool(allowed and ("*" in allowed or wanted in allowed))


def _rule_allows(rule: Obj, wanted: Attributes) -> bool:
    if not _has(rule.get("verbs"), wanted.verb):
        return False
    if wanted.path:
        return any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), wanted.group):
        return False
    if not _resource_matches(rule.get("resources") or [], wanted):
        return False
    names = rule.get("resourceNames")
    return not names or (bool(wanted.name) and wanted.name in names)


def _resource_matches(allowed: list[str], wanted: Attributes) -> bool:
    if "*" in allowed:
        return True
    if not wanted.subresource:
        return wanted.resource in allowed
    return f"{wanted.resource}/{wanted.subresource}" in allowed or f"*/{wanted.subresource}" in allowed


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _covers(held: list[Obj], wanted: Obj) -> bool:
    """Whether rules that a user holds allow everything that `wanted` would give."""
    return all(any(_rule_allows(rule, one) and _as_wide(rule, one) for rule in held) for one in _each(wanted))


def _as_wide(rule: Obj, wanted: Attributes) -> bool:
    """A wildcard is covered by a wildcard only, and every name only by a rule without names."""
    return bool(wanted.name) or not rule.get("resourceNames")


def _each(rule: Obj) -> Iterator[Attributes]:
    """Everything that a rule gives, one by one."""
    for verb in rule.get("verbs") or ():
        yield from (Attributes(verb, path=path) for path in rule.get("nonResourceURLs") or ())
        for group, resource, name in product(
            rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ("",)
        ):
            plural, _, subresource = resource.partition("/")
            yield Attributes(verb, group, plural, subresource, name=name)
