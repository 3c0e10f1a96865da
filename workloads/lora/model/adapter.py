"""The adapter that is trained, put onto the base model."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from ..failure import Failure, brief
from ..settings import Settings


def with_adapter(base: Any, settings: Settings, device: torch.device) -> Any:  # noqa: ANN401
    """The base with a new LoRA adapter; raise `BadConfig` if it lacks any of the target modules."""
    from peft import LoraConfig, TaskType, get_peft_model

    lora = settings.lora
    _expect_modules(base, lora.target_modules)
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
    model.peft_config["default"].revision = settings.model_revision
    if device.type == "cuda":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _expect_modules(base: Any, targets: Iterable[str]) -> None:  # noqa: ANN401
    """PEFT is content if one name matches, and passes over the others; names match at the end of a module's path."""
    paths = [f".{path}" for path, _ in base.named_modules()]
    unknown = [target for target in targets if not any(path.endswith(f".{target}") for path in paths)]
    if unknown:
        kinds, head = torch.nn.Linear | Conv1D, base.get_output_embeddings()
        linear = (path for path, module in base.named_modules() if isinstance(module, kinds) and module is not head)
        known = ", ".join(sorted({path.rpartition(".")[2] for path in linear}))
        raise Failure("BadConfig", f"lora.target_modules: the model has no {', '.join(unknown)[:500]}; it has {known}")
