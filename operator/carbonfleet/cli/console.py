"""How a command says something, how it ends when it can't go on, and who calls it."""

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from carbonfleet.cli.shown_console import ShownConsole


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Write a text with its control characters shown, since anybody may have written parts of it."""
    from carbonfleet.text import shown

    typer.echo(shown(str(text)), err=err, nl=nl)


def console(width: int = 160, *, markup: bool = False) -> "ShownConsole":
    """Where tables go: as wide as the terminal, and `width` columns wide where there is none."""
    from carbonfleet.cli.shown_console import ShownConsole

    found = ShownConsole(markup=markup)
    return found if found.is_terminal else ShownConsole(markup=markup, width=width)


def fail(error: Exception | str) -> NoReturn:
    """Say what is wrong, and end."""
    say(f"error: {_text(error)}", err=True)
    raise typer.Exit(2)


def _text(error: Exception | str) -> str:
    from pydantic import BaseModel, ValidationError

    from carbonfleet.api.problems import told

    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return told(error, BaseModel) if isinstance(error, ValidationError) else str(error)


def person(said: str) -> tuple[str, str]:
    """Name and email from `NAME <EMAIL>`, or from git's own settings. Ends the command where nobody says it."""
    if not said:
        ask = ["git", "var", "GIT_AUTHOR_IDENT"]
        try:
            answer = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            answer = ""
        said = answer.rpartition(">")[0] + ">"
    found = re.fullmatch(r"([^<>\n]+) <([^<>\s]+)>", said.strip())
    if found is None:
        fail("say who you are as 'NAME <EMAIL>', or git config --global user.name and user.email")
    return found[1], found[2]


def git(folder: Path, *arguments: str) -> None:
    """Run git in a person's checkout. Ends the command with its words where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        fail(f"git {arguments[0]} in {folder}: {done.stderr.strip()}")
