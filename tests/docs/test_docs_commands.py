"""Every command that the pages show is one that there is, and those that need nothing else are run as they stand."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from carbonfleet.cli import app

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference" / "generated"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
OTHERS = {
    ".",
    "airflow",
    "cd",
    "curl",
    "echo",
    "export",
    "git",
    "helm",
    "kind",
    "openssl",
    "pip",
    "python",
    "sh",
    "ssh-keygen",
    "xargs",
}
VERBS = {"annotate", "apply", "config", "create", "delete", "describe", "exec", "explain", "get", "logs", "patch"}
VERBS |= {"port-forward", "rollout", "wait"}
RUN = (
    "carbonfleet validate crds/examples/minimal.yaml",
    "carbonfleet explain crds/examples/minimal.yaml --demo",
    "carbonfleet explain crds/examples/waits.yaml --demo",
    "carbonfleet fleet init my-fleet",
    "carbonfleet policy check my-fleet",
    "carbonfleet policy test my-fleet --data-class eu-personal --namespace team-a",
    "carbonfleet spoke join gpu-sto-1 --region eu-north-1",
    "carbonfleet spoke join rented-1 --runtime ray --city Oslo",
    "carbonfleet spoke join kind-1 --city Oslo",
    "carbonfleet backtest --preset list",
    "carbonfleet sweep generate -f workloads/sweep/small-21.yaml -o jobs/",
    "carbonfleet install spoke gpu-sto-1 --applier flux --fleet-url https://git.example.org/fleet.git --tenant team-a"
    " --allow public --to gpu-sto-1",
    "carbonfleet install spoke gpu-sto-1 --applier argocd --fleet-url https://git.example.org/fleet.git"
    " --tenant team-a --allow public --to gpu-sto-1",
)
"""What a reader can run in a checkout, without a cluster."""


def lines(page: Path) -> Iterator[str]:
    """The commands of a page's console blocks: lines after `$ `, or all of a block that has none such."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        found = block.replace("\\\n", " ").strip().splitlines()
        typed = [line[2:] for line in found if line.startswith("$ ")] or found
        yield from (line.strip() for line in typed if line.strip())


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without assignments, redirections and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set("|;&"):
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word)


SHOWN = sorted(
    {(str(page.relative_to(ROOT)), line) for page in PAGES if GENERATED not in page.parents for line in lines(page)}
)


def carbonfleet_takes(words: list[str]) -> None:
    """Raises where there is no such command, or no such option of it."""
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="carbonfleet")
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, words = found, words[1:]
        context = command.context_class(command, info_name=found.name, parent=context)
    else:
        assert not hasattr(command, "get_command") or getattr(command, "invoke_without_command", False) or words
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_each_command_that_a_page_shows_exists_with_its_options(page, line):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(line):
        program, arguments = Path(words[0]).name if words[0] != "." else ".", words[1:]
        if program == "carbonfleet":
            carbonfleet_takes([word for word in arguments if word not in {">", "<"}])
        elif program == "make":
            assert [word for word in arguments if "=" not in word and word not in targets] == []
        elif program == "kubectl":
            assert VERBS & set(arguments), f"{page}: {line}"
        else:
            assert program in OTHERS, f"{page}: {line}"


def test_what_needs_no_cluster_is_run_as_it_stands(tmp_path):
    shown = {re.sub(r"\s*#.*", "", line).replace(".venv/bin/", "") for _, line in SHOWN}
    assert [each for each in RUN if each not in shown] == []
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    for name in ("crds", "workloads", "fleet"):
        (tmp_path / name).symlink_to(ROOT / name)
    for command in RUN:
        if "argocd" in command:
            (tmp_path / "gpu-sto-1").rename(tmp_path / "with-flux")
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
