"""One request, read: who asks, for what, and with which options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from kubeapi.errors import ApiError, bad_request, conflict, no_such_resource, not_found
from kubeapi.registry import Registry, Resource
from kubeapi.storage import Key

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class User:
    """Whom a token stands for."""

    name: str
    groups: frozenset[str] = frozenset()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource path leads to."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(slots=True)
class Call:
    """A request for a resource. `warnings` go back in Warning headers."""

    user: User
    verb: str
    target: Target
    query: Mapping[str, str]
    now: datetime
    user_agent: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def resource(self) -> Resource:
        """The resource that is asked for."""
        return self.target.resource

    @property
    def key(self) -> Key:
        """Under what the object is stored."""
        return self.target.namespace, self.target.name

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written."""
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{value}": supported values: "All"')
        return value == "All"

    @property
    def field_validation(self) -> str:
        """Strict, Warn (the default) or Ignore."""
        value = self.query.get("fieldValidation") or "Warn"
        if value not in ("Strict", "Warn", "Ignore"):
            raise bad_request(
                f'fieldValidation: Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
            )
        return value

    @property
    def manager(self) -> str:
        """Who is to own the fields that this request sets."""
        manager = self.query.get("fieldManager") or self.user_agent.partition("/")[0] or "unknown"
        if len(manager) > 128 or not manager.isprintable():
            raise bad_request("fieldManager: must be printable and no more than 128 bytes")
        return manager

    def not_found(self) -> ApiError:
        """404 for the object that is asked for."""
        return not_found(self.resource.group, self.resource.plural, self.target.name)

    def conflict(self, why: str) -> ApiError:
        """409 for the object that is asked for."""
        return conflict(self.resource.group, self.resource.plural, self.target.name, why)

    def flag(self, name: str) -> bool:
        """A query parameter that is a boolean."""
        return self.query.get(name, "").lower() in ("1", "true")

    def seconds(self, name: str) -> int:
        """A query parameter that is a number of seconds or items; 0 where absent."""
        text = self.query.get(name, "")
        if text and not text.isdigit():
            raise bad_request(f'{name}: Invalid value: "{text}": must be a whole number')
        return int(text[:9] or 0)


def parse_target(registry: Registry, raw_path: str) -> Target:
    """What `/api/v1/...` or `/apis/<group>/<version>/...` leads to. Raises 404 where it leads nowhere."""
    parts = [unquote(part) for part in raw_path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_resource()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if namespace and not resource.namespaced:
        raise no_such_resource()
    if len(rest) > 3 or (namespace == "" and resource.namespaced and len(rest) > 1):
        raise no_such_resource()
    return Target(resource, namespace, rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else "")


def verb_of(method: str, target: Target, *, watch: bool) -> str:
    """The verb that authorisation asks about."""
    if method in ("GET", "HEAD"):
        if watch:
            return "watch"
        return "get" if target.name else "list"
    verb = _VERBS.get(method, method.lower())
    return "deletecollection" if verb == "delete" and not target.name else verb
