"""A command whose options are the fields of a settings model."""

import inspect
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from carbonfleet.settings import PREFIX, Settings

Model = TypeVar("Model", bound=Settings)
FILE = Annotated[
    Path | None,
    typer.Option("--settings", envvar=f"{PREFIX}SETTINGS", help="A YAML file with any of these, as name: value."),
]


def command(
    app: typer.Typer, name: str, model: type[Model], run: Callable[..., None], hidden: Collection[str] = ()
) -> None:
    """Add a command that loads settings and runs with them. Its help, and options beside the settings, are `run`'s.

    Settings that are `hidden` are no options.
    """
    beside = [each.replace(kind=each.KEYWORD_ONLY) for each in list(inspect.signature(run).parameters.values())[1:]]

    def invoke(settings: Path | None = None, **flags: Any) -> None:  # noqa: ANN401 - of the fields' types
        from carbonfleet.cli.console import fail

        own = {each.name: flags.pop(each.name) for each in beside}
        try:
            loaded = model.load({name: value for name, value in flags.items() if value is not None}, settings)
        except (OSError, ValueError) as error:
            fail(error)
        run(loaded, **own)

    fields = {
        name: field for name, field in model.model_fields.items() if not (field.json_schema_extra or name in hidden)
    }
    parameters = [_parameter(name, field) for name, field in fields.items()]
    file = inspect.Parameter("settings", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=FILE)
    signature = inspect.Signature([*parameters, file, *beside])
    invoke.__signature__ = signature  # type: ignore[attr-defined]  # Typer reads the options there
    invoke.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    invoke.__doc__ = run.__doc__
    app.command(name)(invoke)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    alias = field.validation_alias
    variable = str(alias.choices[-1]) if alias is not None and hasattr(alias, "choices") else f"{PREFIX}{name.upper()}"
    default = "" if field.is_required() or field.default in (None, "") else f" [default: {_plain(field.default)}]"
    needed = " [required]" if field.is_required() else ""
    kind = _flag_type(field.annotation)
    one_of = f" One of {', '.join(kind)}." if issubclass(kind, StrEnum) else ""
    # Rich takes a word in brackets for markup, and leaves it out.
    text = f"{field.description}{one_of} [{variable}]{default}{needed}".replace("[", r"\[")
    metavar = "<str>" if one_of else None  # the choices' names would leave no width for variables at 80 columns
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False, metavar=metavar)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag_type(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Of `X | None`, X."""
    if get_origin(annotation) in (Union, type(int | str)):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _plain(value: object) -> object:
    return getattr(value, "value", value)
