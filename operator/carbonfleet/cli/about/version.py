"""`carbonfleet version`: which release this is, and what it runs on."""

from carbonfleet.cli.answers import Form, Output, write
from carbonfleet.cli.console import say


def version(output: Output = Form.TEXT) -> None:
    """Show the version of carbonfleet, and what it runs on."""
    import platform
    from importlib.metadata import version as installed

    from carbonfleet.api.wire import API_VERSION
    from carbonfleet.cli.about.schemas import VersionAnswer

    found = VersionAnswer(
        carbonfleet=installed("carbonfleet"),
        api=API_VERSION,
        python=platform.python_version(),
        platform=platform.platform(),
    )
    if output is Form.NAME:
        say(f"carbonfleet/{found.carbonfleet}")
    elif output.is_data:
        write(found, output, "version")
    else:
        say(f"carbonfleet {found.carbonfleet} (API {found.api}), Python {found.python} on {found.platform}")
