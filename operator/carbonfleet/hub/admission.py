"""Admission webhook: a job whose data no spoke of this fleet may hold is refused when it is created."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import kopf
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.problems import told
from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.fleet import FleetError, Tip
from carbonfleet.hub.observe import JOBS
from carbonfleet.placement.rules import residency_verdict

HANDLER: Final = "residency"
"""The last part of the webhook's address."""
MOST_NAMED: Final = 5
"""Spokes that a refusal names."""


def server_of(address: str, tls: Path) -> kopf.WebhookServer:
    """Kopf's server at host:port with the certificate in a folder, which it reads anew when the files change."""
    host, _, port = address.rpartition(":")
    return kopf.WebhookServer(
        addr=host.strip("[]"),
        port=int(port),
        certfile=tls / "tls.crt",
        pkeyfile=tls / "tls.key",
    )


def register(latest_tip: Callable[[], Tip]) -> None:
    """Answer what the API asks before it creates a job. Residency can't be changed later, so once is enough.

    `latest_tip` gives the fleet repository's branch and may raise FleetError.
    """

    @kopf.on.validate(GROUP, VERSION, JOBS, operation="CREATE", id=HANDLER)
    def admit(body: kopf.Body, **_: object) -> None:
        try:
            refusal = refusal_of(dict(body), latest_tip())
        except FleetError as error:
            refusal = f"whether any spoke may hold its data can't be told, try again later: {error}"
        if refusal:
            raise kopf.AdmissionError(refusal, code=403)


def refusal_of(body: dict[str, Any], tip: Tip) -> str:
    """Why a job may not be created; empty where it may."""
    try:
        job = CarbonTrainingJob.model_validate(body)
    except ValidationError as error:
        return f"invalid: {told(error, CarbonTrainingJob)}"
    return _residency_refusal(job, tip)


def _residency_refusal(job: CarbonTrainingJob, tip: Tip) -> str:
    residency, namespace = job.spec.residency, job.metadata.namespace
    why: list[str] = []
    for name, facts in sorted(tip.clusters.items()):
        ruling = residency_verdict(tip.policies, residency.data_class, namespace, residency, facts)
        if ruling.allowed:
            return ""
        why.append(f"{name}: {ruling.message}")
    if not why:
        return "the fleet repository declares no cluster that can be used; add clusters/<name>/cluster.yaml"
    more = f"; and {len(why) - MOST_NAMED} more" if len(why) > MOST_NAMED else ""
    return (
        f"no spoke may hold data of class {residency.data_class} from namespace {namespace}: "
        f"{'; '.join(why[:MOST_NAMED])}{more}"
    )
