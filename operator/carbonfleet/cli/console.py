"""How a command says something, how it ends when it can't go on, and who calls it."""

import re
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

import typer

if TYPE_CHECKING:
    import threading

    from carbonfleet.cli.shown_console import ShownConsole


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    about: str

    def __new__(cls, code: int, about: str) -> Self:
        """A code, and what it says."""
        made = int.__new__(cls, code)
        made._value_, made.about = code, about
        return made

    DONE = 0, "done, and nothing is wrong"
    WRONG = 1, "something that was looked at is not in order or can't be read; the rest was shown"
    FAILED = 2, "the command could not do it: a wrong option, or what it asks did not answer"
    BLOCKED = 3, "a job that the API would take has no place in the fleet"
    LATER = 75, "not now: `when` says the start"
    INTERRUPTED = 130, "Ctrl-C before the end"


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Write a text with its control characters shown, since anybody may have written parts of it."""
    from carbonfleet.text import shown

    typer.echo(shown(str(text)), err=err, nl=nl)


def console(*, markup: bool = False) -> "ShownConsole":
    """Where tables go: as wide as the terminal; in a file or pipe, each line as long as what it holds."""
    from carbonfleet.cli.shown_console import UNBOUNDED, ShownConsole

    found = ShownConsole(markup=markup)
    return found if found.is_terminal else ShownConsole(markup=markup, width=UNBOUNDED)


def fail(error: Exception | str) -> NoReturn:
    """Say what is wrong, and end."""
    say(f"error: {_text(error)}", err=True)
    raise typer.Exit(ExitCode.FAILED)


def _text(error: Exception | str) -> str:
    from pydantic import BaseModel, ValidationError

    from carbonfleet.api.problems import told

    if said := getattr(error, "for_people", ""):
        return str(said)
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


def stop_event() -> "threading.Event":
    """An event that SIGTERM and SIGINT set."""
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
