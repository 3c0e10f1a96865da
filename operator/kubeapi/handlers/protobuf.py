"""The few protobuf messages that kubectl sends instead of JSON (`kubectl create namespace` and its kin)."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from kubeapi.errors import bad_request
from kubeapi.objects import Json, Obj, timestamp

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"

# A field is its name and what it holds: a scalar, a message (by its table), a map, or a list of one of these.
# Numbers are from the generated.proto files of k8s.io/api and k8s.io/apimachinery.
STRING, BOOL, INT, BYTES, TIME = "string", "bool", "int", "bytes", "time"
Field = tuple[str, Any]
Message = dict[int, Field]

_OWNER: Final[Message] = {
    1: ("kind", STRING), 3: ("name", STRING), 4: ("uid", STRING), 5: ("apiVersion", STRING),
    6: ("controller", BOOL), 7: ("blockOwnerDeletion", BOOL),
}  # fmt: skip
_META: Final[Message] = {
    1: ("name", STRING), 2: ("generateName", STRING), 3: ("namespace", STRING), 5: ("uid", STRING),
    6: ("resourceVersion", STRING), 7: ("generation", INT), 8: ("creationTimestamp", TIME),
    9: ("deletionTimestamp", TIME),
    11: ("labels", ("map", STRING)), 12: ("annotations", ("map", STRING)),
    13: ("ownerReferences", ("list", _OWNER)),
    14: ("finalizers", ("list", STRING)),
}  # fmt: skip
_REFERENCE: Final[Message] = {
    1: ("kind", STRING),
    2: ("namespace", STRING),
    3: ("name", STRING),
    4: ("uid", STRING),
    5: ("apiVersion", STRING),
}
_RULE: Final[Message] = {
    1: ("verbs", ("list", STRING)), 2: ("apiGroups", ("list", STRING)), 3: ("resources", ("list", STRING)),
    4: ("resourceNames", ("list", STRING)), 5: ("nonResourceURLs", ("list", STRING)),
}  # fmt: skip
_SUBJECT: Final[Message] = {1: ("kind", STRING), 2: ("apiGroup", STRING), 3: ("name", STRING), 4: ("namespace", STRING)}
_ROLE_REF: Final[Message] = {1: ("apiGroup", STRING), 2: ("kind", STRING), 3: ("name", STRING)}
_ROLE: Final[Message] = {1: ("metadata", _META), 2: ("rules", ("list", _RULE))}
_BINDING: Final[Message] = {1: ("metadata", _META), 2: ("subjects", ("list", _SUBJECT)), 3: ("roleRef", _ROLE_REF)}
_RESOURCE_ASKED: Final[Message] = {
    1: ("namespace", STRING), 2: ("verb", STRING), 3: ("group", STRING), 4: ("version", STRING),
    5: ("resource", STRING),
    6: ("subresource", STRING), 7: ("name", STRING),
}  # fmt: skip
_PATH_ASKED: Final[Message] = {1: ("path", STRING), 2: ("verb", STRING)}

MESSAGES: Final[dict[str, Message]] = {
    "Namespace": {
        1: ("metadata", _META), 2: ("spec", {1: ("finalizers", ("list", STRING))}),
        3: ("status", {1: ("phase", STRING)}),
    },
    "ConfigMap": {
        1: ("metadata", _META), 2: ("data", ("map", STRING)), 3: ("binaryData", ("map", BYTES)),
        4: ("immutable", BOOL),
    },
    "Secret": {
        1: ("metadata", _META), 2: ("data", ("map", BYTES)), 3: ("type", STRING),
        4: ("stringData", ("map", STRING)),
        5: ("immutable", BOOL),
    },
    "ServiceAccount": {
        1: ("metadata", _META), 2: ("secrets", ("list", _REFERENCE)),
        3: ("imagePullSecrets", ("list", {1: ("name", STRING)})),
        4: ("automountServiceAccountToken", BOOL),
    },
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "SelfSubjectAccessReview": {
        1: ("metadata", _META),
        2: ("spec", {1: ("resourceAttributes", _RESOURCE_ASKED), 2: ("nonResourceAttributes", _PATH_ASKED)}),
    },
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", STRING)})},
    "SelfSubjectReview": {1: ("metadata", _META)},
    "TokenRequest": {
        1: ("metadata", _META),
        2: ("spec", {1: ("audiences", ("list", STRING)), 4: ("expirationSeconds", INT)}),
    },
    "DeleteOptions": {
        1: ("gracePeriodSeconds", INT),
        2: ("preconditions", {1: ("uid", STRING), 2: ("resourceVersion", STRING)}),
        3: ("orphanDependents", BOOL), 4: ("propagationPolicy", STRING), 5: ("dryRun", ("list", STRING)),
    },
}  # fmt: skip


def read(body: bytes) -> Obj:
    """The object in a `k8s.io/apimachinery` protobuf envelope. Raises 400 for a kind that has no table
    here."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not a Kubernetes protobuf message")
    try:
        envelope = dict(_fields(body[4:]))
        kinds = {number: bytes(value).decode() for number, value in _fields(envelope.get(1, b""))}
        api_version, kind = kinds.get(1, ""), kinds.get(2, "")
        if kind not in MESSAGES:
            raise bad_request(
                f"the embedded API reads {kind} as JSON only, not as protobuf; use `kubectl apply -f` with a manifest"
            )
        return {"apiVersion": api_version, "kind": kind, **_message(MESSAGES[kind], envelope.get(2, b""))}
    except (ValueError, IndexError, TypeError) as error:
        raise bad_request("the body is not a readable Kubernetes protobuf message") from error


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint is too long")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("message is cut off")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} is not used by Kubernetes")


def _message(table: Message, data: bytes) -> Obj:
    out: Obj = {}
    for number, raw in _fields(data):
        if number not in table:
            continue
        name, kind = table[number]
        if isinstance(kind, tuple) and kind[0] == "list":
            out.setdefault(name, []).append(_value(kind[1], raw))
        elif isinstance(kind, tuple):
            entry = dict(_fields(raw))
            out.setdefault(name, {})[bytes(entry.get(1, b"")).decode()] = _value(kind[1], entry.get(2, b""))
        else:
            value = _value(kind, raw)
            if value not in ("", None, {}):
                out[name] = value
    return out


def _value(kind: Json, raw: Json) -> Json:
    if isinstance(kind, dict):
        return _message(kind, raw)
    if kind == STRING:
        return bytes(raw).decode()
    if kind == BYTES:
        return base64.b64encode(raw).decode()
    if kind == BOOL:
        return bool(raw)
    if kind == TIME:
        seconds = dict(_fields(raw)).get(1)
        return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds else None
    return int(raw)
