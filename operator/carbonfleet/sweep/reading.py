"""A sweep's jobs as the hub's API has them, found by their label."""

import re

from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.kube import Kube, ours
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.manifests import SWEEP


def jobs_of(kube: Kube, sweep: str, namespace: str = "") -> tuple[CarbonTrainingJob, ...]:
    """The jobs of one sweep by name, of all namespaces where none is given.

    Raises:
        SweepError: there are none, they lie in several namespaces, or one can't be read.
        KubeError: the API refused.
    """
    for word in filter(None, (sweep, namespace)):
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", word):
            raise SweepError(f"{word!r} is no name; write lower-case letters, digits and -")
    bodies, _ = kube.list(ours("carbontrainingjobs", namespace), labelSelector=f"{SWEEP}={sweep}")
    jobs = sorted((_read(body) for body in bodies), key=lambda job: job.key)
    if not jobs:
        where = f"namespace {namespace}" if namespace else "any namespace"
        raise SweepError(f"no job in {where} bears the label {SWEEP}={sweep}; apply the sweep's manifests first")
    if len(places := sorted({job.metadata.namespace for job in jobs})) > 1:
        raise SweepError(f"sweep {sweep} is in the namespaces {', '.join(places)}; choose one with -n")
    return tuple(jobs)


def _read(body: object) -> CarbonTrainingJob:
    try:
        return CarbonTrainingJob.model_validate(body)
    except ValidationError as error:
        name = body["metadata"]["name"] if isinstance(body, dict) else "a job"
        raise SweepError(f"job {name} can't be read: {error.errors()[0]['msg']}; see kubectl describe") from error
