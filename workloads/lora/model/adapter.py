"""The adapter that is trained, put onto the base model."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from ..failure import Failure, brief
from ..settings import Settings

_IN_BLOCK = re.compile(r"\.\d+\.")
"""Blocks are numbered in a module's path: `model.layers.3.mlp.up_proj`."""


def with_adapter(base: Any, settings: Settings, device: torch.device) -> Any:  # noqa: ANN401
    """The base with a new LoRA adapter on the target modules, or on every linear layer of its blocks.

    Raises `BadConfig` if it lacks any of the target modules, or can't have an adapter there.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    lora = settings.lora
    if lora.target_modules is not None:
        _expect_modules(base, lora.target_modules)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        lora_dropout=lora.dropout,
        # PEFT's "all-linear" knows the experts too that a model holds in one parameter; it leaves out the head.
        target_modules="all-linear" if lora.target_modules is None else list(lora.target_modules),
        exclude_modules=[path for path in _linear(base) if not _IN_BLOCK.search(path)]
        if lora.target_modules is None
        else None,
    )
    torch.manual_seed(settings.training.seed)
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise Failure("BadConfig", _why_not(error, lora.dropout)) from error
    model.peft_config["default"].base_model_name_or_path = settings.model
    model.peft_config["default"].revision = settings.model_revision
    if device.type == "cuda":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _why_not(error: ValueError, dropout: float) -> str:
    if "dropout" in str(error):
        return (
            f"lora.dropout: {dropout:g}, and the model holds the experts of a block in one parameter, where PEFT knows "
            "no dropout. Set it to 0, or name lora.target_modules without experts, such as q_proj and v_proj"
        )
    return f"lora.target_modules: {brief(error).rstrip('.')}. Name others"


def adapted_modules(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """How many modules of each name have an adapter, and how many parameters are trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    names: Counter[str] = Counter()
    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            name = path.replace(".base_layer", "").rpartition(".")[2]
            parameter = getattr(module, "parameter_name", None)  # of experts that are one parameter
            names[f"{name}.{parameter}" if parameter else name] += 1
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"modules": dict(sorted(names.items())), "parameters": trained}


def _expect_modules(base: Any, targets: Iterable[str]) -> None:  # noqa: ANN401
    """PEFT is content if one name matches, and passes over the others; names match at the end of a module's path."""
    paths = [f".{path}" for path, _ in base.named_modules()]
    unknown = [target for target in targets if not any(path.endswith(f".{target}") for path in paths)]
    if unknown:
        known = ", ".join(sorted({path.rpartition(".")[2] for path in _linear(base)}))
        raise Failure("BadConfig", f"lora.target_modules: the model has no {', '.join(unknown)[:500]}; it has {known}")


def _linear(base: Any) -> list[str]:  # noqa: ANN401
    """The paths of its linear layers but for the head."""
    head = base.get_output_embeddings()
    kinds = torch.nn.Linear | Conv1D
    return [path for path, module in base.named_modules() if isinstance(module, kinds) and module is not head]
