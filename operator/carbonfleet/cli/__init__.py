"""The `carbonfleet` command; each room's commands load only when they are called."""

import typer

from carbonfleet.cli import (
    backtest,
    chat,
    crds,
    demo,
    explain,
    hub,
    policy,
    report,
    review,
    serve,
    signals,
    spoke,
    status,
    sweep,
    up,
    validate,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


app.add_typer(hub.app, name="hub")
app.add_typer(spoke.app, name="spoke")
app.add_typer(crds.app, name="crds")
app.add_typer(policy.app, name="policy")
app.add_typer(review.app, name="review")
app.add_typer(signals.app, name="signals")
app.add_typer(report.app, name="report")
app.add_typer(sweep.app, name="sweep")
for command in (
    backtest.backtest,
    chat.chat,
    serve.serve,
    demo.demo,
    up.up,
    explain.explain,
    validate.validate,
    status.status,
):
    app.command()(command)


@app.callback()
def carbonfleet() -> None:
    """Place LoRA training jobs where, and when, the electricity is clean."""


def main() -> None:
    """Run the command line."""
    app()
