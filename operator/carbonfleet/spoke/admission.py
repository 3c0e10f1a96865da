"""Whether this spoke will run a placement: its own list of data classes, the policies, its pools, its free GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.report import AttemptPhase
from carbonfleet.fleet.manifests import FILES_UNREADABLE, Placement
from carbonfleet.placement.rules import residency_verdict
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.spoke.attempt_state import AttemptStatus
from carbonfleet.spoke.errors import AllowListError
from carbonfleet.spoke.wanted import WantedSet
from carbonfleet.yaml_reader import read_document

ALLOW: Final = "allow"
_PREFIX: Final = "residency."


@dataclass(frozen=True, slots=True)
class AllowList:
    """What the spoke's admin lets in, whatever the hub or Git say.

    The same keys as the ConfigMap of the admission policy: `cluster`, and `residency.<data class>: allow`.
    """

    cluster: str
    data_classes: frozenset[str]


@dataclass(frozen=True, slots=True)
class AdmissionRefusal:
    """Why a placement does not run. A final one ends the attempt; another only holds it."""

    reason: str
    message: str
    is_final: bool = True

    @property
    def status(self) -> AttemptStatus:
        """What to say of the attempt."""
        phase = AttemptPhase.REFUSED if self.is_final else AttemptPhase.PENDING
        return AttemptStatus(phase, self.reason, self.message)


def read_allow_list(place: Path) -> AllowList:
    """A ConfigMap's file, or the folder it is mounted at. Raises AllowListError."""
    try:
        data = _mounted(place) if place.is_dir() else _in_file(place)
    except (OSError, ValueError) as error:
        raise AllowListError(f"the allow list {place} can't be read: {error}") from error
    allowed = {key.removeprefix(_PREFIX) for key, value in data.items() if value == ALLOW}
    return AllowList(data.get("cluster", ""), frozenset(allowed & {k.removeprefix(_PREFIX) for k in _residency(data)}))


def refusal_of(
    placement: Placement,
    wanted: WantedSet,
    allowed: AllowList | AllowListError | None,
    held: Mapping[str, int],
) -> AdmissionRefusal | None:
    """The first reason not to start a placement now; `held` counts GPUs in use by pool."""
    facts = wanted.facts
    if facts is None:
        return AdmissionRefusal("ClusterFileInvalid", "the cluster's own file can't be read", is_final=False)
    if wanted.unread:
        return AdmissionRefusal(FILES_UNREADABLE, wanted.unread, is_final=False)
    return (
        _by_allow_list(placement, allowed)
        or _by_policies(placement, facts, wanted.policies)
        or _by_pool(placement, facts)
        or _by_free_gpus(placement, facts, held)
    )


def _by_allow_list(placement: Placement, allowed: AllowList | AllowListError | None) -> AdmissionRefusal | None:
    if allowed is None:
        return None
    if isinstance(allowed, AllowListError):
        return AdmissionRefusal("AllowListUnreadable", str(allowed), is_final=False)
    if allowed.cluster and allowed.cluster != placement.cluster:
        return AdmissionRefusal(
            "WrongCluster", f"the spoke's own list is for {allowed.cluster}, not {placement.cluster}"
        )
    if placement.data_class not in allowed.data_classes:
        return AdmissionRefusal(
            "DataClassNotAllowed",
            f"the spoke's own list does not allow data class {placement.data_class}; its admin may add "
            f"{_PREFIX}{placement.data_class}: {ALLOW}",
        )
    return None


def _by_policies(placement: Placement, facts: ClusterFacts, policies: PolicySet) -> AdmissionRefusal | None:
    """What the policies beside the placement say, whoever wrote it: the hub asked them, a hand may not have."""
    request = ResidencyRequest.model_construct(data_class=placement.data_class)
    ruling = residency_verdict(policies, placement.data_class, placement.namespace, request, facts, placement.places)
    # A file that can't be read is mended; until then nothing new begins.
    return (
        None
        if ruling.allowed
        else AdmissionRefusal(ruling.reason, ruling.message, is_final=ruling.reason != "PolicyInvalid")
    )


def _by_pool(placement: Placement, facts: ClusterFacts) -> AdmissionRefusal | None:
    gpus = next((pool.gpus for pool in facts.pools if pool.name == placement.pool), None)
    if gpus is None:
        return AdmissionRefusal("NoSuchPool", f"{facts.name} has no pool {placement.pool}")
    if placement.gpus > gpus:
        return AdmissionRefusal(
            "PoolTooSmall", f"{placement.pool} has {gpus} GPUs, the placement wants {placement.gpus}"
        )
    return None


def _by_free_gpus(placement: Placement, facts: ClusterFacts, held: Mapping[str, int]) -> AdmissionRefusal | None:
    gpus = next((pool.gpus for pool in facts.pools if pool.name == placement.pool), 0)
    free = gpus - held.get(placement.pool, 0)
    if placement.gpus <= free:
        return None
    return AdmissionRefusal(
        "WaitingForGpus", f"{placement.pool} has {free} of {gpus} GPUs free, {placement.gpus} wanted", False
    )


def _mounted(place: Path) -> dict[str, str]:
    files = [file for file in place.iterdir() if file.is_file() and not file.name.startswith("..")]
    return {file.name: file.read_text().strip() for file in files}


def _in_file(place: Path) -> dict[str, str]:
    document: Any = read_document(str(place), place.read_bytes()).data
    if not isinstance(document, dict):
        raise ValueError("must be a mapping or a ConfigMap")
    data = document.get("data", document) if document.get("kind") == "ConfigMap" else document
    if not isinstance(data, dict):
        raise ValueError("data must be a mapping")
    return {str(key): str(value) for key, value in data.items()}


def _residency(data: Mapping[str, str]) -> list[str]:
    return [key for key in data if key.startswith(_PREFIX)]
