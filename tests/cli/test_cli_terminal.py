"""What anybody wrote is shown on a person's terminal, whichever command prints it, and obeyed by none."""

import ast
import copy
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from test_cli_hub import JOB, SPOKE, STATUS, condition
from typer.testing import CliRunner

import carbonfleet
from carbonfleet.cli import app
from carbonfleet.cli.shown_console import ShownConsole
from carbonfleet.kube import Kube, KubeError, ours, path
from carbonfleet.ledger.store import By, Ledger
from fixtures.hub_process import install_crds
from fixtures.ledger_values import entry

SOURCE = Path(carbonfleet.__file__).parent
HOSTILE = (
    "\x1b[2J",
    "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "\x1b]0;title\x1b\\",
    "a\rb",
    "\x00",
    "\x08\x07\x0b\x0c\x7f",
    "\x9b2J\x9d0;t\x9c\x85",
    "\u202egnp.exe\u2066\u2069\u200b\u2028",
    "\ud800",
    "[link=http://evil.example]x[/link][red]y",
)
EVIL = "".join(HOSTILE)
SGR = re.compile(r"\x1b\[[0-9;]*m")
"""Colour and weight, which Rich itself writes to a terminal."""


def obeyed(text: str) -> str:
    """What a terminal would obey."""
    return "".join(each for each in text if not (each.isprintable() or each in "\n\t"))


def run(*arguments: object, code: int = 0) -> str:
    """What a command says on both of its streams."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_line_is_in_the_pipe_as_soon_as_it_is_printed():
    pipe = io.BytesIO()
    screen = ShownConsole(file=io.TextIOWrapper(pipe, encoding="utf-8"), width=100)
    screen.print("one   ")
    assert pipe.getvalue() == b"one\n"


@given(st.text(max_size=60) | st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join))
@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_shows_any_text_however_it_is_printed(terminal, text):
    colours = "standard" if terminal else None
    screen = ShownConsole(file=io.StringIO(), width=100, force_terminal=terminal, color_system=colours)
    table = Table("head", text, title=text, caption=text)
    table.add_row(text, Text(text, "red"))
    for each in (text, Text(text, "bold"), table):
        screen.print(each)
    screen.rule(Text(text))
    written = screen.file.getvalue()
    assert obeyed(SGR.sub("", written) if terminal else written) == ""


@pytest.mark.parametrize("markup", [True, False])
def test_markup_in_a_text_makes_no_link(markup):
    screen = ShownConsole(file=io.StringIO(), width=100, force_terminal=True, markup=markup)
    screen.print(HOSTILE[-1])
    written = screen.file.getvalue()
    assert obeyed(SGR.sub("", written)) == ""
    assert ("[red]" in SGR.sub("", written)) is not markup


def writers(tree: ast.AST) -> Iterator[str]:
    """Calls that write to the standard output, or that make a console that does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "Console", "typer.echo", "typer.secho", "sys.stdout.write"}:
                yield called


def test_every_command_writes_through_the_console():
    files = [*(SOURCE / "cli").rglob("*.py"), *(SOURCE / "local").rglob("*.py")]
    found = {str(file.relative_to(SOURCE)): [*writers(ast.parse(file.read_text()))] for file in files}
    assert {name: calls for name, calls in found.items() if calls} == {"cli/console.py": ["typer.echo"]}


@pytest.mark.parametrize("by", [by.value for by in By if by is not By.ALL])
@pytest.mark.parametrize("form", ["table", "--json", "--csv"])
def test_a_report_shows_names_of_the_ledger(tmp_path, by, form):
    names = [text for text in HOSTILE if text.isascii() or "\ud800" not in text]
    ledger = Ledger.at(tmp_path / "ledger.sqlite")
    ledger.record_all(
        entry(number, **dict.fromkeys(("job", "namespace", "sweep", "cluster", "energy_method"), text))
        for number, text in enumerate(names)
    )
    ledger.close()
    options = [] if form == "table" else [form]
    said = run("report", "--by", by, "--ledger", tmp_path / "ledger.sqlite", *options)
    assert obeyed(said) == ""
    assert "2J" in said or by == "month"
    assert obeyed(run("report", "export", "--ledger", tmp_path / "ledger.sqlite")) == ""


