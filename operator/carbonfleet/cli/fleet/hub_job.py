"""One job as the hub has it."""

import random
import re
import time
from typing import TYPE_CHECKING, Final

from carbonfleet.cli.console import fail, say

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.kube import Kube

API_SECONDS: Final = 10.0
"""How long a command waits for an answer of the hub's API."""
PAUSE_SECONDS: Final = 1.0
"""Between two looks at what is followed."""
LONG_PAUSE_SECONDS: Final = 5.0
"""Where an object store is asked, or the hub does not answer."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def find_job(kube: "Kube", job: str, namespace: str) -> tuple[str, str]:
    """A job's namespace and name. Ends the command where it is not one job; raises KubeError."""
    from carbonfleet.kube import ours

    inside, _, name = job.rpartition("/")
    if namespace and inside not in ("", namespace):
        fail(f"{job} is not in {namespace}: leave one of the two out")
    namespace = namespace or inside
    for word in filter(None, (namespace, name or "?")):
        if not _NAME.fullmatch(word):
            fail(f"{word!r} is no name; write a job's name, or NAMESPACE/NAME")
    if namespace:
        return namespace, name
    bodies, _ = kube.list(ours("carbontrainingjobs"), fieldSelector=f"metadata.name={name}")
    places = sorted(str(body["metadata"]["namespace"]) for body in bodies)
    if len(places) != 1:
        where = f"{name} is in the namespaces {', '.join(places)}; choose one with -n" if places else ""
        fail(where or f"no job {name} in any namespace; see kubectl get ctj -A")
    return places[0], name


def hub_job(kube: "Kube", namespace: str, name: str) -> "CarbonTrainingJob":
    """The job. Ends the command where there is none, or it can't be read; raises KubeError where the API fails."""
    from pydantic import ValidationError

    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.api.problems import told
    from carbonfleet.kube import KubeError, ours

    try:
        return CarbonTrainingJob.model_validate(kube.get(ours("carbontrainingjobs", namespace, name)))
    except ValidationError as error:
        fail(f"job {namespace}/{name} can't be read: {told(error, CarbonTrainingJob)}")
    except KubeError as error:
        if error.reason == "NotFound" and f'"{name}"' in error.said:
            fail(f"no job {name} in {namespace}; see kubectl get ctj -A")
        raise


def job_later(kube: "Kube", namespace: str, name: str, seconds: float) -> "CarbonTrainingJob":
    """The job a moment later; says when the hub can't be asked, and goes on asking."""
    from carbonfleet.kube import KubeError

    _pause(seconds)
    is_told = False
    while True:
        try:
            return hub_job(kube, namespace, name)
        except KubeError as error:
            if not (error.status == 0 or error.status == 429 or error.status >= 500):
                raise
            if not is_told:
                say(f"{error.for_people}; asking again", err=True)
            is_told = True
            _pause(LONG_PAUSE_SECONDS)


def _pause(seconds: float) -> None:
    time.sleep(random.uniform(0.8, 1.2) * seconds)  # noqa: S311 - jitter is no secret
