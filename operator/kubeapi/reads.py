"""Answering get and list, from bytes that were made when the object was written."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from kubeapi.calls import Call
from kubeapi.conversion import needs_conversion, to_served
from kubeapi.errors import ApiError, bad_request, expired, not_found
from kubeapi.journal import Key
from kubeapi.resources import Resource
from kubeapi.selectors import Selector, all_of, parse_fields, parse_labels
from kubeapi.store import Store, Stored
from kubeapi.table import make_table, partial_metadata
from kubeapi.values import Obj, decode, encode

META_GROUP: Final = "g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Shape:
    """In which form the client wants objects: as they are, as a Table, or as their metadata alone."""

    table: bool = False
    metadata_only: bool = False
    include: str = "Metadata"

    @classmethod
    def read(cls, accept: str, include: str) -> "Shape":
        """The first form in an Accept header that we can give."""
        for media in accept.split(","):
            parts = {part.strip() for part in media.split(";")}
            if not ({"application/json", "*/*", "application/yaml"} & parts):
                continue
            if "as=Table" in parts and META_GROUP in parts:
                return cls(table=True, include=include or "Metadata")
            if parts & {"as=PartialObjectMetadata", "as=PartialObjectMetadataList"}:
                return cls(metadata_only=True)
            return cls()
        if "protobuf" in accept or not accept:
            return cls()
        raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def selector_of(call: Call) -> Selector | None:
    """What a list or watch is limited to, beside its namespace; None for everything."""
    labels = parse_labels(call.query.get("labelSelector", ""))
    fields = parse_fields(call.query.get("fieldSelector", ""), call.resource.selectable)
    name = call.target.name
    if name:
        fields.append(lambda obj: bool(obj["metadata"]["name"] == name))
    return all_of(labels + fields)


def raw_of(resource: Resource, stored: Stored) -> bytes:
    """A stored object's JSON in the version that is asked for."""
    if needs_conversion(resource, stored.obj):
        return encode(to_served(resource, stored.obj))
    return stored.raw


class Reads:
    """The read path."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, call: Call, shape: Shape) -> bytes:
        """One object. Raises 404 where there is none."""
        stored = self._store.get(call.resource.storage, call.key)
        if stored is None:
            raise not_found(call.resource.group, call.resource.plural, call.target.name)
        if shape.table:
            obj = to_served(call.resource, stored.obj)
            meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            return encode(make_table(call.resource, [obj], call.now, meta, shape.include))
        if shape.metadata_only:
            return encode(partial_metadata(stored.obj))
        return raw_of(call.resource, stored)

    def select(self, call: Call) -> list[Stored]:
        """Every object that a list or watch is limited to, in order."""
        items = self._store.collection(call.resource.storage).items
        selector = selector_of(call)
        keys = self._store.collection(call.resource.storage).ordered(call.target.namespace)
        found = (items[key] for key in keys)
        if selector is None:
            return list(found)
        return [stored for stored in found if selector(to_served(call.resource, stored.obj))]

    def page(self, call: Call, shape: Shape) -> bytes:
        """A list, whole or one page of it.

        Pages after the first are read from the present state and carry the first page's resource version:
        a watch from there brings whatever changed in between.
        """
        version, after = self._start_of(call)
        page, meta = self._select_page(call, version, after)
        if shape.table:
            objects = (to_served(call.resource, stored.obj) for stored in page)
            return encode(make_table(call.resource, objects, call.now, meta, shape.include))
        if shape.metadata_only:
            items = [encode(partial_metadata(stored.obj)) for stored in page]
            return _list("PartialObjectMetadataList", "meta.k8s.io/v1", meta, items)
        resource = call.resource
        return _list(resource.list_kind, resource.api_version, meta, [raw_of(resource, stored) for stored in page])

    def _select_page(self, call: Call, version: int, after: Key | None) -> tuple[list[Stored], Obj]:
        collection = self._store.collection(call.resource.storage)
        selector, limit = selector_of(call), call.seconds("limit")
        page: list[Stored] = []
        meta: Obj = {"resourceVersion": str(version)}
        for key in collection.ordered(call.target.namespace, after):
            stored = collection.items[key]
            if selector is not None and not selector(to_served(call.resource, stored.obj)):
                continue
            if limit and len(page) == limit:
                last = page[-1].obj["metadata"]
                meta["continue"] = _token(version, (last.get("namespace", ""), last["name"]))
                break
            page.append(stored)
        return page, meta

    def _start_of(self, call: Call) -> tuple[int, Key | None]:
        token = call.query.get("continue", "")
        if token:
            version, key = _read_token(token)
            if version < self._store.collection(call.resource.storage).floor:
                raise expired(
                    "The provided continue parameter is too old to display a consistent list"
                    " result. You can start a new list without the continue parameter."
                )
            return version, key
        wanted = call.query.get("resourceVersion", "")
        if wanted and (not wanted.isdigit() or int(wanted) > self._store.version):
            if not wanted.isdigit():
                raise bad_request(f'resourceVersion: Invalid value: "{wanted}": must be a number')
            raise ApiError(
                504,
                "Timeout",
                f"Timeout: Too large resource version: {wanted}, current: {self._store.version}",
                retry_after_seconds=1,
            )
        return self._store.version, None


def _list(kind: str, api_version: str, meta: Obj, items: list[bytes]) -> bytes:
    head = b'{"kind":%b,"apiVersion":%b,"metadata":%b,"items":[' % (
        encode(kind),
        encode(api_version),
        encode(meta),
    )
    return b"".join((head, b",".join(items), b"]}"))


def _token(version: int, key: Key) -> str:
    return base64.urlsafe_b64encode(encode({"v": version, "k": key})).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        read = decode(base64.urlsafe_b64decode(token))
        return int(read["v"]), (str(read["k"][0]), str(read["k"][1]))
    except (binascii.Error, ValueError, KeyError, TypeError, IndexError):
        raise bad_request("continue key is not valid") from None
