"""What is wrong with an object, in words for the person who wrote it."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]
_WORDS: Final = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must hold fields",
    "model_type": "must hold fields",
    "model_attributes_type": "must hold fields",
}
_SHOULD: Final = re.compile(r"^(?:Value error, |(?:Input|String|List|Tuple|Value|Data|Dictionary) should )")


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    """Each field at fault and what is wrong with it; a field that does not exist beside the one that it is like."""
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        location, kind = item["loc"], item["type"]
        if kind == "extra_forbidden":
            yield location, f"no such field{_meant(model, location)}"
        elif kind in _WORDS:
            yield location, _WORDS[kind]
        else:
            yield location, _SHOULD.sub(lambda found: "must " if "should" in found[0] else "", item["msg"])


def told(error: ValidationError, model: type[BaseModel], most: int = 5) -> str:
    """The first few of them in one line: `spec.reviw: no such field (did you mean review?); ...`."""
    found = [f"{field}: {what}" if (field := name_of(where)) else what for where, what in problems_of(error, model)]
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return "; ".join(found[:most] + more)


def name_of(location: Sequence[str | int]) -> str:
    """A field as kubectl names it: `spec.pools[0].name`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _meant(model: type[BaseModel], location: Location) -> str:
    models = [model]
    for part in location[:-1]:
        if isinstance(part, str):
            models = [inner for each in models for inner in _inside(each, part)] or models
    names = sorted({field.alias or name for each in models for name, field in each.model_fields.items()})
    close = get_close_matches(str(location[-1]), names, n=1) or _elsewhere(model, location)
    return f" (did you mean {close[0]}?)" if close else ""


def _elsewhere(model: type[BaseModel], location: Location) -> list[str]:
    """The one place under the same first field, of those least deep, where a field has that very name: `maxCostUsd`."""
    within, wanted = location[:1] if len(location) > 1 else (), str(location[-1])
    level = [(within, inner) for inner in (_inside(model, str(within[0])) if within else [model])]
    while level:
        fields = {
            (*path, field.alias or name): field for path, each in level for name, field in each.model_fields.items()
        }
        found = [path for path in fields if path[-1] == wanted]
        if found:
            return [name_of(found[0])] if len(found) == 1 else []
        level = [(path, inner) for path, field in fields.items() for inner in _models_in(field.annotation)]
    return []


def _inside(model: type[BaseModel], part: str) -> list[type[BaseModel]]:
    fields = (field for name, field in model.model_fields.items() if part in (name, field.alias))
    return [found for field in fields for found in _models_in(field.annotation)]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any type that a field may have
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
