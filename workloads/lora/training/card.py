"""The adapter's model card, in PEFT's layout, with what training it emitted as the Hugging Face hub reads it."""

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from huggingface_hub import EvalResult, ModelCardData

from ..settings import Settings

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""How the hub names models and data sets; a path is none of them, and names files that nobody else has."""
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$@:-])")
_WORDS: Final = {
    "cluster": "cluster",
    "region": "region",
    "zone": "zone",
    "gpu_type": "gpuType",
    "source": "source",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run is and on what, as `LORA_PLACEMENT` says; what it does not say is empty, or None."""

    cluster: str = ""
    region: str = ""
    zone: str = ""
    gpu_type: str = ""
    source: str = ""
    """Who expected the grid's intensity."""
    gpus: int = 0
    is_simulated: bool = False
    watts: float | None = None
    """Of its GPUs and hosts, by their profiles."""
    pue: float | None = None
    grams_per_kwh: float | None = None
    """CO2 equivalent, expected when it was placed."""

    @classmethod
    def read(cls, text: str) -> "Placement":
        """What JSON says; figures and words that are none count as not said."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            return cls()
        words = {name: plain(said[key]) for name, key in _WORDS.items() if isinstance(said.get(key), str)}
        return cls(
            **words,
            gpus=int(_figure(said.get("gpus")) or 0),
            is_simulated=said.get("simulated") is True,
            watts=_figure(said.get("watts")),
            pue=_figure(said.get("pue")),
            grams_per_kwh=_figure(said.get("gramsPerKwh")),
        )

    @property
    def location(self) -> str:
        """For people: `europe-north1, grid zone NO-NO1`."""
        return ", ".join(filter(None, [self.region, f"grid zone {self.zone}" if self.zone else ""]))


def model_card(settings: Settings, numbers: Mapping[str, Any], seconds: float) -> str:
    """The card of an adapter that was trained for so long; `numbers` are its metrics."""
    placement = Placement.read(os.environ.get("LORA_PLACEMENT", ""))
    used = _Used.of(numbers, placement, seconds)
    return f"---\n{_metadata(settings, numbers, placement, used)}\n---\n\n{_text(settings, numbers, placement, used)}"


@dataclass(frozen=True, slots=True)
class _Used:
    """Energy and what it emitted, as far as either is known here, and in a sentence how."""

    kwh: float | None
    grams: float | None
    how: str

    @classmethod
    def of(cls, numbers: Mapping[str, Any], placement: Placement, seconds: float) -> "_Used":
        """As measured, or else by the profiles of what it ran on."""
        kwh, how = numbers["energy_kwh"], f"measured by {numbers['energy_source']}"
        if kwh is not None:
            kwh += numbers["host_energy_kwh"] or 0.0
            share = numbers["energy_estimated_share"]
            how += f", {share:.0%} of it filled".replace("%", " %") if share else ""
        elif placement.watts is not None and not placement.is_simulated:
            kwh, how = placement.watts * seconds / 3_600_000, "estimated from the hardware's power"
        if kwh is None or placement.grams_per_kwh is None:
            return cls(kwh, None, how)
        grams = kwh * (placement.pue or 1.0) * placement.grams_per_kwh
        by = f" ({placement.source})" if placement.source else ""
        factors = f"PUE {placement.pue or 1.0:g} and {placement.grams_per_kwh:.4g} gCO2e/kWh"
        return cls(kwh, grams, f"{kwh:.4g} kWh {how}, times {factors} as expected when it was placed{by}")


def _metadata(settings: Settings, numbers: Mapping[str, Any], placement: Placement, used: _Used) -> str:
    base, data = _repository(settings.model), _repository(settings.dataset.name)
    is_scored = data is not None and numbers["validation_loss"] is not None
    card = ModelCardData(
        base_model=base,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "transformers", *([f"base_model:adapter:{base}"] if base else [])],
        datasets=[data] if data else None,
        model_name="LoRA adapter" if is_scored else None,
        eval_results=[_result(data, numbers["validation_loss"])] if data and is_scored else None,
    )
    if used.grams is not None:
        emitted = {
            "emissions": float(f"{used.grams:.6g}"),
            "source": f"carbonfleet: {used.how}; its ledger has what the grid really emitted",
            "training_type": "fine-tuning",
            "geographical_location": placement.location or None,
            "hardware_used": _hardware(placement),
        }
        card["co2_eq_emissions"] = {name: value for name, value in emitted.items() if value is not None}
    return str(card.to_yaml())


def _result(data: str, loss: float) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type=data,
        dataset_name=f"{data}, a fifth held back",
        metric_type="loss",
        metric_name="validation loss, nats per response token",
        metric_value=loss,
    )


def _text(settings: Settings, numbers: Mapping[str, Any], placement: Placement, used: _Used) -> str:
    data = settings.dataset.name or settings.dataset.path or ""
    lines = [
        "# LoRA adapter",
        "",
        f"Trained on {escaped(settings.model)} with {escaped(data)}.",
        "",
        "| | |",
        "|---|---|",
        f"| rank, alpha, dropout | {settings.lora.rank}, {settings.lora.alpha:g}, {settings.lora.dropout:g} |",
        f"| learning rate, steps | {settings.training.learning_rate:g}, {numbers['step']} |",
        f"| validation loss before and after | {_or_dash(numbers['initial_validation_loss'])},"
        f" {_or_dash(numbers['validation_loss'])} |",
        f"| trained on | {escaped(_hardware(placement))} |",
        f"| place | {escaped(', '.join(filter(None, [placement.cluster, placement.location]))) or 'not known'} |",
        f"| energy | {'not measured' if used.kwh is None else f'{used.kwh:.4g} kWh'} |",
        f"| emitted | {'not known here' if used.grams is None else f'{used.grams:.4g} gCO2e'} |",
        "",
        "## Energy and emissions",
        "",
        _sentence(used),
        "They are of the attempt that finished: machines in their building, without earlier attempts, moving data and "
        "the making of the hardware. carbonfleet's ledger has those, and what the grid really emitted.",
        "",
    ]
    return "\n".join(lines)


def _sentence(used: _Used) -> str:
    if used.kwh is None:
        return "No meter measured this training."
    if used.grams is None:
        return f"Its energy was {used.how}; what a kWh emitted there was not known to it."
    return f"Emissions are {escaped(used.how)}."


def _hardware(placement: Placement) -> str:
    """The GPUs that trained, or were declared, or the CPUs."""
    if placement.is_simulated:
        return f"CPU, in place of {placement.gpus} simulated {placement.gpu_type or 'GPUs'}"
    if torch.cuda.is_available():
        return f"{placement.gpus or torch.cuda.device_count()} x {plain(torch.cuda.get_device_name())}"
    return "CPU"


def _repository(name: str | None) -> str | None:
    """A name on the hub; None for a path."""
    return name if name is not None and _REPOSITORY.fullmatch(name) else None


def _or_dash(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4g}"


def _figure(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= sys.float_info.max and math.isfinite(value) else None


def plain(text: str) -> str:
    """One line without control characters, shortened; half of a surrogate pair, which no file can hold, becomes `?`."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(character for character in line if character.isprintable())[:200]


def escaped(text: str) -> str:
    """Text as Markdown shows it: no markup, no HTML, no link, no new line or cell."""
    shown = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", shown)
