"""How a command ends when it can't go on: one clear line, and exit code 2."""

from typing import NoReturn

import typer
from pydantic import ValidationError


def fail(error: Exception | str) -> NoReturn:
    """Say what is wrong, and end."""
    text = _of_validation(error) if isinstance(error, ValidationError) else str(error)
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(2)


def _of_validation(error: ValidationError) -> str:
    lines = []
    for item in error.errors()[:5]:
        where = ".".join(str(part) for part in item["loc"]) or "input"
        lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
