"""Admission webhook: a job whose data no spoke may hold, or whose tier is not its to use, is refused when created."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import kopf
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.problems import told
from carbonfleet.api.wire import GROUP, VERSION
from carbonfleet.fleet import FleetError, Tip
from carbonfleet.fleet.check import refusal_of as refusal_of_job
from carbonfleet.hub.observe import JOBS

HANDLER: Final = "residency"
"""The last part of the webhook's address."""


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
    return refusal_of_job(job, tip.policies, tip.clusters)
