"""Signal settings of the one-machine stack: the made grid, live forecasts, or what costs nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from carbonfleet.private_files import replace_file
from carbonfleet.signals import FREE_SOURCES

GridChoice = Literal["demo", "live", "free"]
"""The made trace; Electricity Maps' forecasts, fetched once and replayed, which bear a clock that runs faster; sources
that cost nothing, live.
"""

_FREE_TERMS: Final = """\
# Grid data that cost nothing, to edit and keep. Great Britain, Europe's countries, Denmark and Québec need no key; the
# United States take a free one in EIA_API_KEY (https://www.eia.gov/opendata/register.php), Europe's bidding zones one
# in ENTSOE_TOKEN (https://transparency.entsoe.eu). Of other zones, the mean of a year is known.
# Terms: NESO, Energinet, ENTSO-E: CC BY 4.0; Energy-Charts: CC BY 4.0 (commercial use: ask Fraunhofer ISE); EIA: public
# domain; Hydro-Québec: CC BY-NC 4.0 (take it out for commercial use).
"""


def write_signals(state: Path, choice: GridChoice) -> Path:
    """The hub's settings as a file in `state`."""
    settings = state / "signals.yaml"
    text = yaml.safe_dump({"sources": _sources(choice), "store": f"sqlite:///{state}/signals.sqlite"}, sort_keys=False)
    replace_file(settings, (_FREE_TERMS if choice == "free" else "") + text)
    return settings


def _sources(choice: GridChoice) -> list[Mapping[str, Any]]:
    if choice != "free":
        return [{"type": "demo"} | ({"replay": {"type": "electricitymaps"}} if choice == "live" else {})]
    # Norway's mix is nearly the same in all its zones; the seed's spoke there is in one of them.
    countries = {"energy-charts": {"countries": {"NO-NO1": "no"}}}
    free = [{"type": source.type, **countries.get(source.type, {})} for source in FREE_SOURCES]
    return [*free, {"type": "hydro-quebec"}]
