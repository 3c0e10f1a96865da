"""Examples of each command, which its help shows; a test reads all of them, and runs those that need nobody else."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "demo": ("carbonfleet demo", "carbonfleet demo --keep"),
    "up": ("carbonfleet up", "carbonfleet up --grid free", "carbonfleet up --speed 240"),
    "assess": (
        "carbonfleet assess --zones DE,FR,PL --hours 4 --slack 24",
        "carbonfleet assess --zones DE --trace DE_2024.csv -o json",
    ),
    "when": (
        "carbonfleet when --zone DE --hours 4 --slack 12h && ./train.sh",
        "carbonfleet when --zone DE --hours 4 --slack 12h --exec -- ./train.sh --epochs 3",
    ),
    "backtest": (
        "carbonfleet backtest --trace DE_2024.csv --zones DE --hours 4 --slack 24",
        "carbonfleet backtest --preset list",
    ),
    "validate": (
        "carbonfleet validate crds/examples/waits.yaml",
        "carbonfleet validate jobs/ --fleet fleet -o json",
        "cat job.yaml | carbonfleet validate -",
    ),
    "explain": (
        "carbonfleet explain crds/examples/waits.yaml --demo",
        "carbonfleet explain team-a/waits",
        "carbonfleet review show team-a/waits | carbonfleet explain -",
    ),
    "status": ("carbonfleet status", "carbonfleet status -n team-a -o wide", "carbonfleet status -o json"),
    "watch": ("carbonfleet watch waits -n team-a", "carbonfleet watch team-a/waits && ./publish.sh"),
    "logs": ("carbonfleet logs -f team-a/waits", "carbonfleet logs waits --attempt 1"),
    "report": (
        "carbonfleet report --by job --since 2026-02",
        "carbonfleet report --by month -o json",
        "carbonfleet report --html report.html",
    ),
    "report export": (
        "carbonfleet report export ledger.jsonl",
        "carbonfleet report export focus.csv --format focus --since 2026-01 --market-factors factors.yaml",
        "carbonfleet report export attempts.parquet --format parquet",
    ),
    "report reconcile": (
        "carbonfleet report reconcile --aws carbon_emissions.csv.gz --since 2026-01",
        "carbonfleet report reconcile --gcp carbon_footprint.json --account no-osl-1=my-project -o wide",
        "carbonfleet report reconcile --azure january.json --azure-month 2026-01 -o json",
    ),
    "report import": ("carbonfleet report import ledger.jsonl --ledger copy.sqlite",),
    "report verify": ("carbonfleet report verify", "carbonfleet report verify ledger.jsonl --fleet fleet"),
    "sweep generate": ("carbonfleet sweep generate -f workloads/sweep/small.yaml -o jobs/",),
    "sweep status": ("carbonfleet sweep status small",),
    "sweep results": ("carbonfleet sweep results small", "carbonfleet sweep results small -o wide --plot loss.png"),
    "serve": (
        "carbonfleet serve --sweep small --best 2",
        "carbonfleet serve --sweep small -o -",
        "carbonfleet serve --sweep small --min 1 --max 4 --carbon-cap -o small.yaml",
        'carbonfleet serve --sweep small --sleep --used "Mon-Fri 08:00-18:00 Europe/Berlin" -o small.yaml',
    ),
    "chat": (
        "carbonfleet chat -m small-1",
        "carbonfleet chat --score workloads/sweep/prompts.yaml --sweep small",
    ),
    "ui": ("carbonfleet ui",),
    "fleet init": ("carbonfleet fleet init my-fleet", "carbonfleet fleet init my-fleet --no-examples"),
    "policy check": ("carbonfleet policy check fleet", "carbonfleet policy check fleet -o json"),
    "policy test": ("carbonfleet policy test --data-class public --namespace team-a fleet",),
    "review list": ("carbonfleet review list --fleet-url https://git.example.org/fleet.git",),
    "review show": ("carbonfleet review show team-a/waits --fleet-url https://git.example.org/fleet.git",),
    "review approve": ("carbonfleet review approve team-a/waits --fleet-url https://git.example.org/fleet.git",),
    "review reject": (
        "carbonfleet review reject team-a/waits --why 'not this week' --fleet-url https://git.example.org/fleet.git",
    ),
    "signals": ("carbonfleet signals --zone DE --zone FR", "carbonfleet signals --fleet fleet -o json"),
    "signals check": ("carbonfleet signals check --zone DE",),
    "doctor": ("carbonfleet doctor --fleet-url https://git.example.org/fleet.git",),
    "install hub": (
        "carbonfleet install hub --fleet-url https://git.example.org/fleet.git | kubectl apply --server-side -f -",
    ),
    "install spoke": ("carbonfleet install spoke de-fra-1 --fleet-url https://git.example.org/fleet.git --to spoke",),
    "hub run": ("carbonfleet hub run --fleet-url https://git.example.org/fleet.git --state /var/lib/carbonfleet",),
    "spoke run": ("carbonfleet spoke run --spoke de-fra-1 --fleet-url https://git.example.org/fleet.git",),
    "spoke join": ("carbonfleet spoke join de-fra-1 --region eu-central-1",),
    "spoke up": (
        "carbonfleet spoke up --spoke de-fra-1 --fleet-url https://git.example.org/fleet.git gpu@198.51.100.7",
    ),
    "spoke down": ("carbonfleet spoke down --spoke de-fra-1 gpu@198.51.100.7",),
    "spoke drain": ("carbonfleet spoke drain de-fra-1 --fleet .", "carbonfleet spoke drain de-fra-1 --wait"),
    "spoke leave": ("carbonfleet spoke leave --spoke de-fra-1 --fleet-url https://git.example.org/fleet.git",),
    "spoke ray": ("carbonfleet spoke ray --spoke de-fra-1 --directory /var/lib/carbonfleet/ray --port 8265",),
    "spoke renew": ("carbonfleet spoke renew de-fra-1 --to hub.kubeconfig",),
    "spoke take-over": ("carbonfleet spoke take-over de-fra-1",),
    "crds generate": ("carbonfleet crds generate --check",),
    "schema": ("carbonfleet schema", "carbonfleet schema status"),
    "version": ("carbonfleet version", "carbonfleet version -o json"),
}
