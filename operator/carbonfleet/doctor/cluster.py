"""Checks that ask a Kubernetes API: whether it answers, what an account may do, which definitions it has."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from carbonfleet.api.wire import VERSION
from carbonfleet.doctor.check import CheckResult, missing, ok
from carbonfleet.kube import Kube, KubeError, Object, path
from carbonfleet.shipped import SHIPPED

DEFINITIONS: Final = "apis/apiextensions.k8s.io/v1"
_REVIEWS: Final = "apis/authorization.k8s.io/v1"
MOST_NAMED: Final = 8
"""Of a list in a message."""


@dataclass(frozen=True, slots=True)
class Right:
    """One request that an account must be allowed."""

    verb: str
    group: str
    resource: str
    """With its subresource: `spokeclusters/status`."""
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''}{where}"

    @property
    def attributes(self) -> Mapping[str, str]:
        """As a review of access has it."""
        resource, _, subresource = self.resource.partition("/")
        words = {"verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource}
        return words | {"name": self.name, "namespace": self.namespace}


def objects_in(text: str) -> tuple[Object, ...]:
    """The objects of a manifest of ours."""
    return tuple(each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each)


def shipped(name: str) -> tuple[Object, ...]:
    """The objects of a file that came with carbonfleet."""
    return objects_in((SHIPPED / name).read_text())


def rights_of(objects: Iterable[Object], account: str, namespace: str = "") -> tuple[Right, ...]:
    """What roles give a ServiceAccount where they are bound; a namespace's rights in `namespace`, if given."""
    things = list(objects)
    roles = {(each["kind"], each["metadata"]["name"]): each["rules"] for each in things if each.get("rules")}
    found: list[Right] = []
    for binding in things:
        if account not in [subject["name"] for subject in binding.get("subjects") or ()]:
            continue
        where = namespace or binding["metadata"].get("namespace", "") if binding["kind"] == "RoleBinding" else ""
        for rule in roles.get((binding["roleRef"]["kind"], binding["roleRef"]["name"]), ()):
            found += _rights(rule, where)
    return tuple(dict.fromkeys(found))


def _rights(rule: Mapping[str, Any], namespace: str) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for name in rule.get("resourceNames") or ("",):
                yield from (Right(verb, group, resource, name, namespace) for verb in rule["verbs"])


def refused(kube: Kube, rights: Iterable[Right], user: str = "") -> list[Right]:
    """Those of the rights that the API would not grant: to us, or to `user`. Raises KubeError."""
    plural = "subjectaccessreviews" if user else "selfsubjectaccessreviews"
    account = {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"]} if user else {}

    def is_allowed(right: Right) -> bool:
        review = {"spec": {"resourceAttributes": right.attributes, **account}}
        return (kube.create(path(_REVIEWS, plural), review).get("status") or {}).get("allowed") is True

    return [right for right in rights if not is_allowed(right)]


def api_answers(name: str, kube: Kube, advice: str) -> CheckResult:
    """Whether an API knows us, and its version."""
    try:
        return ok(name, f"Kubernetes {kube.get('/version').get('gitVersion', '')} answers at {kube.url}")
    except KubeError as error:
        return missing(name, str(error), advice)


def has_rights(name: str, kube: Kube, rights: tuple[Right, ...], advice: str, user: str = "") -> CheckResult:
    """Whether all of some rights are granted."""
    lacking = refused(kube, rights, user)
    if not lacking:
        return ok(name, f"all {len(rights)} that the shipped roles give")
    return missing(name, f"not granted: {listed(map(str, lacking))}", advice)


def definitions(kube: Kube, advice: str) -> Iterator[CheckResult]:
    """Whether our own definitions are installed, and are those of this version."""
    for file in sorted((SHIPPED / "crds").glob("*.yaml")):
        for wanted in objects_in(file.read_text()):
            yield _definition(kube, wanted, advice)


def _definition(kube: Kube, wanted: Object, advice: str) -> CheckResult:
    plural = wanted["metadata"]["name"]
    name = f"crd {wanted['spec']['names']['plural']}"
    try:
        there = kube.get(path(DEFINITIONS, "customresourcedefinitions", name=plural))
    except KubeError as error:
        if not error.is_gone:
            raise
        return missing(name, f"{plural} is not installed", advice)
    ours, theirs = _fields(_schema(wanted)), _fields(_schema(there))
    if ours == theirs:
        return ok(name, f"{plural} is of this version")
    differing = sorted((ours ^ theirs), key=lambda field: (field.count("."), field))
    return missing(name, f"{plural} is of another version, which differs in {listed(differing)}", advice)


def _schema(definition: Object) -> Object:
    """Of our version; empty where it is not served."""
    for version in definition["spec"]["versions"]:
        if version["name"] == VERSION and version.get("served"):
            return dict(version["schema"]["openAPIV3Schema"])
    return {}


def _fields(schema: Mapping[str, Any], at: str = "") -> frozenset[str]:
    """The paths of all fields. Descriptions and defaults may differ: an installation sets its own image."""
    found = frozenset((at,)) if at else frozenset()
    for name, inner in (schema.get("properties") or {}).items():
        found |= _fields(inner, f"{at}.{name}".lstrip("."))
    for beneath in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(beneath, Mapping):
            found |= _fields(beneath, f"{at}[]")
    return found


def listed(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    every = list(names)
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more
