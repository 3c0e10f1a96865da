"""How the pages are built: `make docs`. What the code says of itself is written by `generated.py` first."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from generated import write_all  # noqa: E402 - beside this file

project = "carbonfleet"
author = "carbonfleet"
copyright = "the carbonfleet authors, Apache-2.0"  # noqa: A001 - Sphinx asks for this name
version = release = version_of("carbonfleet")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # a page that is included begins at its own second level

html_theme = "furo"
html_title = f"carbonfleet {release}"
html_static_path = ["figures"]
html_css_files = ["theme.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_context = {}
linkcheck_timeout = 20
linkcheck_retries = 2


def setup(app: object) -> None:
    """Write the generated pages before Sphinx looks for sources."""
    write_all(HERE / "reference" / "generated")
