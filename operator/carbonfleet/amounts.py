"""Amounts of carbon, energy and money as they are kept and shown: rounded, and nothing where they are nothing."""

from math import floor, isclose, isfinite, log10
from typing import Final

NOTHING: Final = 1e-9
"""A billionth of a gram, kWh or USD is what floating-point sums leave of none."""
SAME: Final = 1e-12
"""Sums that differ by less than this share are of the same amount."""


def difference(amount: float, other: float) -> float:
    """One amount less another; 0 where they differ by no more than sums of the same terms in another order do."""
    return 0.0 if isclose(amount, other, rel_tol=SAME, abs_tol=NOTHING) else amount - other


def percent(part: float, whole: float) -> float | None:
    """A share in percent, to a tenth, never `-0.0`; None of nothing."""
    return round(100 * part / whole, 1) + 0.0 if whole else None


def rounded(amount: float, digits: int = 4) -> float:
    """To so many significant digits; whole numbers stay whole, and what is next to nothing is 0."""
    if not isfinite(amount):
        return amount
    if abs(amount) < NOTHING:
        return 0.0
    return round(amount, max(0, digits - 1 - floor(log10(abs(amount)))))


def maybe_rounded(amount: float | None, digits: int = 4) -> float | None:
    """The same for what may not be known."""
    return None if amount is None else rounded(amount, digits)
