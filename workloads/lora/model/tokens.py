"""Which tokens the model can take, and which end an answer."""

from datetime import UTC, datetime
from typing import Any

from ..data import Data, Template, end_of_turn
from ..failure import Failure


def expect_tokens_fit(base: Any, data: Data, sequence_length: int) -> None:  # noqa: ANN401
    """Raise `BadConfig` for more tokens than the model has positions, and for one that its vocabulary lacks."""
    positions = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and sequence_length > positions:
        what = f"training.sequence_length {sequence_length} is more than the {positions} positions of the model"
        raise Failure("BadConfig", f"{what}: lower it to {positions} at most")
    rows = base.get_input_embeddings().num_embeddings
    highest = max(data.pad, *(max(example.ids) for example in [*data.train, *data.validation]))
    if highest >= rows:
        what = f"the tokenizer makes token {highest}, and the vocabulary of the model ends at {rows - 1}"
        raise Failure("BadConfig", f"model: {what}. Take the tokenizer that belongs to the model")


def end_tokens(model: Any, tokenizer: Any) -> list[int]:  # noqa: ANN401
    """Where an answer ends: the tokenizer's end, those of the generation config, the template's end of turn."""
    declared = model.generation_config.eos_token_id
    several = declared if isinstance(declared, list) else [declared]
    found = {tokenizer.eos_token_id, end_of_turn(Template(tokenizer, datetime.now(UTC))), *several}
    return sorted(token for token in found if token is not None)
