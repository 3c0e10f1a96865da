"""Rules that give a configuration its tier: fields compared with values, and no code in the file."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from pydantic import Field, PlainValidator, field_validator

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


def plain_value(value: object) -> Value:
    """A number or a word; `1e-4` as a number: YAML 1.1 reads it as text, for want of a dot. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a number or a word, not {value!r:.40}")
    return value


def one_or_several(value: object) -> Value | tuple[Value, ...]:
    """A plain value, or a list of at least one. Raises ValueError."""
    if not isinstance(value, list | tuple):
        return plain_value(value)
    if not value:
        raise ValueError("is an empty list; write at least one value")
    return tuple(map(plain_value, value))


Scalar = Annotated[Value, PlainValidator(plain_value)]
Scalars = Annotated[Value | tuple[Value, ...], PlainValidator(one_or_several)]


class Rule(Wire):
    """A tier for the configurations in which every field of `match` holds."""

    match: dict[str, Scalars] = Field(default_factory=dict)
    """Fields and what they must be: a value, a list of which any will do, or a comparison such as ">= 0.15".

    Left empty, the rule takes every configuration.
    """
    tier: Name
    """The tier, as `tiers` names it."""

    @field_validator("match")
    @classmethod
    def _comparisons_are_whole(cls, match: dict[str, Scalars]) -> dict[str, Scalars]:
        for field, test in match.items():
            if isinstance(test, str) and test[:1] in "<>=!" and not _COMPARED.fullmatch(test):
                raise ValueError(f'{field}: "{test}" compares with nothing; write <, <=, >, >= or != and a number')
        return match

    def takes(self, values: Mapping[str, Value]) -> bool:
        """Whether the rule speaks of a configuration; a field that it does not have never matches."""
        return all(field in values and _holds(test, values[field]) for field, test in self.match.items())


def _holds(test: Value | tuple[Value, ...], value: Value) -> bool:
    if isinstance(test, tuple):
        return value in test
    compared = _COMPARED.fullmatch(test) if isinstance(test, str) else None
    if compared is None:
        return value == test
    return not isinstance(value, str) and _COMPARISONS[compared[1]](value, float(compared[2]))
