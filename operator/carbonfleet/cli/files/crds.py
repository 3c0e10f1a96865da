"""`carbonfleet crds`: the CustomResourceDefinitions and schemas, from the models."""

from pathlib import Path
from typing import Annotated

import typer

from carbonfleet.cli.console import ExitCode, say

app = typer.Typer(no_args_is_help=True, help="Generate the CustomResourceDefinitions and JSON Schemas.")


@app.callback()
def crds() -> None:
    """The CustomResourceDefinitions and JSON Schemas."""


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("crds"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file differs.")] = False,
) -> None:
    """Write crds/*.yaml and crds/schemas/*.json from the models."""
    from carbonfleet.api import crd

    if not check:
        for path in crd.write(out):
            say(f"wrote {out / path}")
        return
    stale = crd.differing(out)
    for path in stale:
        say(f"{out / path} differs from the models: run `make crds` and commit the result", err=True)
    raise typer.Exit(ExitCode.WRONG if stale else ExitCode.DONE)
