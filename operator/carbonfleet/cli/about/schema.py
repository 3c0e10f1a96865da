"""`carbonfleet schema`: what `-o json` writes."""

from typing import Annotated

import typer

from carbonfleet.cli.answers import SCHEMAS, adapter_of, write_names
from carbonfleet.cli.console import fail, say


def schema(
    command: Annotated[list[str] | None, typer.Argument(help="The command, such as: review list.")] = None,
) -> None:
    """Show the JSON Schema of what a command writes with -o json; without one, the commands that do."""
    import json

    if not command:
        write_names(SCHEMAS)
        return
    name = " ".join(command)
    if name not in SCHEMAS:
        fail(f"{name} writes no data: carbonfleet schema lists what does")
    written = adapter_of(name).json_schema(mode="serialization")
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"carbonfleet {name} -o json"}
    say(json.dumps(title | written | title, indent=2))
