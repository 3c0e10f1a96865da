"""The forecast of a zone from its own history, kept up to date beside the planning cycle."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, profile_forecast
from carbonfleet.signals.chain import Measured
from carbonfleet.signals.reading import HOUR

_REACH: Final = timedelta(days=16)
"""The longest span that is planned, and two days without a new value."""
Submit = Callable[[Callable[[], Forecast | None]], "Future[Forecast | None]"]


class Profiling:
    """Learning from four weeks takes some 20 ms: the first time at once, later in the background."""

    def __init__(self, zone: str, signal: SignalKind, submit: Submit) -> None:
        self._zone = zone
        self._signal = signal
        self._submit = submit
        self._version: int | None = None
        self._profile: Forecast | None = None
        self._pending: Future[Forecast | None] | None = None
        self._pending_version = 0

    @property
    def pending(self) -> "Future[Forecast | None] | None":
        """The profile that is being made."""
        return self._pending

    def newest(self, measured: Measured | None, version: int) -> Forecast | None:
        """The profile of the measured values of `version`, or while that is being made, of those before.

        None with less than a day of history, or one with too many gaps.
        """
        self._collect()
        if self._profile is None and measured is not None and version != self._version:
            self._profile, self._version = self._learn(measured), version
        self.renew(measured, version)
        return self._profile

    def renew(self, measured: Measured | None, version: int) -> None:
        """Have a profile that is in use made anew in the background, if values have changed since."""
        self._collect()
        if self._profile is None or measured is None or self._pending is not None or version == self._version:
            return
        self._pending, self._pending_version = self._submit(lambda: self._learn(measured)), version

    def _collect(self) -> None:
        if self._pending is not None and self._pending.done():
            self._profile, self._version = self._pending.result(), self._pending_version
            self._pending = None

    def _learn(self, measured: Measured) -> Forecast | None:
        until = measured.newest_hour + HOUR
        values = measured.grams_per_kwh[: measured.newest_index + 1]
        try:
            return profile_forecast(self._zone, self._signal, values, until, until, _REACH, source=measured.source)
        except ValueError:
            return None
