"""The adapter that is trained, put onto the base model."""

from typing import Any

import torch

from ..failure import Failure, brief
from ..settings import Settings


def with_adapter(base: Any, settings: Settings, device: torch.device) -> Any:  # noqa: ANN401
    """The base with a new LoRA adapter; raise `BadConfig` if it has none of the target modules."""
    from peft import LoraConfig, TaskType, get_peft_model

    lora = settings.lora
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
    )
    torch.manual_seed(settings.training.seed)
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise Failure("BadConfig", f"lora.target_modules: {brief(error)}") from error
    model.peft_config["default"].base_model_name_or_path = settings.model
    if device.type == "cuda":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model
