"""What is trained: the base model with its tokenizer, and the adapter on it."""

from .acceleration import compile_blocks, expect_possible
from .adapter import adapted_modules, with_adapter
from .base import expect_same_keys, load_base, load_weights
from .tokens import end_tokens, expect_answers_end, expect_tokens_fit

__all__ = [
    "adapted_modules",
    "compile_blocks",
    "end_tokens",
    "expect_answers_end",
    "expect_possible",
    "expect_same_keys",
    "expect_tokens_fit",
    "load_base",
    "load_weights",
    "with_adapter",
]
