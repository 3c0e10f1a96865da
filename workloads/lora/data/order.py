"""The fixed order in which samples are drawn and dealt out: a function of lengths and a seed."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import torch

WINDOW_STEPS = 50
"""Steps whose samples are grouped by length together; as in transformers' `LengthGroupedSampler`."""


@dataclass(frozen=True, eq=False, slots=True)
class Order:
    """Which samples each step trains on: epoch after epoch, each shuffled.

    A function of its fields alone, so a resumed run sees the order that an unbroken one would have.
    """

    lengths: tuple[int, ...]
    """Of each sample, in tokens."""
    samples_per_step: int
    seed: int
    group_by_length: bool = False

    def of_step(self, step: int) -> list[int]:
        """The numbers of the samples of step number `step` (from 0)."""
        count = len(self.lengths)
        positions = range(step * self.samples_per_step, (step + 1) * self.samples_per_step)
        return [_epoch(self, position // count)[position % count] for position in positions]


@lru_cache(maxsize=2)
def _epoch(order: Order, turn: int) -> list[int]:
    """Every sample once; grouped, those of a step are of similar length, and its steps come in no order of length."""
    size, drawn = order.samples_per_step, shuffled(len(order.lengths), order.seed, turn)
    if not order.group_by_length:
        return drawn
    first = -turn * len(drawn) % size  # ends the step that the epoch before began
    last = len(drawn) - (len(drawn) - first) % size  # begins one that the next will end
    if last <= first:
        return drawn
    whole, window = drawn[first:last], WINDOW_STEPS * size
    windows = [sorted(whole[at : at + window], key=order.lengths.__getitem__) for at in range(0, len(whole), window)]
    grouped = [*chain.from_iterable(windows)]
    steps = [grouped[at : at + size] for at in range(0, len(grouped), size)]
    dealt = [steps[number] for number in shuffled(len(steps), order.seed, turn)]
    return [*drawn[:first], *chain.from_iterable(dealt), *drawn[last:]]


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int, turn: int) -> list[int]:
    """The numbers below `count` in an order that `seed` and `turn` decide."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + turn))
    return [int(i) for i in order]
