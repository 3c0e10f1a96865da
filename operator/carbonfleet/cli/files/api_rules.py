"""What the Kubernetes API would say of an object by its CustomResourceDefinition, asked without a server."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from carbonfleet.api.crd import RESOURCES, manifest
from carbonfleet.api.problems import Location, name_of, problems_of
from carbonfleet.cli.files.findings import FileFinding, Severity
from carbonfleet.yaml_reader import FileProblem, YamlDocument, empty_fields
from kubeapi.errors import OMITTED, FieldError
from kubeapi.registry import dry_run, resource_of
from kubeapi.schema import NOT_CHECKED, NOT_EVALUATED

MODELS: Final[dict[str, type[BaseModel]]] = {resource.model.__name__: resource.model for resource in RESOURCES}
"""By kind: what of ours the API serves."""
_SERVED: Final = {resource.model: resource_of(manifest(resource)) for resource in RESOURCES}
_EMPTY: Final = "is empty: write a value, or leave the field out"
_MOST_NAMED: Final = 20
"""Mistakes of one object that are listed."""


def read_object(document: YamlDocument, model: type[BaseModel]) -> tuple[BaseModel | None, list[FileFinding]]:
    """An object as the API would store it and the hub then read it, with what is doubtful of it.

    None, with all that is wrong, where the API would refuse it.
    """
    stored, refused = dry_run(_SERVED[model], document.data)
    empty = set(empty_fields(document.data))
    if not refused:
        try:
            found = model.model_validate(stored)
            return found, _findings(Severity.WARNING, document, ((at, _EMPTY) for at in empty))
        except ValidationError as error:
            return None, _findings(Severity.ERROR, document, problems_of(error, model))
    return None, _findings(Severity.ERROR, document, _mistakes(document.data, model, refused, empty))


def _mistakes(
    data: dict[str, Any], model: type[BaseModel], refused: Iterable[FieldError], empty: set[Location]
) -> Iterator[tuple[Location, str]]:
    """Each field at fault, in the words of the models where they have any and of the API where not."""
    told = list(_model_problems(data, model))
    fields = {_field(at) for at, _ in told}
    messages = {said for at, why in told for said in (why, f"{name_of(at)} {why}")}
    yield from told
    for error in refused:
        at, is_rule = _location(error), error.value is OMITTED and error.reason == "FieldValueInvalid"
        is_told = error.detail in messages if is_rule else _field(at) in fields
        # A rule on a field that is missing or of another type says no more than what is told of that field.
        is_told |= is_rule and bool(told) and NOT_EVALUATED in error.detail
        if error is not NOT_CHECKED and not is_told:
            yield at, _EMPTY if at in empty else error.detail if is_rule else error.body


def _model_problems(data: dict[str, Any], model: type[BaseModel]) -> Iterator[tuple[Location, str]]:
    """What a model has against an object as it is written; nobody reads the status that is written."""
    try:
        model.model_validate({name: value for name, value in data.items() if name != "status"})
    except ValidationError as error:
        yield from problems_of(error, model)


def _location(error: FieldError) -> Location:
    """`spec.pools[0].name` in its parts."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", "" if error.field == "<nil>" else error.field)
    return tuple(int(index) if index else name for index, name in parts)


def _field(location: Location) -> Location:
    """The field that a location lies in: whether a list or one of its items is at fault is the same mistake."""
    while location and isinstance(location[-1], int):
        location = location[:-1]
    return location


def _findings(
    severity: Severity, document: YamlDocument, mistakes: Iterable[tuple[Location, str]]
) -> list[FileFinding]:
    problems = [document.problem(f"{name_of(at)}: {why}" if at else why, *at) for at, why in mistakes]
    problems.sort(key=lambda problem: problem.line)
    more = len(problems) - _MOST_NAMED
    rest = [FileProblem(document.path, problems[_MOST_NAMED].line, f"and {more} more")] if more > 0 else []
    return [FileFinding(severity, problem) for problem in (*problems[:_MOST_NAMED], *rest)]
