"""Every file that a command is given, with anything at all in it: one error of its own, with file and line."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.kube import Kube, KubeError
from carbonfleet.signals import SettingsError, load_settings
from carbonfleet.spoke.admission import read_allow_list
from carbonfleet.spoke.errors import AllowListError
from carbonfleet.sweep import read_sweep
from carbonfleet.yaml_reader import FileInvalid
from fixtures.odd_yaml import ODD

ROOT = Path(__file__).parents[2]
JOB = (ROOT / "crds/examples/waits.yaml").read_text()
SWEEP = (ROOT / "workloads/sweep/small.yaml").read_text()
SETTINGS = "refresh: 5m\nsources:\n  - {type: static, gramsPerKwh: {FR: 50}}\n"
ALLOWED = "kind: ConfigMap\ndata:\n  cluster: no-osl-1\n  residency.public: allow\n"
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {token: abc}}]
"""
READERS = {
    "settings": (SETTINGS, load_settings, SettingsError),
    "allow-list": (ALLOWED, read_allow_list, AllowListError),
    "sweep": (SWEEP, read_sweep, FileInvalid),
    "kubeconfig": (KUBECONFIG, Kube.connect, KubeError),
}


def outcome(read, kind: type[Exception], file: Path) -> str:
    """Empty where the file can be read, else what its reader says; any other error ends the test."""
    try:
        read(file)
    except kind as error:
        return str(error)
    return ""


def oddities(text: str, odd: str):
    """The text with something odd at its end, at its beginning, and in place of its first value and of all of it."""
    first = re.search(r"(?m)^\w+: *(\S.*)$", text)
    assert first is not None
    return (
        f"{text}\nreviewed: {odd}\n",
        f"reviewed: {odd}\n{text}",
        text[: first.start(1)] + odd + text[first.end(1) :],
        odd,
    )


@pytest.mark.parametrize("name", READERS)
def test_an_odd_scalar_in_a_file_is_the_error_of_its_reader(tmp_path, name):
    text, read, kind = READERS[name]
    file = tmp_path / f"{name}.yaml"
    file.write_text(text)
    assert outcome(read, kind, file) == ""
    for odd in (each for each in ODD if len(each) < 10_000):
        for content in oddities(text, odd):
            file.write_bytes(content.encode("utf-8", "surrogatepass"))
            said = outcome(read, kind, file)
            assert said == "" or str(file) in said


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        (["validate", "{}"], JOB, 1),
        (["explain", "{}", "--demo", "--fleet", str(ROOT / "fleet")], JOB, 1),
        (["sweep", "generate", "-f", "{}", "-o", "{}.jobs"], SWEEP, 2),
        (["signals", "check", "--settings", "{}"], SETTINGS, 2),
    ],
    ids=["validate", "explain", "sweep", "signals"],
)
@pytest.mark.parametrize("odd", ["!!int 1k", "!!bool maybe", "!!timestamp abc", ".nan", "*x"])
def test_a_command_names_file_and_line_of_an_odd_scalar(tmp_path, command, text, code, odd):
    file = tmp_path / "file.yaml"
    file.write_text(f"{text.rstrip()}\nreviewed: {odd}\n")
    done = CliRunner().invoke(app, [part.format(file) for part in command])
    lines = text.rstrip().count("\n") + 2
    assert done.exit_code == code, done.output
    assert f"{file}:{lines}: " in done.output


@pytest.mark.parametrize("command", ["report verify", "report import", "spoke take-over x --kubeconfig"])
def test_a_file_that_is_missing_is_named_without_its_error_number(tmp_path, command):
    told = CliRunner().invoke(
        app, [*command.split(), str(tmp_path / "none")], env={"CARBONFLEET_LEDGER": str(tmp_path / "new")}
    )
    assert told.exit_code == 2
    assert "Errno" not in told.output
    assert f"{tmp_path}/none" in " ".join(told.output.split())
