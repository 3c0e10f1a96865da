"""Instruction data: rows are read and checked, shaped into chats, tokenized, split, and dealt out in a fixed order."""

from .batches import Batch, batch, batches
from .chats import data_digest
from .examples import IGNORED, Data, Example, expect_same_data, load_data
from .order import Order
from .rows import BadRow
from .special_tokens import TextEncoder
from .template import Template, end_of_answer
from .tiny import tiny_instructions

__all__ = [
    "IGNORED",
    "BadRow",
    "Batch",
    "Data",
    "Example",
    "Order",
    "Template",
    "TextEncoder",
    "batch",
    "batches",
    "data_digest",
    "end_of_answer",
    "expect_same_data",
    "load_data",
    "tiny_instructions",
]
