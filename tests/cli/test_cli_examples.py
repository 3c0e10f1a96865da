"""Every command's help has examples that it takes; those that need no hub, network or GPU are run."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_root import ALL
from typer.main import get_command
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.about.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
GROUPS = {("crds",), ("fleet",), ("hub",), ("install",), ("policy",), ("review",), ("spoke",), ("sweep",), ()}
LEAVES = [words for words in ALL if words not in GROUPS]
RUN = {
    "carbonfleet backtest --preset list": 0,
    "carbonfleet validate crds/examples/waits.yaml": 0,
    "carbonfleet explain crds/examples/waits.yaml --demo": 0,
    "carbonfleet sweep generate -f workloads/sweep/small.yaml -o jobs/": 0,
    "carbonfleet fleet init my-fleet": 0,
    "carbonfleet policy check fleet": 0,
    "carbonfleet policy check fleet -o json": 0,
    "carbonfleet policy test --data-class public --namespace team-a fleet": 0,
    "carbonfleet spoke join de-fra-1 --region eu-central-1": 0,
    "carbonfleet crds generate --check": 0,
    "carbonfleet schema": 0,
    "carbonfleet schema status": 0,
    "carbonfleet version": 0,
    "carbonfleet version -o json": 0,
}
"""With the exit code that they end with."""


def ours(example):
    """The words of the carbonfleet commands of a shell's line."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|;&"):
            if words[:1] == ["carbonfleet"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_help_of_each_command_shows_its_examples(words):
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
    assert EXAMPLES[" ".join(words)]
    for example in EXAMPLES[" ".join(words)]:
        assert example in shown


@pytest.mark.parametrize("example", [each for examples in EXAMPLES.values() for each in examples])
def test_each_example_is_what_its_command_takes(example):
    found = [*ours(example)]
    assert found
    for words in found:
        command = get_command(app)
        context = command.make_context("carbonfleet", list(words), resilient_parsing=True)
        while hasattr(command, "get_command") and words and not words[0].startswith("-"):
            deeper = command.get_command(context, words[0])
            if deeper is None:
                break
            command, words = deeper, words[1:]
            context = deeper.context_class(deeper, info_name=deeper.name, parent=context)
        command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("example", RUN)
def test_an_example_that_needs_nobody_else_runs(tmp_path, example):
    for name in ("crds", "fleet", "workloads"):
        shutil.copytree(ROOT / name, tmp_path / name)
    who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
    who |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "carbonfleet", *shlex.split(example)[1:]],
        cwd=tmp_path,
        env=os.environ | who,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == RUN[example], done.stderr
    assert done.stdout or done.stderr or "--check" in example or "-o json" in example


def test_only_examples_that_are_shown_are_run():
    assert set(RUN) <= {each for examples in EXAMPLES.values() for each in examples}
