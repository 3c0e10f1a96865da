"""What a training job is: one JSON document, checked before anything heavy is imported."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .failure import Failure

TINY_MODEL = "carbonfleet/tiny-qwen2"
TINY_DATASET = "carbonfleet/tiny-instructions"

Text = Annotated[str, Field(min_length=1, max_length=1024)]
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=128)]
"""A commit, tag or branch of a repository of models or datasets."""
Subset = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$", max_length=128)]
"""One of several configurations of a dataset by name."""
Split = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+:%\[\]-]*$", max_length=128)]
"""A part of a dataset by name, in the library's notation: `train`, `train[:10%]`, `train+validation`."""
Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]


class Strict(BaseModel):
    """Frozen; an unknown key is an error, so that a typo never trains the wrong thing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Dataset(Strict):
    """Instruction data: a Hugging Face name, or the path or URL of a file."""

    name: Text | None = None
    path: Text | None = None
    config: Subset | None = None
    revision: Revision | None = None
    split: Split | None = None
    """None takes `train`."""
    samples: int | None = Field(None, ge=2, le=100_000_000)
    minimum_helpfulness: float | None = Field(None, ge=0, le=4)
    max_dropped_percent: float = Field(5.0, ge=0, le=100)
    """The largest part of the rows that may be dropped or cut."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.path is None):
            raise ValueError("give exactly one of name and path")
        for field in ("config", "revision", "split"):
            if self.path is not None and getattr(self, field) is not None:
                raise ValueError(f"a {field} is of a dataset by name; a path has none")
            if self.name == TINY_DATASET and getattr(self, field) is not None:
                raise ValueError(f"{TINY_DATASET} is made on the spot, and has no {field}")
        return self


class Lora(Strict):
    """The adapter; the defaults are the baseline configuration."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32.0, gt=0, le=4096)
    dropout: float = Field(0.1, ge=0, lt=1)
    target_modules: tuple[Module, ...] | None = Field(None, min_length=1, max_length=32)
    """None takes every linear layer of the blocks, whatever the model calls them."""


class Training(Strict):
    """The loop. A step is one update from `batch_size * gradient_accumulation` samples, over all workers."""

    learning_rate: float = Field(1e-4, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    epochs: float | None = Field(None, gt=0, le=1000)
    steps: int | None = Field(None, ge=1, le=10_000_000)
    batch_size: int = Field(8, ge=1, le=65_536 * 1024)
    gradient_accumulation: int = Field(1, ge=1, le=4096)
    sequence_length: int = Field(1024, ge=8, le=1_048_576)
    validations: int = Field(3, ge=1, le=100)
    group_by_length: bool = False
    """Whether samples of similar length share a step."""
    packing: bool = False
    """Whether samples of a step stand end to end in rows, without seeing each other."""
    quantization: Literal["nf4"] | None = None
    """The base in 4 bits (QLoRA); None in the type of its device."""
    compile: bool = False
    """Whether the model's blocks are compiled by `torch.compile`."""
    seed: int = Field(42, ge=0, le=2**31 - 1)
    workers: int = Field(1, ge=1, le=1024)

    @property
    def samples_per_step(self) -> int:
        """The global batch."""
        return self.batch_size * self.gradient_accumulation

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} does not divide among {self.workers} workers")
        return self


class Checkpoint(Strict):
    """How often the run is saved, and how many saves are kept."""

    every_minutes: float | None = Field(None, gt=0)
    every_steps: int | None = Field(None, ge=1, le=1_000_000)
    keep: int = Field(2, ge=1, le=100)

    @model_validator(mode="after")
    def _one_cadence(self) -> Self:
        if self.every_minutes is not None and self.every_steps is not None:
            raise ValueError("give every_minutes or every_steps, not both")
        return self


class Settings(Strict):
    """One training job."""

    model: Text
    model_revision: Revision | None = None
    """Of a model by name; None takes the newest."""
    dataset: Dataset
    lora: Lora = Lora()
    training: Training = Training()
    checkpoint: Checkpoint = Checkpoint()

    @model_validator(mode="after")
    def _only_names_have_revisions(self) -> Self:
        if self.model_revision is not None and (self.model == TINY_MODEL or self.model.startswith(("/", "."))):
            raise ValueError("a model_revision is of a model by name; a path, and what is made on the spot, have none")
        return self

    @model_validator(mode="after")
    def _only_stored_models_are_quantized(self) -> Self:
        if self.training.quantization is not None and self.model == TINY_MODEL:
            raise ValueError(f"training.quantization is of a model that is stored; {TINY_MODEL} is made on the spot")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the result; how often it is saved does not."""
        said = self.model_dump(
            mode="json", exclude={"checkpoint": True, "dataset": {"max_dropped_percent"}}, exclude_none=True
        )
        # What is off is left out, so that a switch that is added later changes no digest.
        said["training"] = {name: value for name, value in said["training"].items() if value is not False}
        text = json.dumps(said, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Job:
    """Settings, the place that all attempts of the job share, and which attempt this is."""

    settings: Settings
    output: str
    attempt: int


def parse(text: str) -> Settings:
    """Read settings from JSON; raise `BadConfig` naming each field that is wrong."""
    try:
        return Settings.model_validate_json(text, strict=True)  # true is no 1, nor a text a number
    except ValidationError as error:
        raise Failure("BadConfig", "; ".join(_complaints(error))) from error


def read_job(config: Path | None, output: str | None, attempt: int | None) -> Job:
    """The job from the command line, or from `LORA_CONFIG`, `LORA_OUTPUT` and `LORA_ATTEMPT`."""
    settings = parse(_text(config))
    output = output or os.environ.get("LORA_OUTPUT", "")
    if not output:
        raise Failure("BadConfig", "nowhere to write: set LORA_OUTPUT or give --output")
    number = str(attempt if attempt is not None else os.environ.get("LORA_ATTEMPT", "1"))
    if not (number.isascii() and number.isdigit() and int(number) >= 1):
        raise Failure("BadConfig", f"the attempt must be a whole number from 1, not {number[:80]!r}")
    return Job(settings, output.rstrip("/"), int(number))


def _text(config: Path | None) -> str:
    if config is None:
        text = os.environ.get("LORA_CONFIG", "")
        if not text:
            raise Failure("BadConfig", "no settings: set LORA_CONFIG or give --config FILE")
        return text
    try:
        return config.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("BadConfig", f"cannot read the settings file {config}: {error}") from error


def _complaints(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_context=False)
    lines = [f"{'.'.join(map(str, e['loc']))[:200] or 'settings'}: {e['msg'][:200]}" for e in found[:5]]
    return lines if len(found) <= 5 else [*lines, f"and {len(found) - 5} more"]
