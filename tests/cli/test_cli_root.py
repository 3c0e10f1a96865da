"""What every command line answers: its version, `-h`, and what may come next."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.main import get_command
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.console import ExitCode

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


ROOT = Path(__file__).parents[2]
HEAVY = {"kubernetes", "numpy", "pygit2", "requests", "sqlalchemy", "kopf", "yaml", "cel", "urllib3"}
"""Packages that take long to load, and that no help needs; Typer itself loads pydantic where an option is no text."""


def commands(command=None, words=()):
    """Every command, by the words that call it."""
    command = command or get_command(app)
    yield words
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from commands(command.get_command(None, name), (*words, name))


ALL = [*commands()]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_loads_nothing_that_takes_long(words):
    script = f"import sys; sys.argv = {['carbonfleet', *words, '--help']!r}\n"
    script += "from carbonfleet.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    script += "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "loaded", done.stderr
    assert HEAVY & set(last) == set()


@pytest.mark.parametrize("name", get_command(app).commands)
def test_the_root_lists_each_command_by_the_first_sentence_of_its_help(name):
    root = get_command(app)
    told = root.get_command(None, name).help.partition("\n")[0]
    assert told.startswith(root.commands[name].help)


def test_the_help_and_the_reference_name_every_exit_code():
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    for code in ExitCode:
        assert f"{code.value} {code.about}" in shown
        assert f"| {code.value} | {code.about} |" in page


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_version_says_what_runs_by_its_schema(form, read):
    schema = json.loads(CliRunner().invoke(app, ["schema", "version"]).output)
    found = read(CliRunner().invoke(app, ["version", "-o", form]).output)
    Draft202012Validator(schema).validate(found)
    assert found["carbonfleet"] == PROJECT["version"]
    assert CliRunner().invoke(app, ["version", "-o", "name"]).output == f"carbonfleet/{PROJECT['version']}\n"


@pytest.fixture
def plugin(tmp_path):
    """A PATH with the scripts that an installation makes, and a real kubectl."""
    for name, target in PROJECT["scripts"].items():
        module, _, function = target.partition(":")
        script = f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def kubectl(*words, environment):
    return subprocess.run(
        [Path(sys.executable).with_name("kubectl"), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_kubectl_finds_it_as_a_plugin(plugin):
    done = kubectl("carbonfleet", "version", "-o", "name", environment=plugin)
    assert (done.returncode, done.stdout) == (0, f"carbonfleet/{PROJECT['version']}\n")
    assert "Usage: kubectl carbonfleet status " in kubectl("carbonfleet", "status", "-h", environment=plugin).stdout


def test_kubectl_completes_the_plugin_s_words(plugin):
    done = kubectl("__complete", "carbonfleet", "ex", environment=plugin)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["explain", ":4"], done.stderr
    assert kubectl("__complete", "carbonfleet", "validate", "x", environment=plugin).stdout == ":0\n"
