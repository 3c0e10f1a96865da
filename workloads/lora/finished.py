"""What finished trainings left, for those that only read it: their figures, their adapters, and the base."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec

from .failure import Failure, explain
from .protocol import DONE, METRICS
from .settings import TINY_MODEL, Settings

ADAPTER, BASE = "adapter", "base"


@dataclass(frozen=True, slots=True)
class Finished:
    """One output that is complete."""

    place: str
    metrics: Mapping[str, Any]

    @property
    def settings(self) -> Settings:
        """What was trained."""
        return Settings.model_validate(self.metrics["settings"])

    @property
    def template_time(self) -> datetime:
        """The time that a chat template wrote in training."""
        return datetime.fromisoformat(self.metrics["template_time"])

    def copy(self, name: str, folder: Path) -> Path:
        """Copy one of its folders into a local one; the copy's path."""
        target = folder / name
        target.mkdir(parents=True)
        fs, root = fsspec.core.url_to_fs(self.place)
        for file in fs.ls(f"{root}/{name}", detail=False):
            (target / file.rstrip("/").rpartition("/")[2]).write_bytes(fs.cat_file(file))
        return target


def open_finished(place: str) -> Finished:
    """The output at a path or fsspec URL, which is only read.

    Raises `BadConfig` if the training has not finished, `StoreUnavailable` if that can't be seen.
    """
    try:
        fs, root = fsspec.core.url_to_fs(place)
        if not fs.exists(f"{root}/{DONE}"):
            raise Failure("BadConfig", f"{place} holds no {DONE}: the training has not finished")
        return Finished(place, json.loads(fs.cat_file(f"{root}/{METRICS}")))
    except FileNotFoundError as error:
        raise Failure("BadConfig", f"{place} holds no {METRICS}") from error
    except (ImportError, ValueError, OSError) as error:
        raise Failure("StoreUnavailable", f"cannot read {place}: {explain(error).message}") from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base with adapters on it by name, its tokenizer, and the tokens that end each adapter's answers."""

    model: Any
    tokenizer: Any
    end_tokens: Mapping[str, list[int]]


def load_adapters(outputs: Mapping[str, Finished], device: Any) -> Loaded:  # noqa: ANN401
    """The base with every adapter on it; the first adapter is the active one.

    Raises `UnknownModel` where the weights of the base or of an adapter are not whole.
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from .model import expect_same_keys

    logging.disable_progress_bar()
    first = next(iter(outputs))
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the libraries talking to each other
        base = _base(outputs[first], Path(scratch), device)
        folders = {name: output.copy(ADAPTER, Path(scratch) / name) for name, output in outputs.items()}
        model = PeftModel(base, PeftConfig.from_pretrained(str(folders[first])), adapter_name=first)
        for name, folder in folders.items():
            found = model.load_adapter(str(folder), adapter_name=name)
            expect_same_keys(f"adapter {outputs[name].place}", found.missing_keys, found.unexpected_keys)
        model.set_adapter(first)
        ends = {name: _end_tokens(folder) for name, folder in folders.items()}
        return Loaded(model.eval(), AutoTokenizer.from_pretrained(folders[first]), ends)


def expect_one_base(outputs: Mapping[str, Finished]) -> None:
    """Raise `BadConfig` where they were not trained on one base."""
    one, *others = outputs.values()
    for other in others:
        ours, theirs = _named(one.settings), _named(other.settings)
        if ours != theirs:
            raise Failure(
                "BadConfig", f"{other.place} was trained on {theirs}, {one.place} on {ours}: serve them apart"
            )
        if one.settings.model == TINY_MODEL and _weights(one) != _weights(other):
            raise Failure("BadConfig", f"{other.place} and {one.place} made different bases: give them one seed")


def _end_tokens(folder: Path) -> list[int]:
    """As the training stored them, in the form that other servers read too."""
    from transformers import GenerationConfig

    tokens = GenerationConfig.from_pretrained(folder).eos_token_id
    return tokens if isinstance(tokens, list) else [tokens]


def _named(settings: Settings) -> str:
    return f"{settings.model}@{settings.model_revision}" if settings.model_revision else settings.model


def _base(trained: Finished, folder: Path, device: Any) -> Any:  # noqa: ANN401
    from .model import load_base, load_weights

    settings = trained.settings
    if settings.model != TINY_MODEL:
        plan = settings.training
        return load_base(settings.model, plan.seed, device, settings.model_revision, plan.quantization)[0]
    # As it was stored, not as the seed would make it.
    return load_weights(str(trained.copy(BASE, folder))).to(device)


def _weights(output: Finished) -> str:
    with TemporaryDirectory() as scratch:
        folder = output.copy(BASE, Path(scratch))
        return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.safetensors")))).hexdigest()
