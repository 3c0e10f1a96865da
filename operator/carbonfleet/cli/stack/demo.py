"""`carbonfleet demo`: the main job on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    speed: Annotated[float, typer.Option(help="How fast the demo's clock runs; 240 is an hour in 15 s.")] = 240.0,
    state: Annotated[Path, typer.Option(help="The demo's folder; emptied at the start.")] = Path(".carbonfleet/demo"),
) -> None:
    """Run the main job end to end on this machine.

    Seven jobs, from kubectl apply to trained adapters and accounted grams.
    """
    from carbonfleet.cli.console import console, fail
    from carbonfleet.private_files import keep_private

    try:
        from carbonfleet.local.demo import DemoSettings, run
        from carbonfleet.local.screen import Screen
    except ImportError as error:
        fail(f"the demo needs the extras `local` and `train`: {error}; pip install 'carbonfleet[local,train]'")
    keep_private()
    settings = DemoSettings(state.resolve(), speed, keep)
    raise typer.Exit(run(settings, Screen(console(markup=True))))
