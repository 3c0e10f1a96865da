"""`carbonfleet ui`: the live page."""

from pathlib import Path
from typing import Annotated

import typer


def ui(
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    ledger: Annotated[
        str, typer.Option(envvar="CARBONFLEET_LEDGER", help="The ledger: a file, or a database's URL.")
    ] = "",
    signals: Annotated[
        Path | None, typer.Option(envvar="CARBONFLEET_SIGNALS", help="The hub's signal settings, whose store is read.")
    ] = None,
    state: Annotated[
        Path, typer.Option(envvar="CARBONFLEET_STATE", help="The hub's folder, for what the two above leave out.")
    ] = Path(".carbonfleet/stack/hub"),
    address: Annotated[str, typer.Option(envvar="CARBONFLEET_UI_ADDRESS", help="Where to listen.")] = "127.0.0.1:8088",
    fleet_web: Annotated[
        str, typer.Option(envvar="CARBONFLEET_FLEET_WEB", help="The fleet repository's pages on its forge, for links.")
    ] = "",
    hosts: Annotated[
        str, typer.Option(envvar="CARBONFLEET_UI_HOSTS", help="Names of a proxy before it, with commas between.")
    ] = "",
    proxy_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_UI_PROXY_TOKEN_FILE",
            help="What the proxy sends as `Authorization: Bearer`; needed where others reach the address.",
        ),
    ] = None,
    liveness: Annotated[
        str, typer.Option(envvar="CARBONFLEET_LIVENESS", help="Where the kubelet asks: http://0.0.0.0:8080/healthz.")
    ] = "",
) -> None:
    """Serve a live page of the fleet, jobs, sweeps and savings until Ctrl-C.

    It only reads: the Kubernetes API by your kubeconfig, the ledger, and the store of the grid's figures.
    """
    import asyncio
    from contextlib import closing, nullcontext, suppress

    from carbonfleet.cli.console import fail, say
    from carbonfleet.clock import Clock
    from carbonfleet.probes import ProbeResult, answer_probes
    from carbonfleet.signals import SettingsError, SignalSettings, load_settings

    try:
        from carbonfleet.ui import PageSettings, Reader, serve
    except ImportError as error:
        fail(f"the page needs the extra `ui`: {error}; pip install 'carbonfleet[ui]'")
    try:
        kept = SignalSettings(store=f"sqlite:///{state}/signals.sqlite")
        chosen = load_settings(signals) if signals else kept
        names = tuple(name.strip().casefold() for name in hosts.split(",") if name.strip())
        settings = PageSettings(
            kubeconfig, ledger or str(state / "ledger.sqlite"), chosen, address, names, proxy_token_file, fleet_web
        )
        probes = answer_probes(liveness, lambda: ProbeResult(is_healthy=True, message="serves")) if liveness else None
        reader = Reader(settings.kubeconfig, settings.ledger, settings.signals, Clock.from_environment())
        reader.start()
        with closing(reader), closing(probes) if probes else nullcontext(), suppress(KeyboardInterrupt):
            asyncio.run(serve(settings, reader, lambda url: say(f"the page is at {url}")))
    except (SettingsError, OSError, ValueError) as error:
        fail(error)
