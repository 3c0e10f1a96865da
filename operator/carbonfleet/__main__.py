"""`python -m carbonfleet` is the `carbonfleet` command."""

from carbonfleet.cli import main

main()
