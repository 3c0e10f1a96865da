"""Who may do what: Roles and bindings, evaluated for real."""

import re
from dataclasses import dataclass
from typing import Final

from kubeapi.calls import Call, User
from kubeapi.errors import ApiError, forbidden
from kubeapi.journal import Key, Kind
from kubeapi.kinds import RBAC_GROUP
from kubeapi.settings import MASTERS
from kubeapi.store import Store, Stored
from kubeapi.values import Obj, quoted

_OPEN_PATHS: Final = (
    "/api",
    "/apis",
    "/openapi",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/.well-known",
)
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
class Question:
    """Whether a verb is allowed on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer:
    """Answers questions from the RBAC objects in the store; remembers each user's rules until one changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: dict[tuple[User, str], tuple[Obj, ...]] = {}

    def observe(self, kind: Kind, key: Key, before: Stored | None, after: Stored | None) -> None:
        """Forget what was remembered when an RBAC object changes."""
        if kind[0] == RBAC_GROUP:
            self._rules.clear()

    def allows(self, user: User, question: Question) -> bool:
        """Whether some rule allows it."""
        if MASTERS in user.groups:
            return True
        if question.path and question.verb == "get" and _is_open(question.path):
            return True
        return any(_rule_allows(rule, question) for rule in self.rules(user, question.namespace))

    def rules(self, user: User, namespace: str) -> tuple[Obj, ...]:
        """Every rule that holds for a user in a namespace (or cluster-wide, where it is empty)."""
        found = self._rules.get((user, namespace))
        if found is None:
            if len(self._rules) > 10_000:
                self._rules.clear()
            found = self._rules[user, namespace] = _EVERYONE + tuple(self._bound_rules(user, namespace))
        return found

    def _bound_rules(self, user: User, namespace: str) -> list[Obj]:
        bindings = list(self._store.collection((RBAC_GROUP, "clusterrolebindings")).items.items())
        if namespace:
            local = self._store.collection((RBAC_GROUP, "rolebindings"))
            bindings += [(key, local.items[key]) for key in local.ordered(namespace)]
        rules: list[Obj] = []
        for key, stored in bindings:
            if any(_is_subject(subject, user, key[0]) for subject in stored.obj.get("subjects") or ()):
                rules.extend(self.rules_of(stored.obj["roleRef"], key[0]))
        return rules

    def rules_of(self, reference: Obj, namespace: str) -> list[Obj]:
        """The rules of the role that a binding names; none where it does not exist."""
        plural, key = (
            ("roles", (namespace, reference["name"]))
            if reference["kind"] == "Role"
            else ("clusterroles", ("", reference["name"]))
        )
        stored = self._store.get((RBAC_GROUP, plural), key)
        return list(stored.obj.get("rules") or ()) if stored else []

    def demand(self, call: Call, verb: str = "") -> None:
        """Raise 403 unless the caller may do what the request asks."""
        question = question_of(call, verb or call.verb)
        if not self.allows(call.user, question):
            raise refusal(call.user, question)


def question_of(call: Call, verb: str) -> Question:
    """The question that a request for a resource raises."""
    target, resource = call.target, call.resource
    namespace = target.name if resource.storage == ("", "namespaces") else target.namespace
    name = target.name or _selected_name(call.query.get("fieldSelector", ""))
    return Question(verb, resource.group, resource.plural, target.subresource, namespace, name)


def _selected_name(selector: str) -> str:
    """The one name that a list or watch is limited to, so that `resourceNames` can allow it."""
    match = re.fullmatch(r"metadata\.name==?([^,!=]+)", selector)
    return match[1] if match else ""


def refusal(user: User, question: Question) -> ApiError:
    """The 403 of a real server."""
    who = f"User {quoted(user.name)} cannot {question.verb}"
    if question.path:
        return ApiError(403, "Forbidden", f"forbidden: {who} path {quoted(question.path)}")
    resource = question.resource + (f"/{question.subresource}" if question.subresource else "")
    where = f"in the namespace {quoted(question.namespace)}" if question.namespace else "at the cluster scope"
    why = f"{who} resource {quoted(resource)} in API group {quoted(question.group)} {where}"
    return forbidden(question.group, question.resource, question.name, why)


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
    return bool(allowed) and ("*" in allowed or wanted in allowed) if allowed else False


def _rule_allows(rule: Obj, question: Question) -> bool:
    if not _has(rule.get("verbs"), question.verb):
        return False
    if question.path:
        return any(_path_matches(pattern, question.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), question.group):
        return False
    if not _resource_matches(rule.get("resources") or [], question):
        return False
    names = rule.get("resourceNames")
    return not names or (bool(question.name) and question.name in names)


def _resource_matches(allowed: list[str], question: Question) -> bool:
    if "*" in allowed:
        return True
    if not question.subresource:
        return question.resource in allowed
    return f"{question.resource}/{question.subresource}" in allowed or f"*/{question.subresource}" in allowed


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def covers(held: tuple[Obj, ...], wanted: Obj) -> bool:
    """Whether rules that a user holds allow everything that `wanted` would give."""
    return all(
        any(_rule_allows(rule, question) and _as_wide(rule, question) for rule in held)
        for question in _questions(wanted)
    )


def _as_wide(rule: Obj, question: Question) -> bool:
    """A wildcard is covered by a wildcard only, and every name only by a rule without names."""
    return bool(question.name) or not rule.get("resourceNames")


def _questions(rule: Obj) -> list[Question]:
    verbs = rule.get("verbs") or ()
    found = [Question(verb, path=path) for verb in verbs for path in rule.get("nonResourceURLs") or ()]
    for verb in verbs:
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                plural, _, subresource = resource.partition("/")
                for name in rule.get("resourceNames") or ("",):
                    found.append(Question(verb, group, plural, subresource, name=name))
    return found
