"""The base model with its tokenizer, whole as it was stored."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from ..failure import Failure, brief, explain, is_out_of_memory
from ..host_limits import MODELS, allowed_name, expect_no_folder
from ..settings import TINY_MODEL
from .tiny import CHATML, tiny_model, tiny_tokenizer

_TOO_BIG = "Take a smaller model, or give it more memory"


def load_base(
    name: str, seed: int, device: torch.device, revision: str | None = None, quantization: str | None = None
) -> tuple[Any, Any]:
    """Model and tokenizer by name or path, bf16 where the device has it; raise `UnknownModel`.

    `revision` is a commit, tag or branch of the model's repository; None takes its newest. With `quantization` nf4 the
    linear layers of the blocks are held in 4 bits, as QLoRA does.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    if name == TINY_MODEL:
        return tiny_model(seed).to(device), tiny_tokenizer()
    name = allowed_name(name, MODELS)
    expect_no_folder(name, "model_revision", revision)
    try:
        model, tokenizer = _pretrained(name, device, revision, quantization)
    except Failure:
        raise
    except Exception as error:  # the hub client's, the file system's and the config's errors all mean the same here
        if is_out_of_memory(error):
            raise Failure(
                "OutOfMemory", f"model {name[:200]!r} does not fit into memory: {brief(error)}. {_TOO_BIG}"
            ) from error
        if explain(error).reason == "DiskFull":
            raise
        raise Failure("UnknownModel", f"cannot load model {name[:200]!r}: {brief(error)}") from error
    tokenizer.pad_token_id = next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)
    tokenizer.chat_template = tokenizer.chat_template or _chatml(tokenizer)
    return model, tokenizer


def load_weights(
    place: str,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    **more: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """The causal language model at a path or by name; raise `UnknownModel` unless its weights are all there.

    Keys that the model's class declares to be absent or superfluous, and tied weights that are stored once, are left
    out of what the library reports.
    """
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        place,
        revision=revision or "main",
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, by name
        **more,
    )
    what = f"model {place[:200]!r}"
    if others := [f"{name} of shape {list(stored)}, not {list(own)}" for name, stored, own in found["mismatched_keys"]]:
        raise Failure("UnknownModel", f"{what} holds {_some(sorted(others))}: its config.json is of another model")
    expect_same_keys(what, found["missing_keys"], found["unexpected_keys"])
    return model


def expect_same_keys(what: str, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Raise `UnknownModel` where stored weights lack some of the model's, which would be random, or have others."""
    lacks = [f"lacks the weights {_some(sorted(missing))}"] if missing else []
    holds = [f"holds weights that its architecture does not have, {_some(sorted(unexpected))}"] if unexpected else []
    if lacks or holds:
        what_to_do = "Another model than the one named would be trained: save or download it again, whole"
        raise Failure("UnknownModel", f"{what} {' and '.join([*lacks, *holds])}. {what_to_do}")


def _pretrained(name: str, device: torch.device, revision: str | None, quantization: str | None) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    _refuse_adapter(name, revision)
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision or "main")
    _expect_vocabulary(name, tokenizer)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if quantization is not None:
        return load_weights(name, dtype, revision, **_quantized(quantization, dtype, device)), tokenizer
    return load_weights(name, dtype, revision).to(device), tokenizer


def _quantized(kind: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """How the library shall quantize the weights while it loads them onto the device; it may not move them later."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _chatml(tokenizer: Any) -> str:  # noqa: ANN401
    """ChatML for a model without a template; turns end with the tokenizer's end where it lacks ChatML's own token."""
    ends = "<|im_end|>" in tokenizer.get_vocab() or tokenizer.eos_token is None
    return CHATML if ends else CHATML.replace("<|im_end|>", "{{ eos_token }}")


def _expect_vocabulary(name: str, tokenizer: Any) -> None:  # noqa: ANN401  # transformers is not typed
    """The library makes a tokenizer of special tokens alone for some models that are stored without one: no text, or
    the same token again and again, would train."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    if not set(tokenizer.get_vocab().values()) - special:
        what_to_do = "Store it beside the weights, as the tokenizer's save_pretrained does"
        raise Failure("UnknownModel", f"model {name[:200]!r} lacks the vocabulary of its tokenizer. {what_to_do}")


def _refuse_adapter(name: str, revision: str | None) -> None:
    """Libraries load the base of an adapter in its place, or with it: what trains then is not what was named."""
    from transformers.utils import find_adapter_config_file

    config = find_adapter_config_file(name, revision=revision)
    if config is None and not (Path(name) / "config.json").exists():  # but perhaps a finished training
        output = Path(name) / "adapter"
        config = find_adapter_config_file(str(output)) if output.is_dir() else None
    if config is None:
        return
    base = json.loads(Path(config).read_text()).get("base_model_name_or_path")
    raise Failure(
        "UnknownModel",
        f"model {name[:200]!r} is a finished adapter on {str(base)[:200]!r}, and a new one is trained on a base. "
        "Name that base as the model; or merge the adapter into it (PEFT's merge_and_unload, then save_pretrained of "
        "the model and the tokenizer), and name the merged folder",
    )


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{', '.join(keys[:3])}{more}"
