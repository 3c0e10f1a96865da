"""When work of one length should start in a zone: the hub's own plan, for one job on a GPU that is always free."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from carbonfleet.api.signal import SignalKind
from carbonfleet.placement import Outcome, plan
from carbonfleet.placement.assumptions import DEFAULTS
from carbonfleet.signals import Signals
from carbonfleet.simulator.backtest import MINIMUM_GAIN
from carbonfleet.simulator.grid import HOUR, MINUTE, ReplayError
from carbonfleet.simulator.replay import ReplayJob, pools_of, queued, replay_fleet


@dataclass(frozen=True, slots=True)
class SuggestedStart:
    """A start, and what waiting for it saves."""

    zone: str
    start: datetime
    end: datetime
    latest_start: datetime
    """As long as it may wait."""
    is_now: bool
    grams_per_kwh: float | None
    """Expected mean while it runs; None where nothing is known."""
    at_once_grams_per_kwh: float | None
    """The same of a start at once, when it was planned first."""
    source: str
    """Where the forecast comes from; empty where nothing is known."""
    problem: str = ""
    """Why it could not be planned now: then it is as it was planned before, or now."""

    @property
    def saving_percent(self) -> float | None:
        """Of a start at once, when it was planned first."""
        if self.grams_per_kwh is None or not self.at_once_grams_per_kwh:
            return None
        return 100 * (1 - self.grams_per_kwh / self.at_once_grams_per_kwh)


@dataclass
class StartSuggestions:
    """The starts that are suggested to one who waits, again and again by newer forecasts."""

    service: Signals
    zone: str
    length: timedelta
    latest_start: datetime
    last: SuggestedStart | None = None
    """What was suggested before."""

    def next(self, now: datetime, *, now_if_unknown: bool = False) -> SuggestedStart:
        """The start as planned now; where that can't be done, the last one holds.

        Raises ReplayError where there was none before, unless `now_if_unknown` says that it is now.
        """
        before = self.last
        try:
            found = suggested_start(self.service, self.zone, self.length, self.latest_start, now)
            if before is not None and before.at_once_grams_per_kwh is not None:
                found = replace(found, at_once_grams_per_kwh=before.at_once_grams_per_kwh)
        except ReplayError as error:
            if before is not None:
                found = replace(before, is_now=before.start <= now, problem=str(error))
            elif now_if_unknown:
                latest = max(now, self.latest_start)
                found = SuggestedStart(self.zone, now, now + self.length, latest, True, None, None, "", str(error))
            else:
                raise
        self.last = found
        return found


def suggested_start(
    service: Signals, zone: str, length: timedelta, latest_start: datetime, now: datetime
) -> SuggestedStart:
    """The start at `now` or later that the hub would choose. Raises ReplayError where nothing is known of the grid."""
    kind, wanted = SignalKind.AVERAGE_LIFECYCLE, max(latest_start, now) + length + HOUR
    reading = service.forecasts({(zone, kind)}, now, wanted)
    if reading.awaited:
        service.await_answers()
        reading = service.forecasts({(zone, kind)}, now, wanted)
    forecast = reading.forecasts.get((zone, kind))
    if forecast is None:
        raise ReplayError(f"nothing is known of {zone}: {reading.problems.get(zone, 'no source offers it')}")
    fleet = replay_fleet(pools_of([zone], None), zone, DEFAULTS.slot // MINUTE, minimum_gain=MINIMUM_GAIN)
    minutes, delay = max(1, round(length / MINUTE)), max(timedelta(), latest_start - now)
    jobs = [ReplayJob("at once", now, minutes, timedelta()), ReplayJob("job", now, minutes, delay)]
    snapshot = fleet.snapshot((queued(job, kind) for job in jobs), reading.forecasts)
    assumptions = replace(snapshot.assumptions, maximum_signal_age=DEFAULTS.maximum_signal_age)
    planned = plan(replace(snapshot, histories=reading.histories, assumptions=assumptions), now)
    decided = {decision.name: decision for decision in planned}
    at_once, chosen = decided["at once"].window, decided["job"].window
    if at_once is None or chosen is None:
        raise ReplayError(f"no start in {zone} can be weighed: {decided['job'].reason}")
    is_now = decided["job"].outcome is Outcome.START
    return SuggestedStart(
        zone,
        chosen.start,
        chosen.end,
        now + delay,
        is_now,
        chosen.grams_per_kwh,
        at_once.grams_per_kwh,
        forecast.source,
    )
