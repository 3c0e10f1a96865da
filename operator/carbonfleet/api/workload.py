"""What runs: image, model, data, adapter, hyperparameters and checkpoints."""

import re
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from carbonfleet.api.wire import SET, PositiveDuration, RegionName, Wire, cel
from carbonfleet.shipped import TRAINING_IMAGE

SPOKE_STORE: Final = "/checkpoints"
"""Where a spoke mounts its own store in the workers."""
MOST_VALIDATIONS: Final = 100
"""Of one training: each is reported."""
_KEEPS_SECRETS: Final = "must not hold a user or password: what trains and saves has credentials of its own"


def _stay_inside(reference: str) -> str:
    if ".." in reference:
        raise ValueError("must not hold '..'")
    if re.search("://[^/]*@", reference):
        raise ValueError(_KEEPS_SECRETS)
    return reference


_REFERENCE_PATTERN: Final = r"^[A-Za-z0-9/][A-Za-z0-9._/@:+-]*$"
_REVISION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
Reference = Annotated[
    str,
    Field(min_length=1, max_length=512, pattern=_REFERENCE_PATTERN),
    AfterValidator(_stay_inside),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 512, "pattern": _REFERENCE_PATTERN}
        | cel(("!self.contains('..')", "must not hold '..'"), ("!self.matches('://[^/]*@')", _KEEPS_SECRETS))
    ),
]
"""A name, path or URL without spaces, quotes or shell characters, without a query, and without credentials."""


def check_reference(text: object) -> str:
    """A reference that somebody wrote into a file. Raises ValueError, which does not quote it."""
    if not isinstance(text, str) or not re.fullmatch(_REFERENCE_PATTERN, text):
        raise ValueError("must be an address without spaces, quotes, a query or credentials")
    return _stay_inside(text)


class DataPlace(NamedTuple):
    """Where a job reads or writes: an address, or the region that it gives; with neither, the spoke's own store."""

    what: str
    uri: str = ""
    region: str = ""


Revision = Annotated[
    str,
    Field(min_length=1, max_length=128, pattern=_REVISION_PATTERN),
    AfterValidator(_stay_inside),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 128, "pattern": _REVISION_PATTERN}
        | cel(("!self.contains('..')", "must not hold '..'"))
    ),
]
"""A commit, tag or branch of a repository of models or datasets."""
Image = Annotated[str, Field(max_length=512, pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]


_FILE_PATTERN: Final = r"^/|://|[.](jsonl?|ndjson|csv|parquet)([.]gz)?$"
_ONLY_OF_NAMES: Final = "a config, revision or split is of a dataset by name, not of a file"


class Dataset(
    Wire,
    json_schema_extra=cel(
        (
            f"!(has(self.revision) || has(self.config) || has(self.split)) || !self.name.matches('{_FILE_PATTERN}')",
            _ONLY_OF_NAMES,
        )
    ),
):
    """The instruction data: how large it is and where it lives decide what moving it costs."""

    name: Reference
    """A dataset's name, or the path or URL of a file: .jsonl, .ndjson, .json, .csv or .parquet, also with .gz."""
    config: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$")] | None = None
    """Of a dataset by name: which of its configurations; left out, its only one."""
    split: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+:%\[\]-]*$")] | None = None
    """Of a dataset by name: the part to take, such as train[:10%]; left out, train."""
    revision: Revision | None = None
    """Of a dataset by name: the commit, tag or branch to take; a commit pins it. Left out, the newest."""
    samples: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    """Use so many, drawn by the seed; left out, all. One to train on and one to validate with are the least."""
    max_dropped_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """How much of the rows may be dropped, as empty, or cut at the sequence length; more is refused. Left out, 5."""
    size_gib: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Its size in GiB, for what moving it costs."""
    region: RegionName | None = None
    """The provider region where it is stored; left out, moving it costs nothing."""

    @property
    def is_file(self) -> bool:
        """A path or URL, rather than a name."""
        return re.search(_FILE_PATTERN, self.name) is not None

    @model_validator(mode="after")
    def _only_names_have_parts(self) -> "Dataset":
        if self.is_file and (self.revision, self.config, self.split) != (None, None, None):
            raise ValueError(_ONLY_OF_NAMES)
        return self


class Lora(Wire):
    """The adapter's shape."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the two factors."""
    alpha: Annotated[float, Field(gt=0, le=4096)] = 32
    """Scale: the adapter's output is multiplied by alpha over rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the adapter's inputs that are dropped while training."""
    target_modules: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)], ...],
        Field(max_length=32, json_schema_extra=SET),
    ] = ()
    """The modules that get an adapter, each a name that the model has; left empty, every linear layer of its blocks."""


