"""What not every worker can do: refused by name where it can't be done, never left out in silence."""

from importlib.util import find_spec
from typing import Any

import torch

from ..failure import Failure
from ..settings import Training


def expect_possible(plan: Training, device: torch.device) -> None:
    """Raise `BadConfig` for a setting that this device, or what is installed, can't fulfil.

    On a CPU bitsandbytes 0.50 can infer in 4 bits, but not train after that.
    """
    for field, asked, package in (
        ("quantization", plan.quantization is not None, "bitsandbytes"),
        ("compile", plan.compile, "triton"),
    ):
        if asked and device.type != "cuda":
            raise Failure("BadConfig", f"training.{field}: it needs a CUDA GPU, and this worker has none. Leave it out")
        if asked and find_spec(package) is None:
            what_to_do = "Add it to the training image, or leave the setting out"
            raise Failure("BadConfig", f"training.{field}: it needs {package}, which is not installed. {what_to_do}")


def compile_blocks(model: Any) -> None:  # noqa: ANN401
    """Compile each block of the model in place: they are alike, so that one compilation serves all of them."""
    kinds = set(model.get_base_model()._no_split_modules or ())
    blocks = [module for module in model.modules() if type(module).__name__ in kinds]
    if not blocks:
        raise Failure("BadConfig", "training.compile: the model does not say what its blocks are. Leave it out")
    for block in blocks:
        block.compile(dynamic=True)
