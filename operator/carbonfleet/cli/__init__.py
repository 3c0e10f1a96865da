"""The `carbonfleet` command, also as `kubectl carbonfleet`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from carbonfleet.cli.commands import ASK_THE_STACK, Root
from carbonfleet.cli.console import ExitCode, say

PLUGIN: Final = "kubectl-carbonfleet"
"""How kubectl finds what answers `kubectl carbonfleet`."""
app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes: {'; '.join(f'{code.value} {code.about}' for code in ExitCode)}.",
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        say(f"carbonfleet {version('carbonfleet')}")
        raise typer.Exit


@app.callback()
def carbonfleet(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Place LoRA training jobs where, and when, the electricity is clean."""
    if context.invoked_subcommand in ASK_THE_STACK:
        from carbonfleet.cli.stack.running import use_running_stack

        use_running_stack()


def main() -> None:
    """Run the command line."""
    # Fits are small, and threads for them spin and wait: worst in a container that may use fewer cores than it sees.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app(prog_name="kubectl carbonfleet" if Path(sys.argv[0]).name == PLUGIN else None)


def complete_for_kubectl() -> None:
    """Answer `kubectl carbonfleet ...<Tab>`, which calls this with the words so far, as Cobra's commands do.

    A line for each word that may follow, with what it means behind a tab, then `:4`, or `:0` where it may be a file.
    """
    import io
    from contextlib import redirect_stdout, suppress

    asked = " ".join(["carbonfleet", *sys.argv[1:]])
    os.environ |= {"_TYPER_COMPLETE_ARGS": asked, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    os.environ["_CARBONFLEET_COMPLETE"] = "complete_fish"
    with redirect_stdout(io.StringIO()) as found, suppress(SystemExit):
        app(prog_name="carbonfleet")
    text = found.getvalue().rstrip("\n")
    say(f"{text}\n:4" if text else ":0")
