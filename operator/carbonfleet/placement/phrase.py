"""How windows, amounts, times and counts are said to people: three significant digits, one unit for each."""

from collections.abc import Sequence
from datetime import datetime
from math import floor, log10

from carbonfleet.api.policy import Goal
from carbonfleet.placement.decision import Spread, Window

LONGEST_SUMMARY = 170
"""Characters of what is shown in one line."""


def describe(window: Window) -> str:
    """A window in one sentence: when, how clean, how much, what it costs."""
    return f"{span(window)} on {gpus(window.gpus)} of {window.pool}{spot(window)}: {figures(window)}."


def figures(window: Window, spread: Spread | None = None) -> str:
    """Carbon, intensity and cost of a window; the carbon with its doubt where that is known."""
    carbon = grams(window.grams_co2e) if spread is None else likely(window.grams_co2e, spread)
    return f"{carbon} at {intensity(window.grams_per_kwh)}, {window.cost_usd:,.2f} USD"


def doubted(window: Window) -> str:
    """The same of a window that nothing is promised of, by the doubt of its forecast alone."""
    grams_co2e, doubt = window.grams_co2e, window.doubt_grams
    at = f"{intensity(window.grams_per_kwh)}, {window.cost_usd:,.2f} USD"
    return f"{likely(grams_co2e, (grams_co2e - doubt, grams_co2e, grams_co2e + doubt))} at {at}"


def likely(amount: float, spread: Spread) -> str:
    """`412 gCO2e (350–505)`: what is expected, P10 and P90; P50 stands for what is not likely itself."""
    low, middle, high = spread
    shown = amount if low <= amount <= high else middle
    unit = 1000 if abs(shown) >= 1000 else 1
    ends = number(low / unit), number(high / unit)
    return grams(shown) if ends[0] == ends[1] else f"{grams(shown)} ({ends[0]}–{ends[1]})"


def beside(window: Window, chosen: Window, goal: Goal, usd_per_tonne: float) -> str:
    """How much more or less a window would emit and cost than the chosen one, by what the job minds."""
    return f"{difference(window, chosen)}: {_minded(goal, usd_per_tonne, window.score_usd - chosen.score_usd)}."


def difference(window: Window, chosen: Window) -> str:
    """How much more or less a window would emit and cost than another."""
    carbon, cost = window.grams_co2e - chosen.grams_co2e, round(window.cost_usd - chosen.cost_usd, 2)
    weight = f"{grams(abs(carbon))} {'more' if carbon > 0 else 'less'}" if abs(carbon) >= 0.0005 else "As much carbon"
    price = f"and {abs(cost):,.2f} USD {'more' if cost > 0 else 'less'}" if cost else "at the same price"
    return f"{weight} {price}"


def _minded(goal: Goal, usd_per_tonne: float, worse_usd: float) -> str:
    if goal is Goal.CARBON:
        return "only carbon counts for this job"
    if goal is Goal.COST:
        return "only cost counts for this job"
    return f"{max(worse_usd, 0.0):.2g} USD worse in all, carbon at {usd_per_tonne:g} USD/t"


def number(amount: float) -> str:
    """Three significant digits, whole numbers from 100 on: 0.0123, 4.56, 78.9, 1,234."""
    if abs(amount) < 0.00005:
        return "0"
    digits = max(0, 2 - floor(log10(abs(amount))))
    return f"{amount:,.{digits}f}"


def grams(amount: float) -> str:
    """A mass of carbon, in grams or from 1 kg on in kilograms."""
    return f"{number(amount / 1000)} kgCO2e" if abs(amount) >= 1000 else f"{number(amount)} gCO2e"


def intensity(grams_per_kwh: float) -> str:
    """How much carbon a kWh stands for."""
    return f"{number(grams_per_kwh)} gCO2e/kWh"


def saving(saved_grams: float, percent: float | None) -> str:
    """`812 g (94 %)`."""
    mass = f"{number(saved_grams / 1000)} kg" if abs(saved_grams) >= 1000 else f"{number(saved_grams)} g"
    return mass if percent is None else f"{mass} ({round(percent)} %)"


def spot(window: Window) -> str:
    """Says so where the GPUs can be reclaimed."""
    return " (spot)" if window.spot else ""


def span(window: Window) -> str:
    """From when to when, and in how many parts."""
    parts = f" in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    return f"{time(window.start)} to {until(window.start, window.end)}{parts}"


def gpus(count: int) -> str:
    """So many GPUs."""
    return "1 GPU" if count == 1 else f"{count} GPUs"


def time(moment: datetime) -> str:
    """A time to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def until(start: datetime, end: datetime) -> str:
    """An end beside its start: the day is said only where it is another."""
    return f"{end:%H:%M}" if start.date() == end.date() else time(end)


def hours(minutes: float) -> str:
    """A length in hours and minutes."""
    whole, rest = divmod(round(minutes), 60)
    return f"{whole} h {rest} min" if rest and whole else f"{whole} h" if whole else f"{rest} min"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b and c`, or `a, b, c and 4 more`."""
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def shortened(text: str, longest: int = LONGEST_SUMMARY) -> str:
    """The sentences of a text that fit; where not even the first does, its words, and an ellipsis."""
    if len(text) <= longest:
        return text
    end = text.rfind(". ", 0, longest)
    if end > 0:
        return text[: end + 1]
    return text[:longest].rpartition(" ")[0].rstrip(",;: ") + "…"
