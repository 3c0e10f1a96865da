"""What the model loses at each token that is learned, and whether samples that share a row are strangers to it."""

import inspect
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..data import IGNORED, Batch, Data, Example, batch
from ..failure import Failure, brief

ROUNDING = 2e-5, 0.05
"""The mean difference in nats of a token's loss that rounding explains, for types of 32 bits and of 16."""


def token_losses(model: Any, rows: Batch) -> torch.Tensor:  # noqa: ANN401
    """Cross-entropy of each response token, in one row.

    The head is given the places alone whose next token is learned: over a large vocabulary the others' logits would
    take more memory and time than many a block.
    """

    def learned(_: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:  # noqa: ANN401
        return (inputs[0].flatten(0, 1).index_select(0, rows.places)[None],)

    positions = {} if rows.position_ids is None else {"position_ids": rows.position_ids}
    hook = model.get_output_embeddings().register_forward_pre_hook(learned)
    try:
        logits = model(input_ids=rows.input_ids, **positions, use_cache=False).logits[0]
    finally:
        hook.remove()
    return cross_entropy(logits.float(), rows.targets, reduction="none")


def expect_packing(model: Any, data: Data, device: torch.device) -> None:  # noqa: ANN401
    """Raise `BadConfig` unless samples in one row have the losses that each has alone.

    A model must take positions that begin anew and carry no state along; whether it then heeds them, two samples tell.
    """
    base = model.get_base_model()
    if "position_ids" not in inspect.signature(base.forward).parameters:
        raise _unpackable("the model takes no positions")
    if getattr(base, "_is_stateful", False):
        raise _unpackable("the model carries a state from one token to the next")
    sample = min(data.train, key=lambda example: len(example.ids))
    one, another = (Example([token] * 8, [IGNORED] * 8) for token in (data.pad, sample.ids[-1]))
    model.eval()
    try:
        with torch.no_grad():
            alone, beside, beside_another = (
                token_losses(model, batch([row], data.pad, device))
                for row in ([sample], [one, sample], [another, sample])
            )
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _unpackable(f"the model refuses a row of two samples: {brief(error)}") from error
    exact, half = ROUNDING
    if not _mean_difference(beside, beside_another) <= exact:  # no rounding differs where all shapes are the same
        raise _unpackable("in the model a sample sees the one before it in its row")
    if not _mean_difference(alone, beside) <= (exact if base.dtype == torch.float32 else half):
        raise _unpackable("in the model a sample has another loss behind another than alone")


def _mean_difference(losses: torch.Tensor, others: torch.Tensor) -> float:
    return float((losses - others).abs().mean())


def _unpackable(why: str) -> Failure:
    return Failure("BadConfig", f"training.packing: {why}. Set it to false; group_by_length spares padding too")
