"""Templates filled with values; whatever is put into one is escaped, and its control characters are shown."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from carbonfleet.placement.phrase import grams, likely, number, saving, shortened
from carbonfleet.text import shown
from carbonfleet.ui.pages import GROUPS
from carbonfleet.ui.values import JobRow

MARKS: Final = {"Waiting": "○", "Running": "▶", "Need a person": "!", "Done": "✓"}
"""Beside a phase's colour, for who tells colours apart badly."""


def _plain(value: object) -> object:
    """Text from anybody without what changes the direction of writing or is no character."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else shown(value)


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else "–"


def _clock(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%a %H:%M}" if moment else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _kg(value: float | None) -> str:
    return "–" if value is None else number(value / 1000)


def _carbon(job: JobRow) -> str:
    """Emissions with their doubt, as accounted or as expected."""
    figures = job.figures
    if figures is None:
        return "–"
    spread = None if job.is_accounted else figures.grams_spread
    told = likely(figures.grams_co2e, spread) if spread else grams(figures.grams_co2e)
    return told if job.is_accounted else f"~ {told}"


def _saved(job: JobRow) -> str:
    figures = job.figures
    if figures is None or figures.saved_grams_co2e is None:
        return "–"
    told = saving(figures.saved_grams_co2e, figures.saved_percent)
    return told if job.is_accounted else f"~ {told}"


def group_of(phase: str) -> str:
    """The group of a phase: a class of the style sheet, and the word beside its mark."""
    return next(name for name, phases in GROUPS.items() if phase in phases)


def _query(**parts: object) -> str:
    return urlencode({name: str(value) for name, value in parts.items() if value not in ("", None)})


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("carbonfleet.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "when": _when,
        "clock": _clock,
        "number": _number,
        "kg": _kg,
        "carbon": _carbon,
        "saved": _saved,
        "group": group_of,
        "mark": lambda phase: MARKS[group_of(phase)],
        "cut": shortened,
    }
    made.globals |= {"query_string": _query, "zip": zip}
    return made


_ENVIRONMENT: Final = _environment()


def render(template: str, context: Mapping[str, Any]) -> str:
    """A whole page."""
    return _ENVIRONMENT.get_template(template).render(context)
