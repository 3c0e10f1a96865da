"""Instruction data made from a seed, for where there is no network."""

import random

_ANIMALS = "ant bear cat cow crow dog elk fox frog goat hare hen horse mole owl pig sheep toad wolf"
_COLOURS = "amber black blue brown green grey pink red white yellow"


def tiny_instructions(count: int, seed: int) -> list[dict[str, str]]:
    """`count` questions and answers: sums, comparisons, sentences to write and words to repeat."""
    draw = random.Random(seed)  # noqa: S311  # data, not a secret
    return [_instruction(draw) for _ in range(count)]


def _instruction(draw: random.Random) -> dict[str, str]:
    a, b = draw.randrange(100), draw.randrange(100)
    thing = f"{draw.choice(_COLOURS.split())} {draw.choice(_ANIMALS.split())}"
    prompt, response = draw.choice(
        [
            (f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}."),
            (f"Which is larger, {a} or {b}?", f"The larger of the two is {max(a, b)}."),
            (
                f"Write a sentence about {a} of the {thing}.",
                f"There are {a} of the {thing} in the field today.",
            ),
            (f"Repeat three times: {thing} {b}", f"{thing} {b}, {thing} {b}, {thing} {b}."),
        ]
    )
    return {"prompt": prompt, "response": response}
