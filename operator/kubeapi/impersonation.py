"""Acting as somebody else (`kubectl --as`), for those who may."""

from typing import Final

from kubeapi.calls import User
from kubeapi.errors import forbidden
from kubeapi.rbac import Authorizer, Question
from kubeapi.tokens import AUTHENTICATED, account_groups
from kubeapi.values import quoted

_ACCOUNT: Final = "system:serviceaccount:"


def impersonated(authorizer: Authorizer, user: User, name: str) -> User:
    """The user that `user` acts as, without further groups. Raises 403 unless `user` may impersonate it."""
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":") if name.startswith(_ACCOUNT) else ("", "", "")
    question = Question("impersonate", "", "serviceaccounts" if account else "users", "", namespace, account or name)
    if not authorizer.allows(user, question):
        why = f"User {quoted(user.name)} cannot impersonate resource {quoted(question.resource)} in API group"
        raise forbidden("", question.resource, question.name, f'{why} "" at the cluster scope')
    groups = account_groups(namespace) if account else frozenset((AUTHENTICATED,))
    return User(name, groups, "", namespace)
