"""The spoke's only way to speak: its reports, and its SpokeCluster's status, on the hub's API."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from carbonfleet.api.report import ReportSpec
from carbonfleet.api.spoke import PlannedStart, SpokeStatus
from carbonfleet.api.wire import API_VERSION, LABEL, format_time
from carbonfleet.kube import Kube, KubeError, ours

MOST_PROBLEMS: Final = 16
"""In a SpokeCluster's status."""
REPORTS = "trainingreports"
SPOKES = "spokeclusters"


@dataclass(frozen=True, slots=True)
class Standing:
    """Who holds a spoke's name, as the hub has it at one resource version."""

    version: str
    holder: str
    """Empty where nobody does."""
    lease_seconds: int
    heard: str
    """When the holder wrote last, by its clock; empty where it never did."""
    rival: tuple[str, str]
    """Who was refused the name last, and when; empty where nobody was."""
    problems: tuple[str, ...]
    """What the holder said that a person should look at."""


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

    def standing(self) -> Standing:
        """Who holds this spoke's name. Whatever stands there that can't be, counts as nobody."""
        body = self.kube.get(self._status)
        said = body.get("status") or {}
        return Standing(
            version=str(body["metadata"]["resourceVersion"]),
            holder=str(said.get("holderIdentity") or ""),
            lease_seconds=seconds if isinstance(seconds := said.get("leaseDurationSeconds"), int) else 0,
            heard=str(said.get("heartbeatTime") or ""),
            rival=(str(said.get("rivalIdentity") or ""), str(said.get("rivalTime") or "")),
            problems=tuple(said.get("problems") or ()),
        )

    def planned_starts(self) -> tuple[PlannedStart, ...]:
        """What the hub plans here, on pools whose hosts may sleep. What can't be read of it is left out."""
        said = (self.kube.get(self._status).get("status") or {}).get("plannedStarts")
        found = []
        for each in said if isinstance(said, list) else ():
            with suppress(ValidationError):
                found.append(PlannedStart.model_validate(each))
        return tuple(found)

    def claim(self, holder: str, lease_seconds: float, version: str) -> str:
        """Hold this spoke's name, if nobody has written its status since `version`; the version after that."""
        mine = {"holderIdentity": holder, "leaseDurationSeconds": round(lease_seconds)}
        return self._write_status(mine | {"rivalIdentity": None, "rivalTime": None}, version)

    def release(self, stands: Standing) -> None:
        """Leave the name to whoever asks next, if nobody has written the status meanwhile."""
        self._write_status({"holderIdentity": None}, stands.version)

    def beat(self, status: SpokeStatus, version: str = "") -> str:
        """Store the holder's part of the status, if nobody has written it since `version`; the version after that.

        Conditions and planned starts belong to the hub, and what a rival says to the rival.
        """
        fields = _with_nulls(status)
        for others in ("conditions", "plannedStarts", "rivalIdentity", "rivalTime"):
            fields.pop(others, None)
        return self._write_status(fields, version)

    def ask(self, rival: str, now: datetime, problem: str, stands: Standing) -> None:
        """Say that this agent was refused the name, beside what the holder says."""
        said = [problem, *(each for each in stands.problems if each != problem)][:MOST_PROBLEMS]
        fields = {"rivalIdentity": rival, "rivalTime": format_time(now), "problems": said}
        self._write_status(fields, stands.version)

    def _write_status(self, fields: Mapping[str, Any], version: str = "") -> str:
        at = {"metadata": {"resourceVersion": version}} if version else {}
        return str(self.kube.patch(self._status, {**at, "status": fields})["metadata"]["resourceVersion"])

    @property
    def _status(self) -> str:
        return ours(SPOKES, "", self.spoke, "status")

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
    name = ""
    try:
        name = str(item["metadata"]["name"])
        return name, ReportSpec.model_validate(item.get("spec"))
    except Exception:  # noqa: BLE001 - whatever stands there, it is rewritten, and harms no other
        return name, None


def _with_nulls(value: ReportSpec | SpokeStatus) -> dict[str, Any]:
    """The JSON form with `null` for what is unset: in a merge patch that removes what stood there.

    Not so in lists, which a merge patch replaces whole.
    """
    said = value.to_wire()
    whole = value.model_dump(mode="json", by_alias=True)
    return {key: said[key] if isinstance(item, list) else item for key, item in whole.items()}
