"""`carbonfleet up`: the embedded stack, for trying things by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

if TYPE_CHECKING:
    from carbonfleet.local.screen import Screen
    from carbonfleet.local.stack import StackSettings

_PAUSE_SECONDS: Final = 0.5
"""Between two looks at what happens."""


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
    """Run the whole stack on this machine until Ctrl-C.

    Each decision, commit and step of training is told as it happens.
    """
    import os
    import signal
    from datetime import UTC, datetime

    from carbonfleet.cli.console import console, fail
    from carbonfleet.clock import Clock
    from carbonfleet.local.child import ChildError
    from carbonfleet.local.grid_settings import write_signals
    from carbonfleet.local.ray_head import RayHeadError
    from carbonfleet.local.screen import Screen
    from carbonfleet.local.stack import StackSettings
    from carbonfleet.private_files import held, keep_private
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
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job begins with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with held(state):
            chosen = signals or write_signals(state, grid or usual)
            _run(StackSettings(state, clock, chosen), screen)
    except KeyboardInterrupt:
        screen.line("stack", "stopped")
    except (ChildError, RayHeadError, OSError) as error:
        fail(error)


def _run(settings: "StackSettings", screen: "Screen") -> None:
    """Start the stack and tell what happens, until Ctrl-C or SIGTERM, which ends all that was started."""
    import os
    from threading import Event

    from carbonfleet.local import fleet_server
    from carbonfleet.local.events import StackEvents
    from carbonfleet.local.stack import Stack
    from carbonfleet.shipped import EXAMPLES

    stack = Stack(settings, lambda text: screen.line("stack", text))
    try:
        stack.up()
        events = StackEvents(stack, screen, commit=fleet_server.log_lines(stack.repository)[-1][0])
        events.note()
        screen.line("page", f"open {stack.page_url} in a browser")
        screen.line("try", f". {os.path.relpath(stack.environment)}")
        # It starts at once: most jobs wait for cleaner electricity, for up to a day of real time.
        screen.line("try", f"kubectl apply -f {os.path.relpath(EXAMPLES / 'unconstrained.yaml')}")
        screen.line("try", "carbonfleet watch team-a/unconstrained")
        screen.line("stack", "what happens is told here, until Ctrl-C")
        pause = Event()
        while not pause.wait(_PAUSE_SECONDS):
            events.look()
    finally:
        screen.line("stack", "stopping")
        stack.down()
