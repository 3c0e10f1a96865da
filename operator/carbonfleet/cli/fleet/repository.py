"""`carbonfleet fleet init`: a new fleet repository, from the seed that came with carbonfleet."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from carbonfleet.cli.console import fail, git, person, say
from carbonfleet.shipped import FLEET_SEED

app = typer.Typer(no_args_is_help=True, help="Begin a fleet repository.")


@app.callback()
def fleet() -> None:
    """The fleet repository."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    sign: Annotated[bool, typer.Option("--sign", help="Sign the commit, as git is set up to.")] = False,
    examples: Annotated[bool, typer.Option(help="With the demo's three clusters, as examples.")] = True,
) -> None:
    """Make a Git repository with policies, cluster files, owners and checks, in one first commit."""
    try:
        if folder.exists() and any(folder.iterdir()):
            fail(f"{folder} is not empty: name a new folder")
        person("")  # ends here without an identity, before anything is written
        shutil.copytree(FLEET_SEED, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if not examples:
            shutil.rmtree(folder / "clusters")
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", *(["-S"] if sign else []), "-m", "Begin the fleet repository")
    except OSError as error:
        fail(error)
    say(f"""\
{folder} is a fleet repository of one commit. What to do next:
  edit {folder}/policies and {folder}/CODEOWNERS{", and take out the example clusters" if examples else ""}
  carbonfleet policy check {folder}
  git -C {folder} commit -a && git -C {folder} remote add origin URL && git -C {folder} push -u origin main
  sign all that (git commit -S), and begin with --sign: a hub that signs, as it does unless --no-sign is said, follows
    no change of policies and cluster files without the signature of somebody whom it trusts (--trusting)
  protect its branch, as {folder}/README.md says
  carbonfleet install hub --fleet-url URL""")
