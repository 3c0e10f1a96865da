"""What commands answer as data: types that only they have; `answers.SCHEMAS` says whose is which."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.api.wire import Time, Wire


class Answer(BaseModel):
    """A command's data; its keys stay as they are, and units stand in their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VersionAnswer(Answer):
    """Of `version`."""

    carbonfleet: str
    """This release."""
    api: str
    """Group and version of its resources on the hub."""
    python: str
    """What runs it."""
    platform: str
    """Where."""


class FrontierWindow(Wire):
    """A window of which none is both cheaper and cleaner."""

    cluster: str
    pool: str
    start: Time
    cost_usd: float
    grams_co2e: float


class ExplainedJob(DecisionRecord):
    """Of `explain`: a job's decision."""

    job: str
    """namespace/name."""
    frontier: tuple[FrontierWindow, ...] | None = None
    """Cost against carbon, where it was planned here."""


class FileFindingAnswer(Answer):
    """Of `validate` and `policy check`: something about a file."""

    severity: Literal["error", "blocked", "warning"]
    """error: it is refused; blocked: the fleet has no place for the job; warning: doubtful."""
    path: str
    line: int
    column: int | None = None
    message: str
