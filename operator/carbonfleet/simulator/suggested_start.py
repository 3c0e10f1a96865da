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
    grams_per_kwh: float
    """Expected mean while it runs."""
    at_once_grams_per_kwh: float
    """The same of a start at once."""
    source: str
    """Where the forecast comes from."""

    @property
    def saving_percent(self) -> float:
        """Of a start at once."""
        at_once = self.at_once_grams_per_kwh
        return 100 * (1 - self.grams_per_kwh / at_once) if at_once else 0.0


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
