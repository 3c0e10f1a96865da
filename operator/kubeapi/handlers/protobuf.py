"""The few protobuf messages that kubectl sends instead of JSON (`kubectl create namespace` and its kin)."""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from kubeapi.errors import bad_request
from kubeapi.objects import Json, Obj, timestamp

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"


class _Field(NamedTuple):
    """What a field number stands for; `holds` is "one", "list" or "map" (of strings to values)."""

    name: str
    type: str
    holds: str


def _read_definitions(text: str) -> dict[str, dict[int, _Field]]:
    messages: dict[str, dict[int, _Field]] = {}
    for line in text.strip().splitlines():
        message, _, fields = line.partition(": ")
        found = re.findall(r"(\d+) (\w+)(?: (\[\]|map )?(\w+))?", fields)
        holds = {"": "one", "[]": "list", "map ": "map"}
        messages[message] = {int(n): _Field(name, kind or "string", holds[how]) for n, name, how, kind in found}
    return messages


_MESSAGES: Final = _read_definitions("""
OwnerReference: 1 kind, 3 name, 4 uid, 5 apiVersion, 6 controller bool, 7 blockOwnerDeletion bool
ObjectMeta: 1 name, 2 generateName, 3 namespace, 5 uid, 6 resourceVersion, 7 generation int, 8 creationTimestamp time, \
9 deletionTimestamp time, 11 labels map string, 12 annotations map string, 13 ownerReferences []OwnerReference, \
14 finalizers []string
ObjectReference: 1 kind, 2 namespace, 3 name, 4 uid, 5 apiVersion
LocalObjectReference: 1 name
PolicyRule: 1 verbs []string, 2 apiGroups []string, 3 resources []string, 4 resourceNames []string, \
5 nonResourceURLs []string
Subject: 1 kind, 2 apiGroup, 3 name, 4 namespace
RoleRef: 1 apiGroup, 2 kind, 3 name
NamespaceSpec: 1 finalizers []string
NamespaceStatus: 1 phase
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus
ConfigMap: 1 metadata ObjectMeta, 2 data map string, 3 binaryData map bytes, 4 immutable bool
Secret: 1 metadata ObjectMeta, 2 data map bytes, 3 type, 4 stringData map string, 5 immutable bool
ServiceAccount: 1 metadata ObjectMeta, 2 secrets []ObjectReference, 3 imagePullSecrets []LocalObjectReference, \
4 automountServiceAccountToken bool
Role: 1 metadata ObjectMeta, 2 rules []PolicyRule
ClusterRole: 1 metadata ObjectMeta, 2 rules []PolicyRule
RoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
ResourceAttributes: 1 namespace, 2 verb, 3 group, 4 version, 5 resource, 6 subresource, 7 name
NonResourceAttributes: 1 path, 2 verb
AccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessReviewSpec
RulesReviewSpec: 1 namespace
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec RulesReviewSpec
SelfSubjectReview: 1 metadata ObjectMeta
TokenRequestSpec: 1 audiences []string, 4 expirationSeconds int
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec
Preconditions: 1 uid, 2 resourceVersion
DeleteOptions: 1 gracePeriodSeconds int, 2 preconditions Preconditions, 3 orphanDependents bool, \
4 propagationPolicy, 5 dryRun []string
""")
"""Field numbers from the generated.proto files of k8s.io/api and k8s.io/apimachinery; a field without a type is
a string."""


def read(body: bytes) -> Obj:
    """The object in a `k8s.io/apimachinery` protobuf envelope. Raises 400 for a kind that has no table here."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not a Kubernetes protobuf message")
    try:
        envelope = dict(_fields(body[4:]))
        kinds = {number: bytes(value).decode() for number, value in _fields(envelope.get(1, b""))}
        api_version, kind = kinds.get(1, ""), kinds.get(2, "")
        if kind not in _MESSAGES:
            raise bad_request(
                f"the embedded API reads {kind} as JSON only, not as protobuf; use `kubectl apply -f` with a manifest"
            )
        return {"apiVersion": api_version, "kind": kind, **_message(kind, envelope.get(2, b""))}
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


def _message(kind: str, data: bytes) -> Obj:
    out: Obj = {}
    for number, raw in _fields(data):
        field = _MESSAGES[kind].get(number)
        if field is None:
            continue
        if field.holds == "list":
            out.setdefault(field.name, []).append(_value(field.type, raw))
        elif field.holds == "map":
            entry = dict(_fields(raw))
            out.setdefault(field.name, {})[bytes(entry.get(1, b"")).decode()] = _value(field.type, entry.get(2, b""))
        elif (value := _value(field.type, raw)) not in ("", None, {}):
            out[field.name] = value
    return out


def _value(kind: str, raw: Json) -> Json:
    match kind:
        case "string":
            return bytes(raw).decode()
        case "bytes":
            return base64.b64encode(raw).decode()
        case "bool":
            return bool(raw)
        case "int":
            return int(raw)
        case "time":
            seconds = dict(_fields(raw)).get(1)
            return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds else None
    return _message(kind, raw)
