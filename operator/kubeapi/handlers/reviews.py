"""The review kinds that are answered on the spot and never stored."""

from collections.abc import Callable
from typing import Final

from kubeapi.auth import Attributes, Authorizer
from kubeapi.call import Call, User
from kubeapi.objects import Obj


def answer(call: Call, body: Obj, authorizer: Authorizer) -> Obj:
    """The review with its status filled in."""
    spec = body.get("spec") or {}
    status = _ANSWERS[call.resource.plural](call, spec, authorizer)
    head = {"kind": call.resource.kind, "apiVersion": call.resource.api_version}
    return {**head, "metadata": {"creationTimestamp": None}, "spec": spec, "status": status}


def _own_access(call: Call, spec: Obj, authorizer: Authorizer) -> Obj:
    return {"allowed": authorizer.allows(call.user, _attributes(spec))}


def _access(call: Call, spec: Obj, authorizer: Authorizer) -> Obj:
    user = User(str(spec.get("user", "")), frozenset(spec.get("groups") or ()))
    return {"allowed": authorizer.allows(user, _attributes(spec))}


def _attributes(spec: Obj) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    asked = spec.get("resourceAttributes") or {}
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(*(str(asked.get(name) or "") for name in names))


def _own_rules(call: Call, spec: Obj, authorizer: Authorizer) -> Obj:
    rules = authorizer.rules(call.user, str(spec.get("namespace") or ""))
    return {
        "resourceRules": [rule for rule in rules if rule.get("resources")],
        "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
        "incomplete": False,
    }


def _own_name(call: Call, spec: Obj, authorizer: Authorizer) -> Obj:
    user: Obj = {"username": call.user.name, "groups": sorted(call.user.groups)}
    if call.user.uid:
        user["uid"] = call.user.uid
    return {"userInfo": user}


_ANSWERS: Final[dict[str, Callable[[Call, Obj, Authorizer], Obj]]] = {
    "selfsubjectaccessreviews": _own_access,
    "subjectaccessreviews": _access,
    "localsubjectaccessreviews": _access,
    "selfsubjectrulesreviews": _own_rules,
    "selfsubjectreviews": _own_name,
}
