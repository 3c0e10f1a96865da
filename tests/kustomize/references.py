"""Every name in a rendered manifest that stands for another object, and what is wrong with it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (empty for what has none), name."""
CLUSTER_WIDE = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Namespace",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    }
)
KIND_OF = {
    "claimName": "PersistentVolumeClaim",
    "configMap": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
    "issuerRef": "Issuer",
    "policyName": "ValidatingAdmissionPolicy",
    "project": "AppProject",
    "secret": "Secret",
    "secretKeyRef": "Secret",
    "secretName": "Secret",
    "secretRef": "Secret",
    "serviceAccountName": "ServiceAccount",
}
"""By the field that holds the name, or a mapping with it."""
SAYS_ITS_KIND = frozenset({"roleRef", "sourceRef"})
NO_REFERENCE = frozenset({"dnsNames", "fieldRef", "resourceNames"})
"""Fields that look like references, and stand for no object that must be there."""
LOOKS_LIKE_A_REFERENCE = re.compile(r".(Refs?|Names?)$")
PLURALS = {"configmaps": "ConfigMap", "leases": "Lease", "namespaces": "Namespace", "secrets": "Secret"}


@dataclass(frozen=True)
class Reference:
    """A name in `holder`, and the object that it stands for; `key` is one of its data, where one is named."""

    holder: str
    field: str
    target: Key
    key: str = ""


def key_of(thing: Object) -> Key:
    """What names an object."""
    kind, metadata = thing["kind"], thing["metadata"]
    return kind, "" if kind in CLUSTER_WIDE else metadata.get("namespace", ""), metadata["name"]


def references(thing: Object) -> Iterator[Reference]:
    """All names in an object that stand for others. Raises KeyError for a field that nobody has classed."""
    holder, home = f"{thing['kind']}/{thing['metadata']['name']}", thing["metadata"].get("namespace", "")
    if thing["kind"] == "CustomResourceDefinition":
        return  # its fields describe other objects
    if home:
        yield Reference(holder, "metadata.namespace", ("Namespace", "", home))
    for field, value in _fields(thing):
        for target in _targets(thing, field, value, home):
            yield Reference(holder, field, target, value.get("key", "") if isinstance(value, dict) else "")


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of an object at any depth, with its value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)


def _targets(thing: Object, field: str, value: Any, home: str) -> Iterator[Key]:
    """What a field stands for."""
    if isinstance(value, dict) and value.get("optional"):
        return
    if field == "subjects":
        for subject in value:
            yield subject["kind"], subject.get("namespace", ""), subject["name"]
    elif field == "defaultServiceAccount":
        namespace, _, name = value.partition(":")
        yield "ServiceAccount", namespace, name
    elif field == "cert-manager.io/inject-ca-from":
        namespace, _, name = value.partition("/")
        yield "Certificate", namespace, name
    elif field == "service" and thing["kind"].endswith("WebhookConfiguration"):
        yield "Service", value["namespace"], value["name"]
    elif field == "paramRef":
        yield "ConfigMap", value["namespace"], value["name"]
    elif field in SAYS_ITS_KIND:
        kind = value["kind"]
        yield kind, "" if kind in CLUSTER_WIDE else value.get("namespace", home), value["name"]
    elif field in KIND_OF:
        yield from _by_kind(thing, field, value, home)
    elif field not in NO_REFERENCE and LOOKS_LIKE_A_REFERENCE.search(field):
        raise KeyError(f"{thing['kind']} has a field {field}: class it as a reference, or as none")


def _by_kind(thing: Object, field: str, value: Any, home: str) -> Iterator[Key]:
    if field == "secretName" and thing["kind"] == "Certificate":
        return  # cert-manager makes that Secret
    kind = KIND_OF[field]
    name = value.get("name") if isinstance(value, dict) else value
    if name is not None:
        yield kind, "" if kind in CLUSTER_WIDE else home, name


def dangling(things: Sequence[Object], outside: Iterable[Key] = ()) -> list[str]:
    """References to what is neither rendered nor `outside`, nor made from what is rendered."""
    present = {key_of(thing): thing for thing in things}
    made = {
        ("Secret", thing["metadata"]["namespace"], thing["spec"]["secretName"])
        for thing in things
        if thing["kind"] == "Certificate"
    }
    known = present.keys() | made | set(outside)
    found = []
    for thing in things:
        for one in references(thing):
            if one.target not in known:
                found.append(f"{one.holder}: {one.field} stands for {'/'.join(one.target)}, which is not there")
            elif one.key and one.target in present and one.key not in present[one.target].get("data", {}):
                found.append(f"{one.holder}: {one.field} asks {'/'.join(one.target)} for {one.key}, which it lacks")
    return found


def granted_names(things: Iterable[Object]) -> Iterator[tuple[str, str, str]]:
    """Each object that a role names in its rules: the role, the kind, the name."""
    for thing in things:
        for rule in thing.get("rules") or () if thing["kind"] in ("Role", "ClusterRole") else ():
            for plural in rule["resources"] if rule.get("resourceNames") else ():
                for name in rule["resourceNames"]:
                    yield thing["metadata"]["name"], PLURALS[plural], name


def collisions(things: Sequence[Object]) -> list[str]:
    """Names that a role grants of one kind while an object of another bears them: kustomize rewrites both as one.

    A name that was rewritten is found too, since the object bears the new name as well.
    """
    borne = sorted({(thing["kind"], thing["metadata"]["name"]) for thing in things})
    return [
        f"{role} grants {kind} {name}, and a {other} bears that name"
        for role, kind, name in granted_names(things)
        for other, taken in borne
        if taken == name and other != kind
    ]


def unmounted(things: Iterable[Object]) -> list[str]:
    """Mounts without their volume, volumes that nothing mounts, and ports that are named and not open."""
    found = []
    for thing in things:
        if thing["kind"] != "Deployment":
            continue
        pod = thing["spec"]["template"]["spec"]
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        mounts = [mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", [])]
        if sorted(set(volumes)) != sorted(volumes) or set(volumes) != set(mounts):
            found.append(f"{thing['metadata']['name']}: volumes {sorted(volumes)}, mounted {sorted(mounts)}")
        ports = {port["name"] for one in pod["containers"] for port in one.get("ports", [])}
        probes = [one[field] for one in pod["containers"] for field in one if field.endswith("Probe")]
        wanted = {probe["httpGet"]["port"] for probe in probes}
        found += [f"{thing['metadata']['name']}: no port is called {name}" for name in sorted(wanted - ports)]
    return found


def unreached(things: Sequence[Object]) -> list[str]:
    """Services and network policies that select no pod, or a port that its pods don't name."""
    pods = [thing["spec"]["template"] for thing in things if thing["kind"] == "Deployment"]
    found = []
    for thing in things:
        spec = thing.get("spec") or {}
        if thing["kind"] == "Service":
            labels, ports = spec["selector"], {port["targetPort"] for port in spec["ports"]}
        elif thing["kind"] == "NetworkPolicy" and spec["podSelector"]:
            labels = spec["podSelector"]["matchLabels"]
            ports = {port["port"] for rule in spec["ingress"] for port in rule.get("ports", [])}
        else:
            continue
        chosen = [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]
        opened = {port["name"] for pod in chosen for one in pod["spec"]["containers"] for port in one["ports"]}
        if not chosen or not ports <= opened:
            found.append(f"{thing['kind']}/{thing['metadata']['name']}: {sorted(ports)} of {labels}")
    return found