def leaves(body: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the strings of a document are."""
    if isinstance(body, str):
        yield trail
    for key, value in body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ():
        yield from leaves(value, (*trail, key))


def put(body: Any, trail: tuple[Any, ...], text: str) -> Any:
    """The document with another string there."""
    changed = copy.deepcopy(body)
    held = changed
    for key in trail[:-1]:
        held = held[key]
    held[trail[-1]] = text
    return changed


@pytest.mark.parametrize("trail", [*leaves(JOB)], ids=lambda trail: ".".join(map(str, trail)))
@pytest.mark.parametrize("written", ["raw", "escaped"])
def test_a_manifest_is_judged_without_obeying_any_field_of_it(tmp_path, trail, written):
    folder = tmp_path / f"jobs{EVIL.replace(chr(0), '').replace('/', '').replace(chr(0xD800), '')}"
    folder.mkdir()
    for number, text in enumerate(HOSTILE):
        changed = put(JOB, trail, text)
        content = yaml.safe_dump(changed) if written == "escaped" else json.dumps(changed, ensure_ascii=False)
        (folder / f"{number}.yaml").write_bytes(content.encode("utf-8", "surrogatepass"))
        done = CliRunner().invoke(app, ["explain", str(folder / f"{number}.yaml"), "--demo", "--fleet", str(folder)])
        assert obeyed(done.output) == ""
    assert obeyed(CliRunner().invoke(app, ["validate", str(folder)]).output) == ""


JOB_STATUS = STATUS | {
    "conditions": [*STATUS["conditions"], condition("PolicyAllowed", "False", "Refused", "no policy allows it")],
    "candidates": [{"cluster": "no-osl-1", "verdict": "Filtered", "reason": "Full", "message": "no GPU is free"}],
}
SPOKE_STATUS = {
    "free": "3/4 a100",
    "problems": ["attempt x: no report"],
    "syncedCommit": "a" * 40,
    "conditions": [condition("Ready", "False", "Invalid", "clusters/x.yaml:8: zone: must be text")],
}


def test_what_reads_from_the_hub_obeys_no_field_of_a_job_or_spoke(make_kube_api):
    api = make_kube_api()
    install_crds(api)
    kube = Kube.connect(api.kubeconfig)
    kube.create(path("api/v1", "namespaces"), {"metadata": {"name": "cli"}})
    labelled = JOB["metadata"] | {"labels": {"carbonfleet.dev/sweep": "s", "carbonfleet.dev/sweep-tier": "t"}}
    kube.create(ours("carbontrainingjobs", "cli"), JOB | {"metadata": labelled})
    kube.create(ours("spokeclusters"), SPOKE)
    job, spoke = ours("carbontrainingjobs", "cli", "train"), ours("spokeclusters", name="no-osl-1")
    taken = set()
    for where, status in ((job, JOB_STATUS), (spoke, SPOKE_STATUS)):
        for trail in leaves(status):
            for text in HOSTILE:
                try:
                    kube.patch(f"{where}/status", {"status": put(status, trail, text)})
                except (KubeError, UnicodeError):  # the API takes no such text there
                    continue
                taken.add(trail[-1])
                for command in (["status"], ["explain", "cli/train"], ["sweep", "results", "s"]):
                    done = CliRunner().invoke(app, [*command, "--kubeconfig", str(api.kubeconfig)])
                    assert obeyed(done.output) == "", (command, trail)
    assert {"summary", "message"} <= taken


def test_an_output_file_of_a_hostile_name_is_named_without_obeying_it(tmp_path):
    Ledger.at(tmp_path / "ledger.sqlite").close()
    name = EVIL.replace("\x00", "").replace("/", "").replace("\ud800", "")
    command = [sys.executable, "-m", "carbonfleet", "report", "--ledger", "ledger.sqlite", "--html", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert "wrote" in done.stderr.decode()
    assert obeyed((done.stdout + done.stderr).decode()) == ""
