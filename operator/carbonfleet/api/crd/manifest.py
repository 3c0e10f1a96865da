"""The CustomResourceDefinitions: names, scope, columns, and the schema of their models."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from carbonfleet.api.crd.schema import Schema, structural
from carbonfleet.api.job import NAME_RULE, CarbonTrainingJob
from carbonfleet.api.report import TrainingReport
from carbonfleet.api.schedule import SCHEDULE_NAME_RULE, CarbonTrainingSchedule
from carbonfleet.api.spoke import SpokeCluster
from carbonfleet.api.wire import GROUP, VERSION, cel

_ABOUT: Final = {
    "apiVersion": "The version of this kind of object.",
    "kind": "The kind of object.",
    "status": "What was observed; nobody sets it by hand.",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones show with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    about: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The form in a CustomResourceDefinition."""
        wire: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.about:
            wire["description"] = self.about
        if self.wide:
            wire["priority"] = 1
        return wire | {"jsonPath": self.path}


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object that the hub's Kubernetes API serves for us."""

    model: type[BaseModel]
    plural: str
    short_name: str
    namespaced: bool
    columns: tuple[Column, ...]
    rules: tuple[tuple[str, str], ...] = ()
    """CEL rules over the whole object, name included."""


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

RESOURCES: Final = (
    Resource(
        CarbonTrainingJob,
        "carbontrainingjobs",
        "ctj",
        namespaced=True,
        columns=(
            Column("Phase", ".status.phase"),
            Column("Cluster", ".status.cluster"),
            Column("gCO2/kWh", ".status.gramsPerKwh", "number", about="Of the chosen window"),
            Column("Start", ".status.when", about="UTC; a plan until the job runs"),
            Column("Saved", ".status.saved", about="Against the baseline region; ~ is expected"),
            _AGE,
            Column("Try", ".status.attempt", "integer", wide=True, about="The attempt's number"),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        ),
        rules=(NAME_RULE,),
    ),
    Resource(
        CarbonTrainingSchedule,
        "carbontrainingschedules",
        "cts",
        namespaced=True,
        columns=(
            Column("Schedule", ".spec.schedule"),
            Column("Timezone", ".spec.timeZone"),
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Next run", ".status.next", about="When it is due, UTC"),
            Column("Last run", ".status.last", about="When the last run with a job was or is due, UTC"),
            Column("Active", ".status.activeCount", "integer"),
            _AGE,
            Column("Missed", ".status.missed", "integer", wide=True, about="Runs that never got a job"),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        ),
        rules=(SCHEDULE_NAME_RULE,),
    ),
    Resource(
        SpokeCluster,
        "spokeclusters",
        "spoke",
        namespaced=False,
        columns=(
            Column("Zone", ".spec.zone"),
            Column("Region", ".spec.region"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Free", ".status.free", about="GPUs of all, by pool"),
            Column("Heartbeat", ".status.heartbeatTime", "date"),
            _AGE,
            Column("Runtime", ".spec.runtime", wide=True),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        ),
        rules=(("self.metadata.name == self.spec.name", "spec.name must be the object's own name"),),
    ),
    Resource(
        TrainingReport,
        "trainingreports",
        "trep",
        namespaced=True,
        columns=(
            Column("Job", ".spec.job.name"),
            Column("Attempt", ".spec.attempt", "integer"),
            Column("Phase", ".spec.phase"),
            Column("Step", ".spec.progress.step", "integer"),
            Column("Loss", ".spec.progress.validationLoss", "number", about="On the validation split"),
            Column("Observed", ".spec.observedAt", "date"),
            _AGE,
            Column("Reason", ".spec.reason", wide=True),
            Column("Message", ".spec.message", wide=True),
        ),
    ),
)


def manifest(resource: Resource) -> dict[str, Any]:
    """The CustomResourceDefinition of a resource, keys in the order in which people read them."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": "carbonfleet"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": _names(resource),
            "versions": [_version(resource)],
        },
    }


def _names(resource: Resource) -> dict[str, Any]:
    kind = resource.model.__name__
    return {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": resource.plural,
        "singular": kind.lower(),
        "shortNames": [resource.short_name],
        "categories": ["carbon"],
    }


def _version(resource: Resource) -> dict[str, Any]:
    version: dict[str, Any] = {"name": VERSION, "served": True, "storage": True}
    if "status" in resource.model.model_fields:
        version["subresources"] = {"status": {}}
    return version | {
        "additionalPrinterColumns": [column.to_wire() for column in resource.columns],
        "schema": {"openAPIV3Schema": _root(resource)},
    }


def _root(resource: Resource) -> Schema:
    fields = resource.model.model_fields
    properties: Schema = {
        "apiVersion": {"description": _ABOUT["apiVersion"], "type": "string"},
        "kind": {"description": _ABOUT["kind"], "type": "string"},
        "metadata": {"type": "object"},  # an API server refuses a CRD that says more of it
        "spec": _without_transitions(structural(_model_of(fields["spec"].annotation)), "jobTemplate"),
    }
    if "status" in fields:
        properties["status"] = structural(_model_of(fields["status"].annotation), defaults=False)
    rules = cel(*resource.rules) if resource.rules else {}
    about = (resource.model.__doc__ or "").strip()
    return {"description": about, "type": "object", "required": ["spec"], **rules, "properties": properties}


def _without_transitions(schema: Schema, field: str) -> Schema:
    """A schema where one field may change in any way: what a job may not change is free in a template of jobs."""
    if field in schema["properties"]:
        _drop_transitions(schema["properties"][field])
    return schema


def _drop_transitions(schema: Schema) -> None:
    rules = schema.pop("x-kubernetes-validations", [])
    if kept := [rule for rule in rules if "oldSelf" not in rule["rule"]]:
        schema["x-kubernetes-validations"] = kept
    for child in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
        _drop_transitions(child)


def _model_of(annotation: object) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    raise TypeError(f"{annotation!r} is not a model")
