"""Instruction data: rows are read and checked, shaped into chats, tokenized, split, and dealt out in a fixed order."""

from .examples import IGNORED, Data, Example, batch, load_data
from .tiny import tiny_instructions

__all__ = ["IGNORED", "Data", "Example", "batch", "load_data", "tiny_instructions"]
