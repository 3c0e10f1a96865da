"""Admission: no grant beyond the writer's own rights, then the webhooks that the configurations name."""

import asyncio
import base64
import binascii
import ssl
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import aiohttp

from kubeapi.auth import Authorizer
from kubeapi.call import Call
from kubeapi.errors import ApiError, internal
from kubeapi.objects import Json, Obj, copied, decode, encode, metadata, quoted
from kubeapi.patch import apply_json_patch
from kubeapi.registry import NAMESPACE
from kubeapi.schema import evaluate_condition
from kubeapi.selectors import match_label_selector
from kubeapi.storage import Store

_GROUP: Final = "admissionregistration.k8s.io"
_MUTATING, _VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
_LARGEST_ANSWER_BYTES: Final = 4 * 1024 * 1024


class _CallFailedError(Exception):
    """A webhook that could not be asked, or whose answer cannot be read."""


class Admission:
    """Asks the webhooks that match an operation: mutating ones in turn, then the validating ones together."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._authorizer = authorizer
        self._session: aiohttp.ClientSession | None = None

    async def review(self, call: Call, operation: str, new: Obj | None, old: Obj | None) -> Obj | None:
        """The object as admitted. Raises 403 (or the webhook's own code) where one denies it, 500 where one fails."""
        if new is not None and new is not old:
            self._authorizer.check_grant(call, new)
        mutating = self._hooks(_MUTATING)
        validating = self._hooks(_VALIDATING)
        if (not mutating and not validating) or call.resource.group == _GROUP:
            return new
        for hook in mutating:
            if self._matches(hook, call, operation, new, old):
                new = await self._mutate(hook, call, operation, new, old)
        asked = [hook for hook in validating if self._matches(hook, call, operation, new, old)]
        for answer in await asyncio.gather(*(self._ask(hook, call, operation, new, old) for hook in asked)):
            _check_allowed(*answer)
        return new

    def _hooks(self, plural: str) -> list[Obj]:
        stored = self._store.collection((_GROUP, plural))
        return [hook for key in stored.ordered() for hook in stored.items[key].get("webhooks") or ()]

    def _matches(self, hook: Obj, call: Call, operation: str, new: Obj | None, old: Obj | None) -> bool:
        if not any(_rule_matches(rule, call, operation) for rule in hook.get("rules") or ()):
            return False
        if not match_label_selector(hook.get("namespaceSelector"), self._namespace_labels(call, new)):
            return False
        labels = [metadata(obj).get("labels") or {} for obj in (new, old) if obj is not None]
        if not any(match_label_selector(hook.get("objectSelector"), each) for each in labels):
            return False
        conditions = [condition["expression"] for condition in hook.get("matchConditions") or ()]
        variables = {"object": new, "oldObject": old, "request": _request(call, operation, new, old, "")}
        return all(evaluate_condition(source, variables) for source in conditions)

    def _namespace_labels(self, call: Call, new: Obj | None) -> Obj:
        """The labels of the namespace that the object is in, or of the namespace that it is."""
        if call.resource.storage == NAMESPACE and new is not None:
            return metadata(new).get("labels") or {}
        stored = self._store.get(NAMESPACE, ("", call.target.namespace))
        return (metadata(stored).get("labels") or {}) if stored else {}

    async def _mutate(self, hook: Obj, call: Call, operation: str, new: Obj | None, old: Obj | None) -> Obj | None:
        _, response = await self._ask(hook, call, operation, new, old)
        _check_allowed(hook, response)
        if not response.get("patch") or new is None:
            return new
        try:
            return apply_json_patch(copied(new), decode(base64.b64decode(response["patch"])))
        except (binascii.Error, ValueError, ApiError) as error:
            raise internal(f"failed to apply the patch of webhook {quoted(hook['name'])}: {error}") from error

    async def _ask(self, hook: Obj, call: Call, operation: str, new: Obj | None, old: Obj | None) -> tuple[Obj, Obj]:
        """A webhook's response. One that fails allows if its failure policy is Ignore, else raises 500."""
        if call.dry_run and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            text = f"admission webhook {quoted(hook['name'])} does not support dry run"
            raise ApiError(400, "BadRequest", text)
        try:
            response = await self._send(hook, _request(call, operation, new, old, str(uuid.uuid4())))
        except _CallFailedError as error:
            if hook.get("failurePolicy") == "Ignore":
                return hook, {"allowed": True}
            raise internal(f"failed calling webhook {quoted(hook['name'])}: {error}") from error
        call.warnings.extend(str(text) for text in response.get("warnings") or ())
        return hook, response

    async def _send(self, hook: Obj, request: Obj) -> Obj:
        config = hook["clientConfig"]
        url = config.get("url")
        if not url:
            raise _CallFailedError("the embedded API has no services; the webhook's clientConfig needs a url")
        review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
        answer = await self._post(url, encode(review), hook.get("timeoutSeconds") or 10, config.get("caBundle"))
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict) or response.get("uid") != request["uid"]:
            raise _CallFailedError(f"the answer of {url} is not an AdmissionReview response to this request")
        return response

    async def _post(self, url: str, body: bytes, seconds: float, ca_bundle: str | None) -> Json:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=seconds),
                ssl=_trusting(ca_bundle),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise _CallFailedError(f'Post "{url}": the server answered {response.status}')
                return decode(await response.content.read(_LARGEST_ANSWER_BYTES))
        except TimeoutError as error:
            raise _CallFailedError(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _CallFailedError(f'failed to call webhook: Post "{url}": {error}') from error

    async def close(self) -> None:
        """Let go of open connections."""
        if self._session is not None:
            await self._session.close()


@lru_cache(maxsize=100)
def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """TLS that trusts a webhook's own authority. Reading the machine's certificates takes milliseconds."""
    return ssl.create_default_context(cadata=base64.b64decode(ca_bundle).decode() if ca_bundle else None)


def _request(call: Call, operation: str, new: Obj | None, old: Obj | None, uid: str) -> Obj:
    resource, target = call.resource, call.target
    plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: Obj = {
        "uid": uid, "kind": resource.gvk, "resource": plural, "requestKind": resource.gvk, "requestResource": plural,
        "name": target.name or metadata(new or {}).get("name", ""), "operation": operation,
        "userInfo": {"username": call.user.name, "groups": sorted(call.user.groups)},
        "object": new, "oldObject": old, "dryRun": call.dry_run, "options": {},
    }  # fmt: skip
    if target.subresource:
        request["subResource"] = request["requestSubResource"] = target.subresource
    if target.namespace:
        request["namespace"] = target.namespace
    return request


def _rule_matches(rule: Obj, call: Call, operation: str) -> bool:
    resource = call.resource
    scope = rule.get("scope", "*")
    wanted = (("operations", operation), ("apiGroups", resource.group), ("apiVersions", resource.version))
    if not all("*" in (rule.get(name) or ()) or value in (rule.get(name) or ()) for name, value in wanted):
        return False
    if scope != "*" and (scope == "Namespaced") != resource.namespaced:
        return False
    return any(pattern in _patterns(call) for pattern in rule.get("resources") or ())


def _patterns(call: Call) -> Iterator[str]:
    """Every way in which a rule may name what the call writes to."""
    plural, subresource = call.resource.plural, call.target.subresource
    yield "*/*"
    if subresource:
        yield from (f"{plural}/{subresource}", f"{plural}/*", f"*/{subresource}")
    else:
        yield from ("*", plural, f"{plural}/*")


def _check_allowed(hook: Obj, response: Obj) -> None:
    if response.get("allowed") is True:
        return
    status = response.get("status") or {}
    reason = status.get("message") or status.get("reason")
    text = f"admission webhook {quoted(hook['name'])} denied the request"
    text += f": {reason}" if reason else " without explanation"
    given = status.get("code")
    code = given if isinstance(given, int) and 400 <= given < 600 else 403
    raise ApiError(code, status.get("reason") or ("Forbidden" if code == 403 else ""), text, status.get("details"))
