"""`carbonfleet hub run`: the operator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carbonfleet.hub.settings import ReviewSettings

app = typer.Typer(no_args_is_help=True, help="Run the operator on the hub cluster.")


@app.callback()
def hub() -> None:
    """Run the operator on the hub cluster."""


@app.command()
def run(
    fleet_url: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_FLEET_URL", help="The fleet repository: https://, ssh:// or git://."),
    ],
    state: Annotated[
        Path,
        typer.Option(envvar="CARBONFLEET_STATE", help="Folder for the clone, the ledger and the history."),
    ] = Path("/var/lib/carbonfleet"),
    branch: Annotated[str, typer.Option(envvar="CARBONFLEET_FLEET_BRANCH", help="Its branch.")] = "main",
    kubeconfig: Annotated[
        Path | None,
        typer.Option(envvar="KUBECONFIG", help="Left out in a pod, and where kubectl looks by itself."),
    ] = None,
    signals: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_SIGNALS", help="Signal settings; Electricity Maps when left out."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_FLEET_TOKEN_FILE", help="Token for https; read anew each time."),
    ] = None,
    ssh_key: Annotated[Path | None, typer.Option(envvar="CARBONFLEET_FLEET_SSH_KEY", help="Key for ssh.")] = None,
    known_hosts: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_FLEET_KNOWN_HOSTS", help="The SSH server's pinned keys."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_CA_FILE", help="Trusted for https, Git and forge, in place of the system's."),
    ] = None,
    signing_key: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_SIGNING_KEY", help="SSH or armored OpenPGP key that signs commits."),
    ] = None,
    forge: Annotated[
        str, typer.Option(envvar="CARBONFLEET_FORGE", help="github, gitlab or gitea: where people review.")
    ] = "",
    forge_api: Annotated[
        str, typer.Option(envvar="CARBONFLEET_FORGE_API", help="Its API's address, https://api.github.com for one.")
    ] = "https://api.github.com",
    forge_repository: Annotated[
        str, typer.Option(envvar="CARBONFLEET_FORGE_REPOSITORY", help="owner/name there.")
    ] = "",
    forge_token_file: Annotated[
        Path | None, typer.Option(envvar="CARBONFLEET_FORGE_TOKEN_FILE", help="Token for it; --token-file if left out.")
    ] = None,
    webhook_address: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_WEBHOOK_ADDRESS", help="Where to await the forge's webhooks: 0.0.0.0:8081."),
    ] = "",
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_WEBHOOK_SECRET_FILE", help="Their secret, or two while one is changed."),
    ] = None,
    admission_address: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_ADMISSION_ADDRESS", help="Where the API asks about new jobs: 0.0.0.0:9443."),
    ] = "",
    admission_tls: Annotated[
        Path,
        typer.Option(envvar="CARBONFLEET_ADMISSION_TLS", help="Folder with tls.crt and tls.key for that."),
    ] = Path("/etc/carbonfleet/admission"),
    namespace: Annotated[
        str, typer.Option(envvar="CARBONFLEET_NAMESPACE", help="Where the hub's Lease lives.")
    ] = "carbonfleet-system",
    identity: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_IDENTITY", help="This hub's own name in the Lease; host and pid if left out."),
    ] = "",
    lease_seconds: Annotated[
        float, typer.Option(envvar="CARBONFLEET_LEASE_SECONDS", min=2, max=300, help="Until another hub takes over.")
    ] = 15,
    baseline_region: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_BASELINE_REGION", help="Where jobs that name none would have run."),
    ] = "",
    ledger: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_LEDGER_URL", help="The ledger's database; a file in --state if left out."),
    ] = "",
    metrics: Annotated[
        str, typer.Option(envvar="CARBONFLEET_METRICS", help="Where Prometheus may scrape, such as 0.0.0.0:9090.")
    ] = "",
    liveness: Annotated[
        str,
        typer.Option(envvar="CARBONFLEET_LIVENESS", help="Where probes are answered, http://0.0.0.0:8080/healthz."),
    ] = "",
    surprise_share: Annotated[
        float,
        typer.Option(
            envvar="CARBONFLEET_SURPRISE_SHARE",
            min=0.01,
            help="Of what was expected of its grid: beyond that a running job is looked at afresh.",
        ),
    ] = 0.2,
    log_level: Annotated[
        str, typer.Option(envvar="CARBONFLEET_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO",
) -> None:
    """Watch jobs, choose where and when they run, and commit that."""
    import logging
    from datetime import timedelta

    from carbonfleet.cli.failure import fail
    from carbonfleet.clock import Clock
    from carbonfleet.fleet import FleetError, RepositorySettings
    from carbonfleet.hub import operator
    from carbonfleet.hub.settings import AdmissionSettings, HubSettings
    from carbonfleet.kube import KubeError
    from carbonfleet.ledger import LedgerError
    from carbonfleet.signals import (
        SettingsError,
        SignalSettings,
        StoreError,
        TraceError,
        load_settings,
        open_market,
        open_signals,
    )

    if log_level.upper() not in logging.getLevelNamesMapping():
        fail(f"there is no log level {log_level}; write DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        fleet = RepositorySettings(
            url=fleet_url,
            branch=branch,
            directory=state / "fleet.git",
            token_file=token_file,
            ssh_key=ssh_key,
            known_hosts=known_hosts,
            ca_file=ca_file,
            signing_key=signing_key,
        )
        settings = HubSettings(
            fleet=fleet,
            forge=_forge(
                kind=forge,
                api=forge_api,
                repository=forge_repository,
                token_file=forge_token_file or token_file,
                base=branch,
                ca_file=ca_file,
                webhook_address=webhook_address,
                webhook_secret_file=webhook_secret_file,
            ),
            admission=AdmissionSettings(address=admission_address, tls=admission_tls) if admission_address else None,
            state=state,
            kubeconfig=kubeconfig,
            namespace=namespace,
            identity=identity,
            lease=timedelta(seconds=lease_seconds),
            default_baseline_region=baseline_region,
            ledger=ledger,
            metrics=metrics,
            liveness=liveness,
            surprise_share=surprise_share,
        )
        state.mkdir(parents=True, exist_ok=True)
        chosen = load_settings(signals) if signals else SignalSettings(store=f"sqlite:///{state}/signals.sqlite")
        clock = Clock.from_environment()
        market = open_market(chosen, clock) if chosen.prices else None
        operator.run(settings, clock, open_signals(chosen, clock), market)
    except (
        SettingsError,
        StoreError,
        TraceError,
        KubeError,
        FleetError,
        LedgerError,
        OSError,
        ValueError,
    ) as error:
        fail(error)


def _forge(**given: str | Path | None) -> "ReviewSettings | None":
    from carbonfleet.hub.settings import ReviewSettings

    if given["kind"]:
        return ReviewSettings.model_validate(given)
    if given["webhook_address"]:
        raise ValueError("webhooks come from a forge: say which with --forge")
    return None
