"""Charts as values for SVG: paths and ticks in a drawing of given width and height."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from carbonfleet.forecast import HOUR, Forecast, History

P90_SIGMAS: Final = 1.2816
"""Standard errors from the mean to the 90th percentile of a normal distribution."""
BINS: Final = (50, 100, 150, 200, 300, 400, 500, 650, 800)
"""g/kWh at which a strip changes its colour: the same for every zone and every day, so that colours compare."""
_HEADROOM: Final = 1.1
_CHARACTER, _LINE = 7.0, 13.0
"""Width of a label's character and height of its line, in units of the drawing."""
_BESIDE: Final = ((9, -6), (-9, -6), (9, 14), (-9, 14))
"""Where a label may stand beside its dot: right or left, above or below."""


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Maps [start, end) to [0, width)."""

    start: datetime
    end: datetime
    width: float

    def x(self, moment: datetime) -> float:
        """Where a moment is drawn; those outside at the edge."""
        share = (moment - self.start) / (self.end - self.start)
        return round(self.width * min(1.0, max(0.0, share)), 1)

    def ticks(self) -> list[tuple[float, str, bool]]:
        """Place and label of up to nine full hours, and whether a day begins there."""
        hours = (self.end - self.start) / HOUR
        step = next((each for each in (1, 2, 3, 6, 12, 24) if hours / each <= 8), 48)
        first = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        moments = (first + timedelta(hours=step * i) for i in range(int(hours / step) + 24 // step + 2))
        return [
            (self.x(each), f"{each:%d %b}" if each.hour == 0 else f"{each:%H:%M}", each.hour == 0)
            for each in moments
            if self.start <= each < self.end
        ]


@dataclass(frozen=True, slots=True)
class Curve:
    """A zone's intensity over a time scale."""

    measured: str
    expected: str
    band: str
    """From P10 to P90; empty where the forecast's source tells no doubt."""
    top: float
    """g/kWh at the upper edge; 0 is at the lower."""


def curve(history: History | None, forecast: Forecast | None, scale: TimeScale, height: float) -> Curve | None:
    """What was measured until the forecast begins, and the forecast with its band; None where neither is known."""
    told = _steps(forecast, scale) if forecast else []
    first = told[0][0] if told else scale.end
    past = (
        [
            (hour, min(hour + HOUR, first), value)
            for hour, value in zip(history.hours, history.grams_per_kwh, strict=False)
            if scale.start - HOUR < hour < first
        ]
        if history
        else []
    )
    highest = max([value for *_, value in past] + [high for *_, high in told], default=0.0)
    if highest <= 0:
        return None
    top = highest * _HEADROOM

    def y(value: float) -> float:
        return round(height * (1 - value / top), 1)

    line = [(scale.x(a), scale.x(b), y(value)) for a, b, value in past]
    middle = [(scale.x(a), scale.x(b), y(value)) for a, b, _, value, _ in told]
    low = [(scale.x(a), scale.x(b), y(value)) for a, b, value, _, _ in told]
    high = [(scale.x(a), scale.x(b), y(value)) for a, b, *_, value in told]
    band = _area(high, low) if high != low else ""
    return Curve(_path(line), _path(middle), band, top)


def _steps(forecast: Forecast, scale: TimeScale) -> list[tuple[datetime, datetime, float, float, float]]:
    """Start, end, P10, mean and P90 of each slot that is drawn."""
    found = []
    for index, (value, doubt) in enumerate(
        zip(forecast.grams_per_kwh.tolist(), forecast.doubt_grams_per_kwh.tolist(), strict=True)
    ):
        start = forecast.start + forecast.step * index
        if scale.start - forecast.step < start < scale.end:
            spread = P90_SIGMAS * doubt
            found.append((start, start + forecast.step, max(0.0, value - spread), value, value + spread))
    return found


def _path(steps: Iterable[tuple[float, float, float]]) -> str:
    """A line of steps; it is broken where hours are missing."""
    parts, last = [], None
    for left, right, y in steps:
        parts.append(f"V{y}H{right}" if last is not None and abs(left - last) < 0.2 else f"M{left} {y}H{right}")
        last = right
    return "".join(parts)


def _area(upper: Sequence[tuple[float, float, float]], lower: Sequence[tuple[float, float, float]]) -> str:
    if not upper:
        return ""
    there = "".join(f"V{y}H{right}" for _, right, y in upper)
    back = "".join(f"V{y}H{left}" for left, _, y in reversed(lower))
    return f"M{upper[0][0]} {upper[0][2]}{there}{back}Z"


def bin_of(grams_per_kwh: float) -> int:
    """Which colour of a strip stands for an intensity: 0 is the cleanest."""
    return sum(grams_per_kwh >= each for each in BINS)


@dataclass(frozen=True, slots=True)
class LabelPlace:
    """Where a dot's label is written, beside the dot."""

    x: float
    y: float
    anchor: str
    """start or end: which of its ends stands at `x`."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a scatter plot."""

    x: float
    y: float
    kind: str
    """A class of the style sheet."""
    label: str
    title: str
    """What it stands for, in words."""
    link: str = ""
    place: LabelPlace | None = None
    """None where it has no label, or no room for one."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Points over two axes with their ends in words, and the line along those that no other beats in both."""

    dots: tuple[Dot, ...]
    frontier: str
    left: float
    right: float
    bottom: float
    top: float


def plot(points: Sequence[Dot], width: float, height: float, *, line: bool = False) -> Plot | None:
    """Points of values placed in a drawing; with `line`, joined in the order given rather than by the frontier."""
    if not points:
        return None
    left, right = _ends([each.x for each in points])
    bottom, top = _ends([each.y for each in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return round(width * (x - left) / (right - left), 1), round(height * (1 - (y - bottom) / (top - bottom)), 1)

    moved = [Dot(*at(each.x, each.y), each.kind, each.label, each.title, each.link) for each in points]
    placed = _labelled(moved, width)
    chosen = [(each.x, each.y) for each in points] if line else _front([(each.x, each.y) for each in points])
    path = "".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(at(*each) for each in chosen))
    return Plot(tuple(placed), path, left, right, bottom, top)


def _labelled(dots: Sequence[Dot], width: float) -> list[Dot]:
    """The dots with their labels beside them, where these cover neither another label nor leave the drawing."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for dot in dots:
        length = _CHARACTER * len(dot.label)
        for place in (LabelPlace(dot.x + dx, dot.y + dy, "start" if dx > 0 else "end") for dx, dy in _BESIDE):
            left = place.x if place.anchor == "start" else place.x - length
            is_free = all(
                abs(place.y - y) >= _LINE or left > right or left + length < start for start, right, y in taken
            )
            if dot.label and is_free and left >= 0 and left + length <= width:
                taken.append((left, left + length, place.y))
                found.append(replace(dot, place=place))
                break
        else:
            found.append(dot)
    return found


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis on which every value has some room around it."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return max(0.0, low - room) if low >= 0 else low - room, high + room


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats in both, the smallest x first."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front
