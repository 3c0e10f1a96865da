"""A plot of validation loss against carbon, a mark for each tier, and a line with rings along the best of both."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from carbonfleet.private_files import replacing
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.standing import LeaderboardLine


@dataclass(frozen=True, slots=True)
class _Dot:
    grams_co2e: float
    loss: float
    tier: str
    text: str


def write_plot(file: Path, title: str, places: Iterable[LeaderboardLine]) -> int:
    """Draw the jobs that succeeded and are accounted for; returns how many.

    Raises SweepError where matplotlib is missing, nothing can be drawn, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SweepError("no plot: it needs matplotlib (pip install matplotlib)") from error
    drawn = _drawn(places)
    if not drawn:
        raise SweepError("no plot: no job has succeeded and been accounted for yet")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    front = _front(drawn)
    (line,) = axes.plot(*zip(*front, strict=True), color="0.75", zorder=0, label="none is both better and cleaner")
    line.set(marker="o", markersize=14, markerfacecolor="none")
    for tier, marker in zip(sorted({dot.tier for dot in drawn}), cycle("os^Dv"), strict=False):
        ours = [dot for dot in drawn if dot.tier == tier]
        grams, losses = [dot.grams_co2e for dot in ours], [dot.loss for dot in ours]
        axes.scatter(grams, losses, marker=marker, label=tier or "no tier")
    for dot in drawn:
        axes.annotate(dot.text, (dot.grams_co2e, dot.loss), (9, 4), textcoords="offset points", fontsize=8)
    # From zero, so that near ones look near; on the right there is room for a label.
    axes.set_xlim(0, 1.12 * max(dot.grams_co2e for dot in drawn) or 1)
    axes.set_xlabel("gCO2e of the run")
    axes.set_ylabel("validation loss")
    axes.set_title(f"{title}: numbers are places on the leaderboard", fontsize=10, loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)  # where it hides nothing
    try:
        with replacing(file) as fresh:
            figure.savefig(fresh, dpi=120)
    except (OSError, ValueError) as error:
        raise SweepError(f"{file} can't be written: {error}") from error
    return len(drawn)


def _front(dots: Iterable[_Dot]) -> list[tuple[float, float]]:
    """Grams and loss of the jobs that no other beats in both, from the cleanest on."""
    front: list[tuple[float, float]] = []
    for grams, loss in sorted((dot.grams_co2e, dot.loss) for dot in dots):
        if not front or loss < front[-1][1]:
            front.append((grams, loss))
    return front


def _drawn(places: Iterable[LeaderboardLine]) -> list[_Dot]:
    dots = []
    for place in places:
        one = place.standing
        if one.is_final and one.is_accounted and one.grams_co2e is not None and one.validation_loss is not None:
            text = f"{place.place} baseline" if one.is_baseline else str(place.place)
            dots.append(_Dot(one.grams_co2e, one.validation_loss, one.tier, text))
    return dots
