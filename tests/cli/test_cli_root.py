"""What every command line answers: its version, `-h`, and what may come next."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CARBONFLEET = Path(sys.executable).with_name("carbonfleet")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def run(*words, **environment):
    return subprocess.run(
        [CARBONFLEET, *words], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_it_tells_its_version():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"carbonfleet {PROJECT['version']}\n")


@pytest.mark.parametrize("words", [(), ("hub",), ("hub", "run"), ("spoke", "join"), ("explain",), ("report", "verify")])
def test_h_is_help_for_every_command(words):
    short, long = run(*words, "-h"), run(*words, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "Usage: carbonfleet" in short.stdout


@pytest.mark.parametrize(
    ("shell", "asked", "expected"),
    [
        ("bash", {"COMP_WORDS": "carbonfleet ex", "COMP_CWORD": "1"}, "explain"),
        ("bash", {"COMP_WORDS": "carbonfleet hub ", "COMP_CWORD": "2"}, "run"),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "carbonfleet ex"}, "explain"),
        ("fish", {"_TYPER_COMPLETE_ARGS": "carbonfleet ex", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "explain"),
    ],
)
def test_shells_complete_commands(shell, asked, expected):
    done = run(_CARBONFLEET_COMPLETE=f"complete_{shell}", **asked)
    assert expected in done.stdout, done.stderr
