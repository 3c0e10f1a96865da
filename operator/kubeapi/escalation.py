"""Nobody may give rights that they do not have: the checks on writing roles and bindings."""

from kubeapi.calls import Call
from kubeapi.errors import forbidden
from kubeapi.kinds import RBAC_GROUP
from kubeapi.rbac import Authorizer, Question, covers
from kubeapi.settings import MASTERS
from kubeapi.values import Obj, encode, metadata, quoted


def check_grant(authorizer: Authorizer, call: Call, obj: Obj) -> None:
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
        verb, target, rules = "bind", reference["name"], authorizer.rules_of(reference, namespace)
    if authorizer.allows(call.user, Question(verb, RBAC_GROUP, plural, "", namespace, target)):
        return
    missing = [rule for rule in rules if not covers(authorizer.rules(call.user, namespace), rule)]
    if missing:
        shown = "\n".join(encode(rule).decode() for rule in missing)
        groups = " ".join(sorted(call.user.groups))
        why = (
            f"user {quoted(call.user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions"
            f" not currently held:\n{shown}"
        )
        raise forbidden(call.resource.group, call.resource.plural, name, why)
