"""Admission: no grant beyond the writer's own rights, then the webhooks that the configurations name."""

import asyncio
import base64
import ssl
import uuid
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import aiohttp

from kubeapi.auth import Authorizer
from kubeapi.call import Call
from kubeapi.errors import ApiError, bad_request, internal
from kubeapi.objects import Json, Obj, copied, decode, encode, metadata, quoted
from kubeapi.patch import apply_json_patch
from kubeapi.registry import NAMESPACE
from kubeapi.schema import evaluate_condition
from kubeapi.selectors import match_label_selector
from kubeapi.storage import Store

_GROUP: Final = "admissionregistration.k8s.io"
_LARGEST_ANSWER_BYTES: Final = 4 * 1024 * 1024


class _CallFailedError(Exception):
    """A webhook that could not be asked, or whose answer cannot be read."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """What webhooks are asked about: CREATE, UPDATE or DELETE, with the object as it would be and as it was."""

    call: Call
    name: str
    new: Obj | None
    old: Obj | None


class Admission:
    """Asks the webhooks that match an operation: mutating ones in turn, then the validating ones together."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._authorizer = authorizer
        self._session: aiohttp.ClientSession | None = None

    async def review(self, call: Call, operation: str, new: Obj | None, old: Obj | None) -> Obj | None:
        """The object as admitted. Raises 403 (or the webhook's own code) where one denies it, 500 where one fails."""
        if new is not None:
            self._authorizer.check_grant(call, new)
        asked = _Operation(call, operation, new, old)
        if call.resource.group == _GROUP:
            return new
        for hook in self._hooks("mutatingwebhookconfigurations"):
            if self._matches(hook, asked):
                asked = replace(asked, new=await self._mutate(hook, asked))
        validating = [hook for hook in self._hooks("validatingwebhookconfigurations") if self._matches(hook, asked)]
        for hook, response in zip(
            validating, await asyncio.gather(*(self._ask(hook, asked) for hook in validating)), strict=True
        ):
            _check_allowed(hook, response)
        return asked.new

    def _hooks(self, plural: str) -> list[Obj]:
        stored = self._store.collection((_GROUP, plural))
        return [hook for key in stored.ordered() for hook in stored.items[key].get("webhooks") or ()]

    def _matches(self, hook: Obj, asked: _Operation) -> bool:
        if not any(_rule_matches(rule, asked) for rule in hook.get("rules") or ()):
            return False
        if not match_label_selector(hook.get("namespaceSelector"), self._namespace_labels(asked)):
            return False
        labels = [metadata(obj).get("labels") or {} for obj in (asked.new, asked.old) if obj is not None]
        if not any(match_label_selector(hook.get("objectSelector"), each) for each in labels):
            return False
        conditions = [condition["expression"] for condition in hook.get("matchConditions") or ()]
        variables = {"object": asked.new, "oldObject": asked.old, "request": _request(asked, "")}
        return all(evaluate_condition(source, variables) for source in conditions)

    def _namespace_labels(self, asked: _Operation) -> Obj:
        """The labels of the namespace that the object is in, or of the namespace that it is."""
        if asked.call.resource.storage == NAMESPACE and asked.new is not None:
            return metadata(asked.new).get("labels") or {}
        stored = self._store.get(NAMESPACE, ("", asked.call.target.namespace))
        return (metadata(stored).get("labels") or {}) if stored else {}

    async def _mutate(self, hook: Obj, asked: _Operation) -> Obj | None:
        response = await self._ask(hook, asked)
        _check_allowed(hook, response)
        if not response.get("patch") or asked.new is None:
            return asked.new
        try:
            return apply_json_patch(copied(asked.new), decode(base64.b64decode(response["patch"])))
        except (ValueError, ApiError) as error:
            raise internal(f"failed to apply the patch of webhook {quoted(hook['name'])}: {error}") from error

    async def _ask(self, hook: Obj, asked: _Operation) -> Obj:
        """A webhook's response. One that fails allows if its failure policy is Ignore, else raises 500."""
        if asked.call.dry_run and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise bad_request(f"admission webhook {quoted(hook['name'])} does not support dry run")
        try:
            response = await self._send(hook, _request(asked, str(uuid.uuid4())))
        except _CallFailedError as error:
            if hook.get("failurePolicy") == "Ignore":
                return {"allowed": True}
            raise internal(f"failed calling webhook {quoted(hook['name'])}: {error}") from error
        asked.call.warnings.extend(str(text) for text in response.get("warnings") or ())
        return response

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


def _request(asked: _Operation, uid: str) -> Obj:
    call, resource, target = asked.call, asked.call.resource, asked.call.target
    plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: Obj = {
        "uid": uid, "kind": resource.gvk, "resource": plural, "requestKind": resource.gvk, "requestResource": plural,
        "name": target.name or metadata(asked.new or {}).get("name", ""), "operation": asked.name,
        "userInfo": {"username": call.user.name, "groups": sorted(call.user.groups)},
        "object": asked.new, "oldObject": asked.old, "dryRun": call.dry_run, "options": {},
    }  # fmt: skip
    if target.subresource:
        request["subResource"] = request["requestSubResource"] = target.subresource
    if target.namespace:
        request["namespace"] = target.namespace
    return request


def _rule_matches(rule: Obj, asked: _Operation) -> bool:
    resource, subresource = asked.call.resource, asked.call.target.subresource
    wanted = (("operations", asked.name), ("apiGroups", resource.group), ("apiVersions", resource.version))
    if not all({"*", value} & set(rule.get(name) or ()) for name, value in wanted):
        return False
    if rule.get("scope", "*") not in ("*", "Namespaced" if resource.namespaced else "Cluster"):
        return False
    plural = resource.plural
    patterns = {f"{plural}/{subresource}", f"*/{subresource}"} if subresource else {"*", plural}
    return not {"*/*", f"{plural}/*", *patterns}.isdisjoint(rule.get("resources") or ())


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
