"""A zone at a glance: its value now, the hours to come, where they come from, and how good they were."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.signals.chain import Span
from carbonfleet.signals.reading import Rejection
from carbonfleet.signals.zonedesk import ZoneDesk


@dataclass(frozen=True, slots=True)
class ZoneView:
    """What a person wants to know of one zone."""

    zone: str
    kind: SignalKind
    problem: str
    """Why there is no forecast; empty when there is one. The figures below are then 0."""
    grams_per_kwh: float = 0.0
    """In the present hour."""
    lowest_grams_per_kwh: float = 0.0
    highest_grams_per_kwh: float = 0.0
    cleanest_at: datetime | None = None
    hours: int = 0
    """How far the forecast reaches."""
    source: str = ""
    link: str = ""
    age: timedelta = timedelta(0)
    """Since the newest measured value in it."""
    error_percent_1h: float | None = None
    """Mean absolute error of this source's forecasts one hour ahead; None before enough were measured."""
    error_percent_24h: float | None = None
    rejected: tuple[Rejection, ...] = ()
    """What was refused of the newest answer."""
    troubles: tuple[str, ...] = ()
    """What went wrong at the last tries, source by source, though another may have helped out."""


def view(desk: ZoneDesk, span: Span) -> ZoneView:
    """A zone's view over the hours of `span`."""
    zone, kind, found = desk.page.zone, desk.page.signal, desk.forecast(span)
    troubles = tuple(f"{source} ({feed.value}): {text}" for (source, feed), text in sorted(desk.problems.items()))
    if not isinstance(found, Forecast):
        return ZoneView(zone, kind, desk.explain(found), rejected=desk.rejected, troubles=troubles)
    values, family = found.grams_per_kwh, found.source.partition(",")[0]
    return ZoneView(
        zone,
        kind,
        "",
        grams_per_kwh=float(values[0]),
        lowest_grams_per_kwh=float(values.min()),
        highest_grams_per_kwh=float(values.max()),
        cleanest_at=found.start + found.step * int(np.argmin(values)),
        hours=values.size,
        source=found.source,
        link=found.link,
        age=max(timedelta(0), span.now - found.observed_at),
        error_percent_1h=desk.page.accuracy.percent(family, 1),
        error_percent_24h=desk.page.accuracy.percent(family, 24),
        rejected=desk.rejected,
        troubles=troubles,
    )
