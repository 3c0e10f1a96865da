"""What is trained: the base model with its tokenizer, and the adapter on it."""

from .adapter import with_adapter
from .base import expect_same_keys, load_base, load_weights

__all__ = ["expect_same_keys", "load_base", "load_weights", "with_adapter"]
