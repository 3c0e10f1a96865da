"""Examples as the rows of forward passes, with as little padding as their lengths allow."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from .examples import IGNORED, Example

PASS_TOKENS = 64
"""What a pass forward and backward costs beside its tokens, in tokens: measured with the tiny model on a CPU."""
Row = Sequence[Example]
"""Samples that stand end to end in one row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one forward pass, padded on the right: a causal model's tokens see nothing that comes after them, so
    that no mask need hide the padding."""

    input_ids: torch.Tensor
    """(rows, longest)"""
    position_ids: torch.Tensor | None
    """(rows, longest), beginning at 0 with each sample and with the padding; None where no row has more than one."""
    places: torch.Tensor
    """(learned,) where the next token is learned, counted through the rows."""
    targets: torch.Tensor
    """(learned,) that token."""

    @property
    def computed_tokens(self) -> int:
        """How many tokens pass through the model, padding included."""
        return self.input_ids.numel()


def batches(
    examples: Sequence[Example], size: int, pad: int, device: torch.device, *, packing: bool = False
) -> Iterator[Batch]:
    """All examples in batches of at most `size` rows, those of similar length together.

    The longest come first, so that memory that does not suffice ends a run at its first step.
    """
    ordered = sorted(examples, key=lambda example: -len(example.ids))
    rows = packed(ordered) if packing else [[example] for example in ordered]
    first = 0
    for count in cuts([sum(len(example.ids) for example in row) for row in rows], size):
        yield batch(rows[first : first + count], pad, device)
        first += count


def cuts(lengths: Sequence[int], size: int) -> list[int]:
    """How many rows, ordered from long to short, go into each batch, so that all cost the least.

    A batch costs its tokens, padding included, and what a pass costs in itself. The cheapest cuts of the first rows
    are found from those of fewer, by dynamic programming in O(rows * size).
    """
    longest, rows = np.array(lengths), len(lengths)
    cost, last = np.zeros(rows + 1, int), np.zeros(rows + 1, int)
    for end in range(1, rows + 1):
        begins = np.arange(max(0, end - size), end)
        costs = cost[begins] + (end - begins) * longest[begins] + PASS_TOKENS
        last[end] = begins[costs.argmin()]
        cost[end] = costs.min()
    found, end = [], rows
    while end:
        found.append(end - int(last[end]))
        end = int(last[end])
    return found[::-1]


def packed(examples: Sequence[Example]) -> list[list[Example]]:
    """Examples, ordered from long to short, end to end in rows no longer than the first.

    Best-fit decreasing: each goes into the row that it leaves the least room in, or begins a new one. It takes about
    11/9 of the fewest rows possible at most, in O(n log n) (D. S. Johnson, 1973). The rows are as long as the longest
    example, not as the sequence may be: attention grows with the square of their length.
    """
    rows: list[list[Example]] = []
    room: list[tuple[int, int]] = []  # the tokens left in a row, and its number
    for example in examples:
        length = len(example.ids)
        found = bisect_left(room, (length, 0))
        if found == len(room):
            left, number = len(examples[0].ids), len(rows)
            rows.append([])
        else:
            left, number = room.pop(found)
        rows[number].append(example)
        insort(room, (left - length, number))
    return rows


def batch(rows: Sequence[Row], pad: int, device: torch.device) -> Batch:
    """One batch of these rows."""
    lengths = [sum(len(example.ids) for example in row) for row in rows]
    longest = max(lengths)
    ids = [
        [*chain.from_iterable(e.ids for e in row), *[pad] * (longest - n)] for row, n in zip(rows, lengths, strict=True)
    ]
    learned = [
        (number * longest + place - 1, label)
        for number, row in enumerate(rows)
        for place, label in enumerate(chain.from_iterable(example.labels for example in row))
        if label != IGNORED
    ]
    places, targets = torch.tensor(learned).T
    positions = None
    if any(len(row) > 1 for row in rows):
        spans = [[*(len(example.ids) for example in row), longest - n] for row, n in zip(rows, lengths, strict=True)]
        positions = torch.tensor([[*chain.from_iterable(map(range, each))] for each in spans]).to(device)
    return Batch(torch.tensor(ids).to(device), positions, places.to(device), targets.to(device))
