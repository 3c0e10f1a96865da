"""What one attempt leaves in the store: progress and checkpoints on the way, the adapter at the end."""

import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from ..model import end_tokens
from ..protocol import DONE, METRICS, PROGRESS, encode, print_line
from ..settings import TINY_MODEL, Checkpoint
from ..storage import Lease, Store
from .card import model_card
from .checkpoint import Run, save
from .distributed import World
from .report import Report, loss_plot, loss_table
from .tracking import Tracking

DEFAULT_MINUTES = 30.0


@dataclass(slots=True)
class Output:
    """Writes for the whole run from the first worker; the other workers have no lease, and theirs writes nothing."""

    store: Store
    lease: Lease | None
    report: Report
    cadence: Checkpoint
    tracking: Tracking | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _reported_at: float = -1e9
    _told: str = ""

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        if self.cadence.every_steps is not None:
            return self.report.run.step % self.cadence.every_steps == 0
        return time.monotonic() - self._saved_at >= (self.cadence.every_minutes or DEFAULT_MINUTES) * 60

    def save(self, run: Run, world: World) -> None:
        """Write a checkpoint, unless there is one of this very step; every worker must call it."""
        if run.step == (self.report.checkpoint.step if self.report.checkpoint else 0):
            return
        rngs = world.gather(run.rng)
        if self.lease is not None:
            began = time.monotonic()
            self.report.checkpoint = save(run, rngs, self.store, self.lease, self.cadence.keep)
            self._saved_at = time.monotonic()
            self.report.checkpoint_seconds = self._saved_at - began
            self.report_progress(now=True)

    def report_progress(self, *, now: bool = False) -> None:
        """Store and print the progress, at most every few seconds unless it must be `now`; raise `Fenced`."""
        if self.lease is None or not (now or time.monotonic() - self._reported_at >= self._pause_seconds()):
            return
        self._reported_at = time.monotonic()
        self.lease.hold()
        numbers = self.report.numbers()
        if self.tracking is not None:
            self.tracking.note(numbers)
        if (sentence := self.report.sentence()) != self._told:
            print(sentence, flush=True)
            self._told = sentence
        print_line("PROGRESS", numbers)
        self.store.write(PROGRESS, encode(numbers), durable=False)

    def _pause_seconds(self) -> float:
        return float(os.environ.get("LORA_REPORT_SECONDS", self.store.report_seconds))

    def finish(self, model: Any, tokenizer: Any) -> None:  # noqa: ANN401  # transformers is not typed for us
        """Write adapter, metrics and loss curve, and last of all the marker that says that they are there."""
        if self.lease is None:
            return
        self.report_progress(now=True)
        settings, numbers = self.report.job.settings, self.report.numbers()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(f"{folder}/adapter", save_embedding_layers=False)
            tokenizer.save_pretrained(f"{folder}/adapter")
            GenerationConfig(eos_token_id=end_tokens(model, tokenizer)).save_pretrained(f"{folder}/adapter")
            card = model_card(settings, numbers, time.time() - self.report.started)
            Path(f"{folder}/adapter/README.md").write_text(card, encoding="utf-8")  # PEFT's says nothing
            if settings.model == TINY_MODEL:  # nobody else has it
                model.unload().save_pretrained(f"{folder}/base")
            for path in sorted(Path(folder).rglob("*.*")):
                self.store.write(str(path.relative_to(folder)), path.read_bytes())
        template_time = self.lease.record.started_at.isoformat()
        said = {"template_time": template_time, "settings": settings.model_dump(mode="json")}
        self.store.write(METRICS, encode({**numbers, **said}))
        self.store.write("loss.csv", loss_table(self.report.run).encode())
        image = loss_plot(self.report.run)
        if image is not None:
            self.store.write("loss.png", image)
        self.lease.hold()
        done = {name: numbers[name] for name in ("attempt", "config_digest", "data_digest", "step", "validation_loss")}
        self.store.write(DONE, encode(done))
