"""The spoke's only way to speak: its reports, and its SpokeCluster's status, on the hub's API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from carbonfleet.api.report import ReportSpec
from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.api.wire import API_VERSION, LABEL
from carbonfleet.kube import Kube, KubeError, ours

REPORTS = "trainingreports"
SPOKES = "spokeclusters"


@dataclass(frozen=True, slots=True)
class HubLink:
    """What a spoke may do on the hub. Every call raises KubeError when the hub refuses or is silent."""

    kube: Kube
    spoke: str

    @property
    def namespace(self) -> str:
        """Where this spoke's reports live."""
        return f"spoke-{self.spoke}"

    def reports(self) -> dict[str, ReportSpec]:
        """Every report that the hub has of this spoke; one that can't be read is left out, and rewritten."""
        items, _version = self.kube.list(ours(REPORTS, self.namespace))
        return {name: spec for name, spec in map(_read, items) if spec is not None}

    def write(self, name: str, report: ReportSpec) -> None:
        """Store a report, whether or not there is one."""
        try:
            self.kube.patch(ours(REPORTS, self.namespace, name), {"spec": _with_nulls(report)})
        except KubeError as error:
            if not error.is_gone:
                raise
            self.kube.create(ours(REPORTS, self.namespace), self._object(name, report))

    def beat(self, status: SpokeStatus) -> None:
        """Store this spoke's own part of its status: conditions belong to the hub."""
        fields = _with_nulls(status)
        fields.pop("conditions", None)
        self.kube.patch(ours(SPOKES, "", self.spoke, "status"), {"status": fields})

    def _object(self, name: str, report: ReportSpec) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": "TrainingReport",
            "metadata": {"name": name, "namespace": self.namespace, "labels": _labels(report)},
            "spec": report.to_wire(),
        }


def _labels(report: ReportSpec) -> Mapping[str, str]:
    return {
        LABEL.JOB: report.job.name,
        LABEL.NAMESPACE: report.job.namespace,
        LABEL.UID: report.job.uid,
        LABEL.ATTEMPT: str(report.attempt),
        LABEL.CLUSTER: report.spoke,
    }


def _read(item: Mapping[str, Any]) -> tuple[str, ReportSpec | None]:
    name = str(item["metadata"]["name"])
    try:
        return name, ReportSpec.model_validate(item.get("spec"))
    except ValidationError:
        return name, None


def _with_nulls(value: ReportSpec | SpokeStatus) -> dict[str, Any]:
    """The JSON form with `null` for what is unset: in a merge patch that removes what stood there.

    Not so in lists, which a merge patch replaces whole.
    """
    said = value.to_wire()
    whole = value.model_dump(mode="json", by_alias=True)
    return {key: said[key] if isinstance(item, list) else item for key, item in whole.items()}
