"""Which tokens the model can take, and which end an answer."""

from datetime import UTC, datetime
from typing import Any

from ..data import Data, Template, end_of_answer
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
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    end_of_turn = [token for token in (_after_answer(tokenizer) or [])[:1] if token in special]
    return sorted({token for token in (tokenizer.eos_token_id, *several, *end_of_turn) if token is not None})


def expect_answers_end(base: Any, tokenizer: Any) -> None:  # noqa: ANN401
    """Raise `UnknownModel` where the template writes none of the end tokens after an answer: none would ever end."""
    written = _after_answer(tokenizer)
    if written is not None and not set(written) & set(end_tokens(base, tokenizer)):
        what_to_do = "Let its chat template write the eos_token, or another special token, there"
        raise Failure(
            "UnknownModel", f"the model's chat template ends an answer with no token to stop at. {what_to_do}"
        )


def _after_answer(tokenizer: Any) -> list[int] | None:  # noqa: ANN401
    return end_of_answer(Template(tokenizer, datetime.now(UTC)))
