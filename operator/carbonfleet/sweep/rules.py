"""Rules that give a configuration its tier: fields compared with values, and no code in the file."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, field_validator

from carbonfleet.api.wire import Name, Wire

Value = int | float | str
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_NUMBER: Final = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_COMPARED: Final = re.compile(rf"(<=|>=|!=|<|>)\s*({_NUMBER})")


def plain_value(value: object) -> object:
    """`1e-4` as a number: YAML 1.1 reads it as text, for want of a dot."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number or a word, not {value}")
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        return float(value)
    return value


Scalar = Annotated[Value, BeforeValidator(plain_value)]
Test = Scalar | Annotated[tuple[Scalar, ...], Field(min_length=1)]
"""A value, a comparison such as ">= 0.15", or a list of values of which any will do."""


class Rule(Wire):
    """A tier for the configurations in which every field of `match` holds."""

    match: dict[str, Test] = Field(default_factory=dict)
    """Fields and what they must be; left empty, the rule takes every configuration."""
    tier: Name
    """The tier, as `tiers` names it."""

    @field_validator("match")
    @classmethod
    def _comparisons_are_whole(cls, match: dict[str, Test]) -> dict[str, Test]:
        for field, test in match.items():
            if isinstance(test, str) and test[:1] in "<>=!" and not _COMPARED.fullmatch(test):
                raise ValueError(f'{field}: "{test}" compares with nothing; write <, <=, >, >= or != and a number')
        return match

    def takes(self, values: Mapping[str, Value]) -> bool:
        """Whether the rule speaks of a configuration; a field that it does not have never matches."""
        return all(field in values and _holds(test, values[field]) for field, test in self.match.items())


def _holds(test: object, value: Value) -> bool:
    if isinstance(test, tuple):
        return value in test
    compared = _COMPARED.fullmatch(test) if isinstance(test, str) else None
    if compared is None:
        return value == test
    return not isinstance(value, str) and _COMPARISONS[compared[1]](value, float(compared[2]))
