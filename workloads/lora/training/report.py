"""The numbers of a run: progress while it goes, a loss curve when it ends."""

import io
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from ..settings import Job
from ..storage import SavedCheckpoint
from .checkpoint import Run
from .energy import Energy

_SMOOTHED_STEPS = 10


@dataclass(slots=True)
class Report:
    """The numbers of one attempt, as they stand; `started` is in seconds since 1970."""

    job: Job
    run: Run
    total_steps: int
    started: float
    data: dict[str, Any]
    """What became of the rows."""
    adapter: dict[str, Any]
    """Which modules it is on."""
    energy: Energy
    first_step_seconds: float | None = None
    tokens: int = 0
    steps: int = 0
    training_seconds: float = 0.0
    cpu_seconds: float = 0.0
    checkpoint_seconds: float | None = None
    checkpoint: SavedCheckpoint | None = None
    warnings: list[str] = field(default_factory=list)

    def count(self, tokens: int, seconds: float, cpu_seconds: float) -> None:
        """Note one more step; `cpu_seconds` are this process's, which a busy machine does not stretch."""
        self.tokens += tokens
        self.steps += 1
        self.training_seconds += seconds
        self.cpu_seconds += cpu_seconds
        if self.first_step_seconds is None:
            self.first_step_seconds = time.time() - self.started

    def numbers(self) -> dict[str, Any]:
        """The progress as people and machines read it; losses are in nats per response token."""
        losses, validation = self.run.train_losses, self.run.validation_losses
        return {
            "attempt": self.job.attempt,
            "config_digest": self.job.settings.digest,
            "step": self.run.step,
            "total_steps": self.total_steps,
            "data_digest": self.run.data_digest,
            "data": self.data,
            "adapter": self.adapter,
            "response_tokens": self.run.response_tokens,
            "initial_train_loss": losses[0] if losses else None,
            "train_loss": _recent(losses),
            "initial_validation_loss": validation.get(0),
            "validation_loss": validation[max(validation)] if validation else None,
            "validations": sorted(validation.items()),
            "tokens_per_second": self.tokens / self.training_seconds if self.training_seconds else None,
            "step_seconds": self.training_seconds / self.steps if self.steps else None,
            "step_cpu_seconds": self.cpu_seconds / self.steps if self.steps else None,
            "checkpoint_seconds": self.checkpoint_seconds,
            **self.energy.numbers(),
            "checkpoint": self.checkpoint.model_dump() if self.checkpoint else None,
            "started_at": datetime.fromtimestamp(self.started, UTC).isoformat(),
            "first_step_seconds": self.first_step_seconds,
            "updated_at": datetime.now(UTC).isoformat(),
            "warnings": self.warnings,
        }

    def sentence(self) -> str:
        """The same in brief, for people."""
        numbers = self.numbers()
        figures = {
            "train loss": (numbers["train_loss"], ".4f"),
            "validation loss": (numbers["validation_loss"], ".4f"),
            "tokens/s": (numbers["tokens_per_second"], ",.0f"),
        }
        told = [f"{name} {value:{form}}" for name, (value, form) in figures.items() if value is not None]
        return "  ".join((f"step {self.run.step:,} of {self.total_steps:,}", *told))


def loss_table(run: Run) -> str:
    """CSV with a row for each step; the validation column is filled where it was measured."""
    rows = [
        f"{step},{run.train_losses[step - 1] if step else ''},{run.validation_losses.get(step, '')}"
        for step in range(run.step + 1)
    ]
    return "\n".join(["step,train_loss,validation_loss", *rows]) + "\n"


def loss_plot(run: Run) -> bytes | None:
    """The same as a PNG, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats per response token)")
    axes.plot(range(1, run.step + 1), run.train_losses, color="0.7", label="train")
    steps, losses = zip(*sorted(run.validation_losses.items()), strict=True)
    axes.plot(steps, losses, marker="o", label="validation")
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _recent(losses: list[float]) -> float | None:
    recent = losses[-_SMOOTHED_STEPS:]
    return sum(recent) / len(recent) if recent else None
