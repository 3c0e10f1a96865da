"""The `carbonfleet` command; each room's commands load only when they are called."""

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def carbonfleet() -> None:
    """Place LoRA training jobs where, and when, the electricity is clean."""


def main() -> None:
    """Run the command line."""
    app()