class LearningRateSchedule(StrEnum):
    """How the learning rate changes over the run."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Quantization(StrEnum):
    """In what the frozen base is held."""

    NF4 = "nf4"


class Training(
    Wire, json_schema_extra=cel(("!(has(self.epochs) && has(self.steps))", "give epochs or steps, not both"))
):
    """Hyperparameters. Give steps or epochs; with neither, three epochs."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """The highest learning rate of the schedule."""
    schedule: LearningRateSchedule = LearningRateSchedule.COSINE
    """How the learning rate changes over the run."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the run in which the learning rate rises from 0."""
    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Length as passes over the data."""
    steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Length as optimiser steps."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 8
    """Samples of one worker and step."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    """Batches whose gradients are summed for one step."""
    sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 1024
    """Longer samples are cut here, in tokens."""
    validations: Annotated[int, Field(ge=1, le=MOST_VALIDATIONS)] | None = None
    """How often the loss on the validation split is measured, evenly up to the last step; left out, three times."""
    group_by_length: bool = False
    """Whether samples of similar length share a step: less padding, in another order."""
    packing: bool = False
    """Whether the samples of a step stand end to end in rows, unseen by each other; refused where a model can't."""
    quantization: Quantization | None = None
    """The frozen base in 4 bits (QLoRA, nf4); left out, in bf16. Refused without a CUDA GPU or bitsandbytes."""
    compile: bool = False
    """Whether torch.compile compiles the model's blocks; refused without a CUDA GPU or Triton."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """For the split, the data order and the adapter's first weights."""

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class Checkpoints(Wire):
    """How often, and where, the run saves itself."""

    every: PositiveDuration = Field(default="30m", validate_default=True)
    """Time between two checkpoints."""
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Counted in steps in place of time."""
    uri: Reference | None = None
    """A path or object store URL that all spokes reach; left out, the spoke's own store."""
    size_gib: Annotated[float, Field(ge=0, le=10_000)] = 0.5
    """Size of one checkpoint in GiB, for what a move costs."""


class Workload(
    Wire,
    json_schema_extra=cel(
        (
            "!has(self.modelRevision) || !self.model.startsWith('/')",
            "a revision is of a model by name, not of a path",
        )
    ),
):
    """What runs."""

    image: Image = TRAINING_IMAGE
    """The training image; by digest where it matters."""
    model: Reference
    """A causal language model by name or path."""
    model_revision: Revision | None = None
    """Of a model by name: the commit, tag or branch to take; a commit pins it. Left out, the newest."""
    dataset: Dataset
    """The instruction data: how large it is and where it lives decide what moving it costs."""
    lora: Lora = Lora()
    """The adapter's shape."""
    training: Training = Training()
    """Hyperparameters. Give steps or epochs; with neither, three epochs."""
    checkpoints: Checkpoints = Checkpoints()
    """How often, and where, the run saves itself."""

    @property
    def profile(self) -> str:
        """What decides how long it takes on given GPUs: equal for runs that differ in seed or learning rate alone."""
        training, data = self.training, self.dataset
        length = f"{training.epochs or 3:g} epochs"
        if training.steps is not None:
            length = f"{training.steps} steps of {training.batch_size * training.gradient_accumulation}"
        length += ", grouped" * training.group_by_length + ", packed" * training.packing
        length += ", compiled" * training.compile + (f", {training.quantization}" if training.quantization else "")
        return f"{self.model}, {data.samples or 'all'} samples of {data.name}, {length}"

    @property
    def data_places(self) -> tuple[DataPlace, ...]:
        """Where its checkpoints and adapter go, and where its data lies as far as the job says."""
        dataset = self.dataset
        return (
            DataPlace("checkpoints", self.checkpoints.uri or ""),
            DataPlace("dataset", address_of(dataset.name), dataset.region or ""),
        )

    @model_validator(mode="after")
    def _only_names_have_revisions(self) -> "Workload":
        if self.model_revision is not None and self.model.startswith("/"):
            raise ValueError("a revision is of a model by name, not of a path")
        return self


def address_of(dataset: str) -> str:
    """A dataset's path or URL; empty for one that is called by its name."""
    return dataset if re.match("/|[^/]*://", dataset) else ""
