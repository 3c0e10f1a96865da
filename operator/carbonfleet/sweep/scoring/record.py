"""A job's score, kept as an annotation of the job: who may change the job may score it, and who reads it sees it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.wire import GROUP, Time, Wire
from carbonfleet.kube import Kube, ours
from carbonfleet.sweep.scoring.ask import ModelScore
from carbonfleet.sweep.scoring.suite import MOST_PROMPTS, PromptSuite

SCORE: Final = f"{GROUP}/score"


class JobScore(Wire):
    """How a job's adapter did at the prompts of a file."""

    passed: Annotated[int, Field(ge=0, le=MOST_PROMPTS)]
    """Prompts whose every check held."""
    prompts: Annotated[int, Field(ge=1, le=MOST_PROMPTS)]
    """How many there were."""
    suite: Annotated[str, Field(max_length=255)]
    """The file's name."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Of what was asked and checked: scores compare where it is the same."""
    time: Time
    """When it was asked."""

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.passed / self.prompts


def record_scores(
    kube: Kube, jobs: Iterable[CarbonTrainingJob], suite: PromptSuite, scores: Iterable[ModelScore], now: datetime
) -> tuple[str, ...]:
    """Keep each score at the job that its model is called after; the names of those jobs. Raises KubeError."""
    by_model = {score.model: score for score in scores}
    found = [job for job in jobs if job.metadata.name in by_model]
    for job in found:
        passed = by_model[job.metadata.name].passed
        kept = JobScore(
            passed=passed, prompts=len(suite.prompts), suite=suite.name[:255], digest=suite.digest, time=now
        )
        place = ours("carbontrainingjobs", job.metadata.namespace, job.metadata.name)
        kube.patch(place, {"metadata": {"annotations": {SCORE: kept.model_dump_json(by_alias=True)}}})
    return tuple(job.metadata.name for job in found)


def score_of(job: CarbonTrainingJob) -> JobScore | None:
    """What is kept at a job; None where that is nothing, or can't be read."""
    try:
        return JobScore.model_validate_json(job.metadata.annotations.get(SCORE, ""))
    except ValidationError:
        return None
