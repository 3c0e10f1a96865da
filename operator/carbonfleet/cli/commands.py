"""The root of the command line: each command's module loads when it is called, so that `--help` is quick."""

import inspect
import logging
import os
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, Exit, TyperException

from carbonfleet.cli.about.examples import EXAMPLES
from carbonfleet.cli.console import ExitCode, fail
from carbonfleet.faults import said


class Listed(NamedTuple):
    """A command as the root's help lists it, and where its code is."""

    module: str
    """Its `app` is a group of commands; a function of the command's own name is one command."""
    summary: str
    """The first sentence of its help."""


TRACEBACK: Final = "CARBONFLEET_TRACEBACK"
"""A variable: where it is set, an error that nobody foresaw is shown with all its calls."""
TRY: Final = "Try it"
JOBS: Final = "Jobs"
FLEET: Final = "Fleet and grid"
OPERATE: Final = "Operate"
COMMANDS: Final[Mapping[str, Mapping[str, Listed]]] = {
    TRY: {
        "demo": Listed("stack.demo", "Run the main job end to end on this machine."),
        "up": Listed("stack.up", "Run the whole stack on this machine until Ctrl-C."),
        "assess": Listed(
            "studies.assess", "Say whether waiting and moving are worth it at your place, by the grid's last months."
        ),
        "when": Listed(
            "studies.when",
            "Say when work should start so that its electricity is clean, as the hub would plan it.",
        ),
        "backtest": Listed(
            "studies.backtest",
            "Replay a recorded grid and jobs through the planner, beside what other policies would have done.",
        ),
    },
    JOBS: {
        "validate": Listed("files.validate", "Check manifests of jobs and schedules, cluster files and policies."),
        "explain": Listed(
            "files.explain",
            "Show why a job goes where and when it goes: the decision, and each spoke with its figures, "
            "or why not there.",
        ),
        "ui": Listed("ui", "Serve a live page of the fleet, jobs, sweeps and savings until Ctrl-C."),
        "status": Listed("fleet.status", "Show every spoke, job and schedule, with what each waits for."),
        "watch": Listed("fleet.watch", "Follow a job until it has ended, a line for each change."),
        "logs": Listed("fleet.logs", "Show what a job's training printed."),
        "report": Listed(
            "ledger.report", "Show emissions, energy, cost and savings by job, sweep, namespace or month."
        ),
        "sweep": Listed("sweeps.sweep", "Run hyperparameter sweeps in tiers."),
        "serve": Listed(
            "sweeps.serve", "Serve a sweep's best adapters by name with vLLM, through the fleet repository."
        ),
        "chat": Listed(
            "sweeps.chat",
            "Chat with served adapters through any OpenAI-compatible endpoint, or score them by a file of prompts.",
        ),
    },
    FLEET: {
        "fleet": Listed("fleet.repository", "Begin a fleet repository."),
        "policy": Listed("files.policy", "Check the fleet's policies, and ask them where a job may run."),
        "review": Listed("fleet.review", "Review proposed placements and moves."),
        "signals": Listed("fleet.signals", "Show what is known of the grid."),
    },
    OPERATE: {
        "doctor": Listed(
            "doctor",
            "Check what the hub needs, by the settings of `hub run`, and say what to do where something is missing.",
        ),
        "install": Listed("install", "Print what is applied to a hub's or a spoke's cluster."),
        "hub": Listed("hub", "Run the operator on the hub cluster."),
        "spoke": Listed("spoke", "Run the agent of a cluster that trains."),
        "crds": Listed("files.crds", "Generate the CustomResourceDefinitions and JSON Schemas."),
        "schema": Listed(
            "about.schema",
            "Show the JSON Schema of what a command writes with -o json; without one, the commands that do.",
        ),
        "version": Listed("about.version", "Show the version of carbonfleet, and what it runs on."),
    },
}  # fmt: skip


ASK_THE_STACK: Final = frozenset({"status", "watch", "explain", "logs", "report", "review", "signals", "sweep"})
"""Commands that find the stack that runs in this folder."""


class Root(TyperGroup):
    """All commands, by their names; `commands` holds what help and completion tell of them."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - Typer's own
        super().__init__(**options)
        self._modules = {name: listed.module for panel in COMMANDS.values() for name, listed in panel.items()}
        self.commands = {
            name: TyperCommand(name, help=listed.summary, rich_help_panel=panel, callback=None)
            for panel, listed_ones in COMMANDS.items()
            for name, listed in listed_ones.items()
        }

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - Click's context and command
        """The command itself, loaded."""
        return _loaded(cmd_name, self._modules[cmd_name]) if cmd_name in self._modules else None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Click's context
        """Run the command; what nobody foresaw ends it with a sentence too, and in its log where it keeps one."""
        try:
            return super().invoke(ctx)
        except (Exit, Abort, TyperException, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            if isinstance(error, OSError) or hasattr(error, "for_people"):
                fail(error)
            if os.environ.get(TRACEBACK) or logging.root.handlers:  # the hub and the agent keep a log
                raise
            fail(f"nobody foresaw this, please report it: {said(error)}; {TRACEBACK}=1 shows where it happened")

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Click's
        """The help, by the summaries alone."""
        summaries = TyperGroup(name=self.name, commands=dict(self.commands), params=self.params, help=self.help)
        summaries.epilog = self.epilog
        summaries.format_help(ctx, formatter)


def _loaded(name: str, module: str) -> Any:  # noqa: ANN401 - Click's command
    found = import_module(f"carbonfleet.cli.{module}")
    group = getattr(found, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False)
        group.command(name)(getattr(found, name))
    command = typer.main.get_command(group)
    command.name = name
    return _with_help(command, name)


def _with_help(command: Any, words: str) -> Any:  # noqa: ANN401 - Click's command
    """A command whose paragraphs of help are a line each, since Typer keeps a docstring's line ends; and examples."""
    if words in EXAMPLES:
        command.epilog = "\n\n".join(("Examples:", *(f"  {example}" for example in EXAMPLES[words])))
    command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or ""))
    for name, each in getattr(command, "commands", {}).items():
        _with_help(each, f"{words} {name}")
    return command
