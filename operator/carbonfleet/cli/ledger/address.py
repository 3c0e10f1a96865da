"""Where commands find the ledger."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from carbonfleet.cli.console import fail

if TYPE_CHECKING:
    from carbonfleet.ledger.store import Ledger

Address = Annotated[
    str, typer.Option("--ledger", envvar="CARBONFLEET_LEDGER", help="The ledger: a file, or a database's URL.")
]
USUAL: Final = ".carbonfleet/stack/hub/ledger.sqlite"
_WHERE: Final = (
    f"`carbonfleet up` keeps it at {USUAL}, the demo at .carbonfleet/demo/hub/ledger.sqlite, "
    "another hub in its --state folder"
)


def open_ledger(address: str) -> "Ledger":
    """The ledger at a file or URL, by default the one-machine stack's. Ends the command where there is none."""
    from carbonfleet.ledger import LedgerError
    from carbonfleet.ledger.store import Ledger

    try:
        return Ledger.existing(address)
    except LedgerError as error:
        fail(f"{error}; {_WHERE}" if "://" not in address else error)
