"""`carbonfleet hub run`: the operator."""

import typer

from carbonfleet.cli.settings import command
from carbonfleet.hub.settings import HubSettings

app = typer.Typer(no_args_is_help=True, help="Run the operator on the hub cluster.")


@app.callback()
def hub() -> None:
    """Run the operator on the hub cluster."""


def run(settings: HubSettings) -> None:
    """Watch jobs, choose where and when they run, and commit that."""
    import logging

    from carbonfleet.cli.console import fail
    from carbonfleet.clock import Clock
    from carbonfleet.fleet import FleetError
    from carbonfleet.hub import operator
    from carbonfleet.kube import KubeError
    from carbonfleet.ledger import LedgerError
    from carbonfleet.private_files import keep_private, make_folder
    from carbonfleet.signals import (
        SettingsError,
        SignalSettings,
        StoreError,
        TraceError,
        load_settings,
        open_market,
        open_signals,
    )

    keep_private()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        make_folder(settings.state)
        kept = SignalSettings(store=f"sqlite:///{settings.state}/signals.sqlite")
        chosen = load_settings(settings.signals) if settings.signals else kept
        clock = Clock.from_environment()
        market = open_market(chosen, clock) if chosen.prices else None
        operator.run(settings, clock, open_signals(chosen, clock), market)
    except (SettingsError, StoreError, TraceError, KubeError, FleetError, LedgerError, OSError, ValueError) as error:
        fail(error)


command(app, "run", HubSettings, run)
