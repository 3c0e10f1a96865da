"""How a command ends when it can't go on: one clear line, and exit code 2."""

from typing import NoReturn

import typer


def fail(error: Exception | str) -> NoReturn:
    """Say what is wrong, and end."""
    typer.echo(f"error: {_text(error)}", err=True)
    raise typer.Exit(2)


def _text(error: Exception | str) -> str:
    from pydantic import BaseModel, ValidationError

    from carbonfleet.api.problems import told

    return told(error, BaseModel) if isinstance(error, ValidationError) else str(error)
