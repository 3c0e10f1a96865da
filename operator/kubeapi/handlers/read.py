"""Get and list."""

import base64
import binascii

from kubeapi.call import Call
from kubeapi.errors import ApiError, bad_request, expired
from kubeapi.handlers.table import Shape
from kubeapi.objects import Obj, decode, encode
from kubeapi.registry import to_served
from kubeapi.selectors import Selector, all_of, parse_fields, parse_labels
from kubeapi.storage import Key, Store


def get(store: Store, call: Call) -> Obj:
    """One object in the version that is asked for. Raises 404 where there is none."""
    obj = store.get(call.resource.storage, call.key)
    if obj is None:
        raise call.not_found()
    return to_served(call.resource, obj)


def selector_of(call: Call) -> Selector:
    """What a list or watch is limited to, beside its namespace."""
    selectors = parse_labels(call.query.get("labelSelector", ""))
    selectors += parse_fields(call.query.get("fieldSelector", ""), call.resource.selectable)
    if call.target.name:
        selectors.append(lambda obj: bool(obj["metadata"]["name"] == call.target.name))
    return all_of(selectors)


def select(store: Store, call: Call, after: Key | None = None) -> list[Obj]:
    """Every object that a list or watch is limited to, in order, in the version that is asked for."""
    collection, selector = store.collection(call.resource.storage), selector_of(call)
    keys = collection.ordered(call.target.namespace, after)
    return [obj for key in keys if selector(obj := to_served(call.resource, collection.items[key]))]


def page(store: Store, call: Call, shape: Shape) -> Obj:
    """A list, whole or one page of it.

    Pages after the first are read from the present state and carry the first page's resource version:
    a watch from there brings whatever changed in between.
    """
    version, after = _start_of(store, call)
    objects, limit = select(store, call, after), call.seconds("limit")
    meta: Obj = {"resourceVersion": str(version)}
    if limit and len(objects) > limit:
        objects = objects[:limit]
        last = objects[-1]["metadata"]
        meta["continue"] = _token(version, (last.get("namespace", ""), last["name"]))
    return shape.listed(call.resource, objects, call.now, meta)


def _start_of(store: Store, call: Call) -> tuple[int, Key | None]:
    token = call.query.get("continue", "")
    if token:
        version, key = _read_token(token)
        if version < store.collection(call.resource.storage).floor:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result."
                " You can start a new list without the continue parameter."
            )
        return version, key
    wanted = call.query.get("resourceVersion", "")
    if wanted and not wanted.isdigit():
        raise bad_request(f'resourceVersion: Invalid value: "{wanted}": must be a number')
    if wanted and int(wanted) > store.version:
        text = f"Timeout: Too large resource version: {wanted}, current: {store.version}"
        raise ApiError(504, "Timeout", text, retry_after_seconds=1)
    return store.version, None


def _token(version: int, key: Key) -> str:
    return base64.urlsafe_b64encode(encode({"v": version, "k": key})).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        read = decode(base64.urlsafe_b64decode(token))
        return int(read["v"]), (str(read["k"][0]), str(read["k"][1]))
    except (binascii.Error, ValueError, KeyError, TypeError, IndexError):
        raise bad_request("continue key is not valid") from None
