"""The `carbonfleet` command; each package's commands load only when they are called."""

import inspect
import re
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from carbonfleet.cli import assess, backtest
from carbonfleet.cli.console import say
from carbonfleet.cli.files import crds, explain, policy, validate
from carbonfleet.cli.fleet import logs, report, repository, review, signals, status
from carbonfleet.cli.stack import demo, up
from carbonfleet.cli.sweeps import chat, serve, sweep


def _with_whole_paragraphs(command: Any) -> Any:  # noqa: ANN401 - Click's command, or None
    """A command whose paragraphs of help are a line each: Typer keeps a docstring's line ends, at any width."""
    if command is not None:
        command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))
        for each in getattr(command, "commands", {}).values():
            _with_whole_paragraphs(each)
    return command


class _Deferred(TyperGroup):
    """A group of commands whose options are read from settings models: its module loads when it is called."""

    def __init__(self, name: str, text: str, module: str) -> None:
        super().__init__(name=name, help=text, no_args_is_help=True)
        self._module = module

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Click's context
        return list(self._loaded().list_commands(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - Click's context and command
        return self._loaded().get_command(ctx, cmd_name)

    def _loaded(self) -> Any:  # noqa: ANN401 - Click's group
        return _with_whole_paragraphs(typer.main.get_command(import_module(self._module).app))


class _DeferredCommand(TyperCommand):
    """One such command."""

    def __init__(self, name: str, text: str, module: str) -> None:
        super().__init__(name=name, callback=None, help=text)
        self._module = module

    def make_context(self, *given: Any, **more: Any) -> Any:  # noqa: ANN401 - Click's
        """Of the command in its module."""
        return _with_whole_paragraphs(typer.main.get_command(import_module(self._module).app)).make_context(
            *given, **more
        )


_DEFERRED: Final = {
    str(group.name): group
    for group in (
        _DeferredCommand("doctor", "Check what the hub needs, and say what to do.", "carbonfleet.cli.doctor"),
        _Deferred("hub", "Run the operator on the hub cluster.", "carbonfleet.cli.hub"),
        _Deferred("install", "Print what is applied to a hub's or a spoke's cluster.", "carbonfleet.cli.install"),
        _Deferred("spoke", "Run the agent of a cluster that trains.", "carbonfleet.cli.spoke"),
    )
}


class _Root(TyperGroup):
    """All commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Click's context
        return [*_DEFERRED, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - Click's context and command
        return _DEFERRED.get(cmd_name) or _with_whole_paragraphs(super().get_command(ctx, cmd_name))


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(crds.app, name="crds")
app.add_typer(repository.app, name="fleet")
app.add_typer(policy.app, name="policy")
app.add_typer(review.app, name="review")
app.add_typer(signals.app, name="signals")
app.add_typer(report.app, name="report")
app.add_typer(sweep.app, name="sweep")
for command in (
    assess.assess,
    backtest.backtest,
    chat.chat,
    serve.serve,
    demo.demo,
    up.up,
    explain.explain,
    validate.validate,
    status.status,
    logs.logs,
):
    app.command()(command)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        say(f"carbonfleet {version('carbonfleet')}")
        raise typer.Exit


@app.callback()
def carbonfleet(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Place LoRA training jobs where, and when, the electricity is clean."""


def main() -> None:
    """Run the command line."""
    app()
