"""The base model with its tokenizer, and the adapter put onto it."""

from typing import Any

import torch

from .failure import Failure, explain, is_out_of_memory
from .settings import TINY_MODEL, Settings
from .tiny import CHATML, tiny_model, tiny_tokenizer

_TOO_BIG = "Take a smaller model, or give it more memory"


def load_base(name: str, seed: int, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer by name or path, bf16 where the device has it; raise `UnknownModel`."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    if name == TINY_MODEL:
        return tiny_model(seed).to(device), tiny_tokenizer()
    try:
        model, tokenizer = _pretrained(name, device)
    except Exception as error:  # the hub client's, the file system's and the config's errors all mean the same here
        if is_out_of_memory(error):
            raise Failure(
                "OutOfMemory", f"model {name[:200]!r} does not fit into memory: {_brief(error)}. {_TOO_BIG}"
            ) from error
        if explain(error).reason == "DiskFull":
            raise
        raise Failure("UnknownModel", f"cannot load model {name[:200]!r}: {_brief(error)}") from error
    tokenizer.pad_token_id = next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)
    tokenizer.chat_template = tokenizer.chat_template or CHATML
    return model, tokenizer


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
        raise Failure("BadConfig", f"lora.target_modules: {_brief(error)}") from error
    model.peft_config["default"].base_model_name_or_path = settings.model
    if device.type == "cuda":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _pretrained(name: str, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16 if bf16 else torch.float32)
    return model.to(device), tokenizer


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
