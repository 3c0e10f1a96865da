"""Instruction data: rows are read and checked, shaped into chats, tokenized, split, and dealt out in a fixed order."""

from .chats import data_digest
from .examples import IGNORED, Data, Example, batch, expect_same_data, load_data
from .template import Template, end_of_answer
from .tiny import tiny_instructions

__all__ = [
    "IGNORED",
    "Data",
    "Example",
    "Template",
    "batch",
    "data_digest",
    "end_of_answer",
    "expect_same_data",
    "load_data",
    "tiny_instructions",
]
