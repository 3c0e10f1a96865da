"""One name for each setting of hub and agent: as a flag, in the environment and in a file, in this order."""

import re
import textwrap

import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.hub.settings import HubSettings
from carbonfleet.spoke.settings import AgentSettings
from carbonfleet.yaml_reader import FileInvalid


def test_a_flag_stands_over_the_environment_and_the_environment_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "hub.yaml"
    file.write_text("fleet-url: https://file.example/fleet.git\nfleet-branch: file\nbaseline-region: file\n")
    monkeypatch.setenv("CARBONFLEET_FLEET_BRANCH", "environment")
    monkeypatch.setenv("CARBONFLEET_BASELINE_REGION", "environment")
    loaded = HubSettings.load({"baseline_region": "flag"}, file)
    assert (loaded.fleet_url, loaded.fleet_branch, loaded.baseline_region) == (
        "https://file.example/fleet.git",
        "environment",
        "flag",
    )


def test_kubectl_s_own_variable_names_the_kubeconfig(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/etc/hub.kubeconfig")
    assert str(HubSettings.load({"fleet_url": "git://127.0.0.1/f"}).kubeconfig) == "/etc/hub.kubeconfig"


@pytest.mark.parametrize("model", [HubSettings, AgentSettings])
def test_every_setting_is_a_flag_with_its_variable_in_the_help(model):
    command = "hub" if model is HubSettings else "spoke"
    shown = CliRunner().invoke(app, [command, "run", "--help"], env={"COLUMNS": "400"}).output
    for name, field in model.model_fields.items():
        if not field.json_schema_extra:
            assert f"--{name.replace('_', '-')} " in shown
            assert field.description in " ".join(shown.split())


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(("command", "model"), [("hub", HubSettings), ("spoke", AgentSettings)])
def test_the_help_shows_defaults_what_is_required_and_whole_variables_in_a_narrow_terminal(command, model, columns):
    shown = CliRunner().invoke(app, [command, "run", "--help"], env={"COLUMNS": columns}).output
    assert "…" not in shown
    words = " ".join(re.sub(r"[│\n]", " ", shown).split())
    for name, field in model.model_fields.items():
        if not field.json_schema_extra:
            flag = f"--{name.replace('_', '-')} "
            about = words[words.index(flag) :].partition(" --")[0]
            assert ("[required]" in about) == field.is_required()
            assert ("[default: " in about) == (not field.is_required() and field.default not in (None, ""))


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("fleet-url: git://127.0.0.1/f\nflet-branch: x\n", ValidationError, "flet_branch"),
        ("- a\n", ValueError, "holds no settings"),
        ("a: !!int 1k\n", FileInvalid, "hub.yaml:1"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_name(tmp_path, text, kind, says):
    file = tmp_path / "hub.yaml"
    file.write_text(text)
    with pytest.raises(kind, match=says):
        HubSettings.load({}, file)


def test_an_empty_variable_counts_as_left_out(monkeypatch):
    monkeypatch.setenv("CARBONFLEET_FLEET_BRANCH", "")
    assert HubSettings.load({"fleet_url": "git://127.0.0.1/f"}).fleet_branch == "main"


def commands(command, words=()):
    """Every command below one, by the words that call it."""
    yield words, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from commands(command.get_command(None, name), (*words, name))


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*found, id=" ".join(found[0])) for found in commands(get_command(app))]
)
def test_help_fills_the_lines_of_a_narrow_terminal(words, command):
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output
    lines = "\n".join(line.strip() for line in shown.splitlines())
    assert command.help
    for paragraph in command.help.split("\n\n"):
        assert textwrap.fill(paragraph, 78, break_on_hyphens=False, break_long_words=False) in lines
