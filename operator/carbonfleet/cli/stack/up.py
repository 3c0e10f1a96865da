"""`carbonfleet up`: the embedded stack, for trying things by hand."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def up(
    state: Annotated[Path, typer.Option(help="The stack's folder; kept over restarts.")] = Path(".carbonfleet/stack"),
    speed: Annotated[float, typer.Option(help="How fast the stack's clock runs; 1 is real time.")] = 1.0,
    signals: Annotated[Path | None, typer.Option(help="Signal settings of your own, in place of --grid.")] = None,
    grid: Annotated[
        Literal["demo", "live", "free"] | None,
        typer.Option(
            help="demo: a made grid; live: Electricity Maps' forecasts, replayed; free: live data that cost nothing. "
            "Without it, live when a token is set, else demo."
        ),
    ] = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    import os
    import signal
    from datetime import UTC, datetime

    from carbonfleet.cli.console import console, fail
    from carbonfleet.clock import Clock
    from carbonfleet.local.child import ChildError
    from carbonfleet.local.grid_settings import write_signals
    from carbonfleet.local.ray_head import RayHeadError
    from carbonfleet.local.screen import Screen
    from carbonfleet.local.stack import Stack, StackSettings
    from carbonfleet.private_files import held, keep_private
    from carbonfleet.shipped import EXAMPLES
    from carbonfleet.signals import TOKEN_VARIABLE

    if signals is not None and grid is not None:
        fail("--signals says which grid: leave --grid away")
    if grid == "free" and speed != 1.0:
        fail("live data go by real time: leave --speed away, or take --grid live, which replays forecasts")
    screen = Screen(console(markup=True))
    keep_private()
    state = state.resolve()
    clock = Clock() if speed == 1.0 else Clock.starting_at(datetime.now(UTC), speed)
    usual: Literal["demo", "live"] = "live" if os.environ.get(TOKEN_VARIABLE) else "demo"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with held(state):
            chosen = signals or write_signals(state, grid or usual)
            stack = Stack(StackSettings(state, clock, chosen), lambda text: screen.line("stack", text))
            try:
                stack.up()
                screen.line("try", f". {stack.environment}")
                # It starts at once: most jobs wait for cleaner electricity, for up to a day of real time.
                screen.line("try", f"kubectl apply -f {os.path.relpath(EXAMPLES / 'unconstrained.yaml')}")
                screen.line("try", "kubectl describe ctj -n team-a unconstrained")
                stack.wait()
            except KeyboardInterrupt:
                screen.line("stack", "stopping")
            finally:
                stack.down()
    except (ChildError, RayHeadError, OSError) as error:
        fail(error)
