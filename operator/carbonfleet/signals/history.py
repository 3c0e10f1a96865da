"""What is known of each zone, in memory: the newest forecasts and the last 90 days."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import HISTORY, ISSUES_KEPT, RECENT, Accuracy, History, Issue, Measured, OwnForecast, ZoneData
from carbonfleet.signals.reading import HOUR, Reading, family, floor_hour, hourly_means
from carbonfleet.signals.regions import annual_factors
from carbonfleet.signals.validation import Known


@dataclass(frozen=True, slots=True)
class _Hour:
    """The believed value of one hour, and how good it is."""

    value: float
    source: str
    standing: tuple[int, bool, float]
    """The better one is greater: rank of its source, settled, share of the hour that is known."""


@dataclass(slots=True)
class ZoneHistory:
    """One zone and kind."""

    zone: str
    signal: SignalKind
    sources: Sequence[str]
    """In the declared order."""
    static: tuple[float, str] | None = None
    accuracy: Accuracy = field(default_factory=Accuracy)
    version: int = 0
    """Counts changes."""
    measured_version: int = 0
    """Counts those of measured values."""
    _issues: dict[str, Issue] = field(default_factory=dict)
    _past_issues: dict[str, dict[datetime, Issue]] = field(default_factory=dict)
    """By source and the hour in which it was made, oldest first: the first of each hour since ISSUES_KEPT."""
    _hours: dict[datetime, _Hour] = field(default_factory=dict)
    _history: tuple[int, History] | None = None
    _measured: tuple[int, Measured | None] | None = None

    def take_issue(self, issue: Issue) -> Issue:
        """Keep a forecast unless a newer one of the same source is known. Returns it, with the hours that it told
        before they went by.
        """
        known = self._issues.get(issue.source)
        if known is not None and issue.issued_at < known.issued_at:
            return issue
        if known is None or issue.issued_at > known.issued_at:
            self.accuracy.add(issue)
        else:
            issue = issue.continuing(known)
        self._issues[issue.source] = issue
        self.version += 1
        hour, past = floor_hour(issue.issued_at), self._past_issues.get(issue.source, {})
        if not issue.exact and (hour not in past or past[hour].issued_at == issue.issued_at):
            past[hour] = issue
            self._past_issues[issue.source] = {made: one for made, one in past.items() if made >= hour - ISSUES_KEPT}
        return issue

    def past_issues(self) -> Mapping[str, Sequence[Issue]]:
        """What each source issued, oldest first: of each hour the first since ISSUES_KEPT."""
        return {source: tuple(issues.values()) for source, issues in self._past_issues.items()}

    def take_readings(self, readings: Iterable[Reading], now: datetime) -> None:
        """Keep measured values, each hour's best, of the last 90 days."""
        by_standing: dict[tuple[str, bool], list[Reading]] = {}
        for reading in readings:
            by_standing.setdefault((reading.source, reading.settled), []).append(reading)
        for (source, settled), group in by_standing.items():
            for hour, (value, share) in hourly_means(group).items():
                self._take(hour, _Hour(value, source, (self._rank(source), settled, round(share, 6))))
        oldest = now - HISTORY
        self._hours = {hour: known for hour, known in self._hours.items() if hour > oldest}
        self.version += 1
        self.measured_version += 1
        measured = self.measured()
        if measured is not None:
            self.accuracy.score(measured.grams_per_kwh, measured.start)

    def _take(self, hour: datetime, candidate: _Hour) -> None:
        known = self._hours.get(hour)
        if known is None or candidate.standing >= known.standing:
            self._hours[hour] = candidate

    def _rank(self, source: str) -> int:
        families = [family(name) for name in self.sources]
        return -families.index(family(source)) if family(source) in families else -len(families)

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever heard of it."""
        return not self._hours and not self._issues

    @property
    def newest_hour(self) -> datetime | None:
        """The last hour with a measured value."""
        return max(self._hours, default=None)

    def knows(self, start: datetime, end: datetime) -> bool:
        """Whether nine tenths of the hours in [start, end) are known."""
        return sum(start <= hour < end for hour in self._hours) >= 0.9 * ((end - start) / HOUR)

    def known(self, doubted: Sequence[Reading] = ()) -> Known:
        """What new values are held against. `doubted`: those of earlier answers that are in doubt."""
        annual = annual_factors(self.signal).get(self.zone)
        return Known(self.measured(), annual[0] if annual else None, tuple(doubted), self.accuracy.errors())

    def data(self, own: Callable[[Measured | None, int], OwnForecast | None]) -> ZoneData:
        """What the chain needs."""
        measured = self.measured()
        issues = sorted(self._issues.values(), key=lambda issue: -self._rank(issue.source))
        return ZoneData(
            self.zone,
            self.signal,
            tuple(issues),
            measured,
            self.static,
            annual_factors(self.signal).get(self.zone),
            self.accuracy.errors(),
            lambda: own(measured, self.measured_version),
        )

    def measured(self) -> Measured | None:
        """The last 90 days as an array; None when nothing is known."""
        if self._measured is None or self._measured[0] != self.measured_version:
            self._measured = (self.measured_version, self._measure())
        return self._measured[1]

    def _measure(self) -> Measured | None:
        if not self._hours:
            return None
        first, newest = min(self._hours), max(self._hours)
        values = np.full((newest - first) // HOUR + 1, np.nan)
        for hour, entry in self._hours.items():
            values[(hour - first) // HOUR] = entry.value
        return Measured(first, values, self._hours[newest].source)

    def values(self) -> History:
        """The values of the last 28 days, oldest first."""
        if self._history is None or self._history[0] != self.measured_version:
            newest = self.newest_hour
            hours = tuple(sorted(hour for hour in self._hours if newest is not None and hour > newest - RECENT))
            values = tuple(self._hours[hour].value for hour in hours)
            self._history = (self.measured_version, History(self.zone, self.signal, values, hours))
        return self._history[1]
