"""One series of readings, of joules counted or of watts drawn, made into joules that physics allows."""

import math
from collections.abc import Callable

STUCK_SECONDS = 60.0
"""A device that is on uses energy: a counter that stands still for longer, and for longer than its lag, is not read."""


class Series:
    """What one reading after another says was used.

    A counter that comes back after a silence has counted on. One that fell, or leapt beyond what the device can draw,
    is believed from its new level once a second reading agrees with it; what was used meanwhile is taken from the mean
    power that was measured, and counts as estimated. So is a silence of a power reading.
    """

    def __init__(
        self,
        read: Callable[[], object],
        *,
        max_watts: float,
        is_power: bool = False,
        wraps_at_joules: float | None = None,
        lag_seconds: float = 1.0,
    ) -> None:
        self._read, self._is_power, self._wraps_at = read, is_power, wraps_at_joules
        self._max_watts, self._lag = max_watts, lag_seconds
        self._began: float | None = None
        self._latest = 0.0
        self._good: tuple[float, float] | None = None
        """The last reading that is believed: when, and what. Of a counter that stands still, when it came there."""
        self._suspect: tuple[float, float] | None = None
        """A reading on another level, which a second one may confirm."""
        self._is_silent = False
        self._measured, self._measured_seconds = 0.0, 0.0
        self._unread_seconds = 0.0
        """What no reading tells of, but for the time since the last good one."""

    @property
    def is_read(self) -> bool:
        """Whether the last reading was good."""
        return self._good is not None and not self._is_silent

    def read(self) -> float | None:
        """A reading, in joules or watts; None for whatever is none."""
        try:
            value = self._read()
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except Exception:  # noqa: BLE001  # drivers, files and servers fail in their own ways, and a run goes on
            return None
        return number if math.isfinite(number) and number >= 0 else None

    def note(self, moment: float, value: float | None) -> None:
        """Take in a reading that was made at a moment, in seconds."""
        if self._began is None:
            self._began = self._latest = moment
        moment = self._latest = max(moment, self._latest)  # whatever the clock says, no time runs backwards
        if value is None or (self._is_power and value > self._max_watts):
            self._is_silent = True
        elif self._good is None:
            self._unread_seconds += moment - self._began
            self._good, self._is_silent = (moment, value), False
        elif self._is_power:
            self._note_power(moment, value, self._good)
        else:
            self._note_count(moment, value, self._good)

    def total(self, now: float) -> tuple[float, float] | None:
        """Joules measured, and joules estimated beside them; None where a power to estimate by is missing."""
        if self._began is None:
            return None
        now = max(now, self._latest)
        unread = self._unread_seconds + self._gap_seconds(now)
        if self._good is None or (unread and not self._measured_seconds):
            return None
        most = self._max_watts * (now - self._began)
        watts = self._measured / self._measured_seconds if self._measured_seconds else 0.0
        measured = min(self._measured, most)
        return measured, min(watts * unread, most - measured)

    def _gap_seconds(self, now: float) -> float:
        """The time since the last good reading, where there should be a newer one."""
        if self._good is None:
            return 0.0
        since = now - self._good[0]
        return since if self._is_silent or since > max(STUCK_SECONDS, self._lag) else 0.0

    def _note_power(self, moment: float, watts: float, good: tuple[float, float]) -> None:
        """A straight line between two readings; over a silence it is a guess."""
        seconds = moment - good[0]
        if self._gap_seconds(moment):
            self._unread_seconds += seconds
        else:
            self._add(seconds, (good[1] + watts) / 2 * seconds)
        self._good, self._is_silent = (moment, watts), False

    def _note_count(self, moment: float, joules: float, good: tuple[float, float]) -> None:
        used = self._used(good, moment, joules)
        if used is not None:
            self._count_on(good, moment, joules, used)
            return
        suspect, self._suspect, self._is_silent = self._suspect, (moment, joules), True
        used = self._used(suspect, moment, joules) if suspect is not None else None
        if suspect is not None and used is not None:
            self._unread_seconds += suspect[0] - good[0]
            self._good = suspect
            self._count_on(suspect, moment, joules, used)

    def _count_on(self, since: tuple[float, float], moment: float, joules: float, used: float) -> None:
        self._suspect, self._is_silent = None, False
        if used:
            self._add(moment - since[0], used)
            self._good = moment, joules

    def _used(self, since: tuple[float, float], moment: float, joules: float) -> float | None:
        """What a counter counted between two readings.

        None where no device can have used that, or where it may have wrapped more than once.
        """
        used, most = joules - since[1], self._max_watts * (moment - since[0] + self._lag)
        if self._wraps_at is not None:
            most = min(most, self._wraps_at)
            if self._max_watts * (moment - since[0]) > self._wraps_at:
                return None
            used += self._wraps_at if used < 0 else 0
        return used if 0 <= used <= most else None

    def _add(self, seconds: float, joules: float) -> None:
        self._measured += joules
        self._measured_seconds += seconds
