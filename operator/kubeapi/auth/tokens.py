"""Bearer tokens (the static ones given at the start, and those of service accounts), and impersonation."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kubeapi.auth.rbac import Attributes, Authorizer
from kubeapi.call import User
from kubeapi.errors import forbidden, not_found
from kubeapi.objects import Obj, decode, encode, quoted, timestamp
from kubeapi.settings import StaticToken
from kubeapi.storage import Store

_AUTHENTICATED: Final = "system:authenticated"
_ACCOUNT: Final = "system:serviceaccount:"
_ACCOUNTS: Final = ("", "serviceaccounts")
_LONGEST_SECONDS: Final = 10 * 365 * 86_400


def _account_groups(namespace: str) -> frozenset[str]:
    """The groups that every service account of a namespace is in."""
    return frozenset(("system:serviceaccounts", f"system:serviceaccounts:{namespace}", _AUTHENTICATED))


class Tokens:
    """Knows whom a token stands for.

    A service account's token is signed with a key that stays in the store, names the account's uid, and so ends
    with the account.
    """

    def __init__(self, store: Store, static: Sequence[StaticToken]) -> None:
        self._store = store
        self._key = store.journal.secret("token-key", secrets.token_bytes(32))
        self._static = {
            hashlib.sha256(each.token.get_secret_value().encode()).digest(): User(
                each.user, frozenset((*each.groups, _AUTHENTICATED))
            )
            for each in static
        }

    def user_of(self, token: str, now: datetime) -> User | None:
        """The token's user; None for a token that is unknown, forged or expired."""
        known = self._static.get(hashlib.sha256(token.encode("utf-8", "replace")).digest())
        return known or self._account_of(token, now)

    def _account_of(self, token: str, now: datetime) -> User | None:
        payload, _, signature = token.partition(".")
        if not signature or not hmac.compare_digest(self._sign(payload), signature):
            return None
        try:
            claims = decode(base64.urlsafe_b64decode(payload))
        except (binascii.Error, ValueError):
            return None
        namespace, name = claims["ns"], claims["name"]
        account = self._store.get(_ACCOUNTS, (namespace, name))
        if account is None or account["metadata"]["uid"] != claims["uid"] or now.timestamp() >= claims["exp"]:
            return None
        return User(f"{_ACCOUNT}{namespace}:{name}", _account_groups(namespace), claims["uid"])

    def _sign(self, payload: str) -> str:
        digest = hmac.new(self._key, payload.encode("utf-8", "replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def issue(self, namespace: str, name: str, request: Obj, now: datetime) -> Obj:
        """Answer a TokenRequest. Raises 404 where there is no such service account."""
        account = self._store.get(_ACCOUNTS, (namespace, name))
        if account is None:
            raise not_found("", "serviceaccounts", name)
        spec = request.get("spec") or {}
        asked = spec.get("expirationSeconds")
        seconds = min(max(asked if isinstance(asked, int) else 3600, 600), _LONGEST_SECONDS)
        until = now + timedelta(seconds=seconds)
        uid = account["metadata"]["uid"]
        claims = {"ns": namespace, "name": name, "uid": uid, "exp": until.timestamp(), "id": secrets.token_hex(8)}
        payload = base64.urlsafe_b64encode(encode(claims)).decode()
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp(now)},
            "spec": {"audiences": spec.get("audiences") or [], "expirationSeconds": seconds},
            "status": {"token": f"{payload}.{self._sign(payload)}", "expirationTimestamp": timestamp(until)},
        }


def impersonated(authorizer: Authorizer, user: User, name: str) -> User:
    """The user that `user` acts as (`kubectl --as`), without further groups. Raises 403 unless that is allowed."""
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":") if name.startswith(_ACCOUNT) else ("", "", "")
    kind = "serviceaccounts" if account else "users"
    if not authorizer.allows(user, Attributes("impersonate", "", kind, "", namespace, account or name)):
        why = f"User {quoted(user.name)} cannot impersonate resource {quoted(kind)} in API group"
        raise forbidden("", kind, account or name, f'{why} "" at the cluster scope')
    return User(name, _account_groups(namespace) if account else frozenset((_AUTHENTICATED,)))
