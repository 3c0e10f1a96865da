"""One authorised request, handed to what its verb names."""

from kubeapi.call import Call
from kubeapi.errors import bad_request, method_not_allowed
from kubeapi.handlers.body import read_body, read_object
from kubeapi.handlers.create import create
from kubeapi.handlers.delete import DeleteOptions, delete, delete_collection
from kubeapi.handlers.patch import patch
from kubeapi.handlers.read import get, page
from kubeapi.handlers.reviews import answer
from kubeapi.handlers.table import Shape
from kubeapi.handlers.update import read_scale, replace, write_scale
from kubeapi.objects import Obj
from kubeapi.service import Service


async def handle(service: Service, call: Call, body: bytes, content_type: str, shape: Shape) -> tuple[int, Obj]:
    """Do what an authorised request asks, but for watches: the HTTP code and the object of the answer."""
    _check_offered(call)
    code, obj = 200, None
    match call.verb:
        case "list":
            return 200, page(service.store, call, shape)
        case "get" if call.target.subresource == "scale":
            return 200, read_scale(service, call)
        case "get":
            obj = get(service.store, call)
        case "create":
            return await _create(service, call, read_object(body, content_type), shape)
        case "update" if call.target.subresource == "scale":
            sent = read_object(body, content_type)
            return 200, await write_scale(service, call, lambda live: sent)
        case "update":
            obj = await replace(service, call, read_object(body, content_type))
        case "patch":
            code, obj = await patch(service, call, body, content_type)
        case "delete":
            return 200, await delete(service, call, DeleteOptions.read(call, read_body(body, content_type)))
        case "deletecollection":
            options = DeleteOptions.read(call, read_body(body, content_type))
            return 200, await delete_collection(service, call, options, shape)
    if obj is None:
        raise method_not_allowed(call.verb)
    return code, obj if call.target.subresource == "scale" else shape.one(call.resource, obj, call.now)


def _check_offered(call: Call) -> None:
    """Raise 404 for a subresource, and 405 for a verb, that the resource does not have."""
    resource, subresource = call.resource, call.target.subresource
    offered = resource.verbs
    if subresource:
        if subresource not in resource.subresources:
            raise call.not_found()
        offered = ("create",) if subresource == "token" else ("get", "update", "patch")
    if call.verb not in offered or (call.verb in ("update", "patch") and not call.target.name):
        raise method_not_allowed(call.verb)


async def _create(service: Service, call: Call, obj: Obj, shape: Shape) -> tuple[int, Obj]:
    if call.target.subresource == "token":
        return 201, service.tokens.issue(*call.key, obj, call.now)
    if call.resource.verbs == ("create",):
        return 201, answer(call, obj, service.authorizer)
    if call.target.name:
        raise method_not_allowed("POST")
    if call.resource.namespaced and not call.target.namespace:
        raise bad_request("an empty namespace may not be set during creation")
    return 201, shape.one(call.resource, await create(service, call, obj), call.now)
