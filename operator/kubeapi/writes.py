"""Creating, changing and deleting objects: the steps that every write goes through."""

import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from kubeapi import kinds
from kubeapi.calls import Call
from kubeapi.cel import check_rules
from kubeapi.conversion import to_served, to_stored
from kubeapi.errors import (
    STALE,
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from kubeapi.journal import Kind
from kubeapi.objectmeta import check_shape, find_errors, find_update_errors, go_type
from kubeapi.ownership import Writer, record_create, record_update
from kubeapi.pruning import apply_defaults, prune
from kubeapi.resources import Resource
from kubeapi.store import Store, Stored
from kubeapi.validation import BLOCKING, MISSING, NOT_CHECKED, validate
from kubeapi.values import Obj, copied, decode, quoted, timestamp

Change = Callable[[Obj], Obj]
"""Makes the wanted object from a copy of the live one."""

Admit = Callable[[Call, str, Obj | None, Obj | None], Awaitable[Obj | None]]
"""Asks the webhooks about an operation; answers with the object, which mutating ones may have changed."""

_MOST_ATTEMPTS: Final = 8
"""How often a patch without a resource version is tried again when others write in between."""

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_FREE_NAMES: Final = frozenset({kinds.RBAC_GROUP})


class Writes:
    """The write path. Every method returns once the write is on disk."""

    def __init__(self, store: Store, admit: Admit) -> None:
        self._store = store
        self._admit = admit

    async def create(self, call: Call, obj: Obj, *, applied: bool = False) -> Obj:
        """Create an object. `applied` says that managedFields are already set, by server-side apply."""
        resource = call.resource
        meta = self._check_address(call, obj)
        if meta.get("generateName") and not meta.get("name"):
            meta["name"] = meta["generateName"][:248] + "".join(random.choices(_ALPHABET, k=5))  # noqa: S311
        self._clean(call, obj, None)
        self._stamp_new(call, obj, keep_fields=applied)
        kinds.complete(resource, obj, None, call.now)
        self._check(resource, obj, None)
        if not applied:
            record_create(resource.fields, obj, _writer(call))
        admitted = await self._admit(call, "CREATE", obj, None)
        if admitted is not None and admitted is not obj:
            obj = admitted
            self._clean(call, obj, None)
            self._check(resource, obj, None)
        self._check_namespace(call)
        key = (call.target.namespace, obj["metadata"]["name"])
        if self._store.get(resource.storage, key) is not None:
            raise already_exists(resource.group, resource.plural, key[1])
        if call.dry_run:
            return obj
        stored, done = self._store.put(resource.storage, key, to_stored(resource, obj))
        await done
        return to_served(resource, stored.obj)

    async def update(self, call: Call, change: Change, *, applied: bool = False) -> Obj:
        """Change an object, or its status. Without a resource version it is tried again on newer states."""
        for _ in range(_MOST_ATTEMPTS):
            stored = self._store.get(call.resource.storage, call.key)
            if stored is None:
                raise not_found(call.resource.group, call.resource.plural, call.target.name)
            written = await self._try_update(call, change, stored, applied)
            if written is not None:
                return written
        raise self._stale(call)

    async def _try_update(self, call: Call, change: Change, stored: Stored, applied: bool) -> Obj | None:
        resource = call.resource
        live = to_served(resource, stored.obj)
        new = change(to_served(resource, decode(stored.raw)))
        self._check_precondition(call, new, live)
        self._prepare_update(call, new, live, applied)
        if new == live:
            return live
        admitted = await self._admit(call, "UPDATE", new, live)
        if admitted is not None and admitted is not new:
            new = admitted
            self._prepare_update(call, new, live, applied=True)
        if call.dry_run:
            return new
        if self._store.get(resource.storage, call.key) is not stored:
            return None
        return await self._finish(call, new)

    async def _finish(self, call: Call, new: Obj) -> Obj:
        """Write the changed object, and remove it where it only waited for its last finalizer."""
        resource, key = call.resource, call.key
        meta = new["metadata"]
        stored, done = self._store.put(resource.storage, key, to_stored(resource, new))
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not holds_content(resource.storage, new):
            _, done = self._store.delete(resource.storage, key)
        await done
        return to_served(resource, stored.obj)

    def _check_address(self, call: Call, obj: Obj) -> Obj:
        """The metadata, once kind, version and namespace agree with the path."""
        resource = call.resource
        _check_type(resource, obj)
        meta = check_shape(resource.kind, resource.version, obj)
        namespace = meta.get("namespace") or call.target.namespace
        if namespace != call.target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if call.target.name and meta.setdefault("name", call.target.name) != call.target.name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({call.target.name})"
            )
        if namespace:
            meta["namespace"] = namespace
        return meta

    def _check_namespace(self, call: Call) -> None:
        namespace = call.target.namespace
        if not namespace:
            return
        stored = self._store.get(kinds.NAMESPACE, ("", namespace))
        if stored is None:
            raise not_found("", "namespaces", namespace)
        if stored.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = forbidden(call.resource.group, call.resource.plural, call.target.name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details["causes"] = [cause]
            raise error

    def _check_precondition(self, call: Call, new: Obj, live: Obj) -> None:
        _check_type(call.resource, new)
        meta = check_shape(call.resource.kind, call.resource.version, new)
        before = live["metadata"]
        version = meta.get("resourceVersion")
        if version and version != before["resourceVersion"]:
            raise self._stale(call)
        if meta.get("uid") and meta["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
            raise conflict(call.resource.group, call.resource.plural, call.target.name, why)

    def _stale(self, call: Call) -> ApiError:
        return conflict(call.resource.group, call.resource.plural, call.target.name, STALE)

    def _prepare_update(self, call: Call, new: Obj, live: Obj, applied: bool) -> None:
        resource = call.resource
        _limit_to_subresource(call, new, live)
        self._clean(call, new, live)
        meta, before = new["metadata"], live["metadata"]
        for name in (
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ):
            _restore(meta, before, name, keep=name in ("name", "namespace"))
        meta["resourceVersion"] = before["resourceVersion"]
        kinds.complete(resource, new, live, call.now)
        if resource.counts_generation and _spec_changed(resource, new, live):
            meta["generation"] = before.get("generation", 0) + 1
        self._check(resource, new, live)
        if not applied:
            record_update(resource.fields, live, new, _writer(call))

    def _stamp_new(self, call: Call, obj: Obj, *, keep_fields: bool) -> None:
        meta, resource = obj["metadata"], call.resource
        for name in (
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
            "resourceVersion",
        ):
            meta.pop(name, None)
        if not keep_fields:
            meta.pop("managedFields", None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = timestamp(call.now)
        if resource.counts_generation:
            meta["generation"] = 1
        if resource.custom and resource.has_status:
            obj.pop("status", None)

    def _clean(self, call: Call, obj: Obj, live: Obj | None) -> None:
        """Drop unknown fields, as strictly as the client asked, then fill in defaults."""
        resource = call.resource
        unknown = prune(resource.node, obj, root=True)
        if unknown and call.field_validation != "Ignore":
            texts = [f"unknown field {quoted(path)}" for path in unknown]
            if call.field_validation == "Strict":
                raise _cannot_handle(resource, f"strict decoding error: {', '.join(texts)}")
            call.warnings.extend(texts)
        if resource.warning:
            call.warnings.append(resource.warning)
        apply_defaults(resource.node, obj)

    def _check(self, resource: Resource, obj: Obj, live: Obj | None) -> None:
        """Raise 422 with everything that is wrong, or 400 where a built-in kind cannot be read at all."""
        meta = obj["metadata"]
        errors = find_errors(
            meta, dns_label=resource.storage == kinds.NAMESPACE, free_name=resource.group in _FREE_NAMES
        )
        if live is not None:
            errors += find_update_errors(meta, live["metadata"])
        found = validate(resource.node, obj, old=MISSING if live is None else live)
        if not resource.custom:
            _check_decodable(resource, found)
        if found and any(error.reason in BLOCKING for error in found):
            errors += [*found, *([NOT_CHECKED] if resource.node.has_rules else [])]
        else:
            errors += found + check_rules(resource.node, obj, MISSING if live is None else live)
            errors += [] if found else kinds.find_errors(resource, obj, live)
        if errors:
            raise invalid(resource.group, resource.kind, meta.get("name", ""), errors)


def _check_type(resource: Resource, obj: Obj) -> None:
    api_version, kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise bad_request("apiVersion and kind must be strings")
    if kind != resource.kind:
        raise bad_request(
            f"{kind} in version {quoted(resource.version)} cannot be handled as a {resource.kind}:"
            f" converting ({api_version}.{kind}) to ({resource.api_version}.{resource.kind}):"
            " unknown conversion"
        )
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind


def _cannot_handle(resource: Resource, why: str) -> ApiError:
    return bad_request(
        f"{resource.kind} in version {quoted(resource.version)} cannot be handled as a {resource.kind}: {why}"
    )


def _check_decodable(resource: Resource, errors: list[FieldError]) -> None:
    """A value of a wrong type does not even decode into a built-in kind."""
    for error in errors:
        if error.reason == "FieldValueTypeInvalid":
            text = (
                f"json: cannot unmarshal {go_type(error.value)} into Go struct field"
                f" {resource.kind}.{error.field}: {error.detail}"
            )
            raise _cannot_handle(resource, text)


def _writer(call: Call) -> Writer:
    return Writer(call.manager, call.resource.api_version, timestamp(call.now), call.target.subresource)


def _restore(meta: Obj, before: Obj, name: str, *, keep: bool) -> None:
    """Take a field from the live metadata. Where `keep`, a value that was sent stays, to be refused if it
    differs."""
    if name in before and not (keep and meta.get(name)):
        meta[name] = before[name]
    elif name not in before and not keep:
        meta.pop(name, None)


def _limit_to_subresource(call: Call, new: Obj, live: Obj) -> None:
    """The main door does not write status, and the status door writes nothing else."""
    resource = call.resource
    if call.target.subresource == "status":
        fields = new["metadata"].get("managedFields")
        status = new.get("status")
        fresh = copied(live)
        new.clear()
        new.update(fresh)
        new.pop("status", None)
        if status is not None:
            new["status"] = status
        if fields is not None:
            new["metadata"]["managedFields"] = fields
    elif resource.has_status and not call.target.subresource:
        new.pop("status", None)
        if "status" in live:
            new["status"] = copied(live["status"])


def _spec_changed(resource: Resource, new: Obj, live: Obj) -> bool:
    apart = ("metadata", "status") if resource.has_status else ("metadata",)
    return {k: v for k, v in new.items() if k not in apart} != {k: v for k, v in live.items() if k not in apart}


def holds_content(kind: Kind, obj: Obj) -> bool:
    """A namespace stays until its content is gone, whatever its finalizers in metadata say."""
    return kind == kinds.NAMESPACE and bool((obj.get("spec") or {}).get("finalizers"))
