"""How windows, times and counts are said to people."""

from datetime import datetime

from carbonfleet.placement.decision import Window


def describe(window: Window) -> str:
    """A window in one sentence: when, how clean, how much, what it costs."""
    return f"{span(window)} on {gpus(window.gpus)} of {window.pool}{spot(window)}: {figures(window)}."


def figures(window: Window) -> str:
    """Carbon, intensity and cost of a window."""
    return f"{grams(window.grams_co2e)} at {window.grams_per_kwh:.0f} gCO2e/kWh, {window.cost_usd:,.2f} USD"


def grams(amount: float) -> str:
    """A mass of carbon, in grams or from 10 kg on in kilograms."""
    return f"{amount / 1000:,.1f} kgCO2e" if abs(amount) >= 10_000 else f"{amount:,.0f} gCO2e"


def spot(window: Window) -> str:
    """Says so where the GPUs can be reclaimed."""
    return " (spot)" if window.spot else ""


def span(window: Window) -> str:
    """From when to when, and in how many parts."""
    parts = f" in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    return f"{time(window.start)} to {time(window.end)}{parts}"


def gpus(count: int) -> str:
    """So many GPUs."""
    return "1 GPU" if count == 1 else f"{count} GPUs"


def time(moment: datetime) -> str:
    """A time to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def hours(minutes: float) -> str:
    """A length in hours and minutes."""
    whole, rest = divmod(round(minutes), 60)
    return f"{whole} h {rest} min" if rest and whole else f"{whole} h" if whole else f"{rest} min"
