"""The fixed order in which samples are drawn and dealt out: a function of a count and a seed."""

from functools import lru_cache

import torch


def indexes_of_step(step: int, size: int, count: int, seed: int) -> list[int]:
    """Which `size` of `count` samples step `step` (from 0) trains on: epoch after epoch, each shuffled.

    A function of its arguments alone, so a resumed run sees the order that an unbroken one would have.
    """
    positions = range(step * size, (step + 1) * size)
    return [shuffled(count, seed, position // count)[position % count] for position in positions]


@lru_cache(maxsize=2)
def shuffled(count: int, seed: int, turn: int) -> list[int]:
    """The numbers below `count` in an order that `seed` and `turn` decide."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + turn))
    return [int(i) for i in order]
