"""When a job may start and must have finished, from its own words and its tier's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from carbonfleet.api.job import ThresholdMiss
from carbonfleet.api.policy import Tier
from carbonfleet.placement.snapshot import QueuedJob

NEVER: Final = 2**40
"""A minute that does not come."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The times and thresholds that bind one job."""

    priority: int
    earliest: datetime
    latest: datetime
    """The last start that is still of its own will; after it the job takes the first free GPUs."""
    deadline: datetime | None
    """On the finish."""
    gate_grams_per_kwh: float | None
    gate_percentile: float | None
    waits_for_threshold: bool
    """Where no window is below its threshold, it waits until its latest start in the hope of one."""
    gain_percent_per_hour: float
    """What each hour of delay must save, of what a start at once in the same place would score."""

    @property
    def is_gated(self) -> bool:
        """Whether the run's mean intensity must not exceed a threshold while such a window can be had."""
        return self.gate_grams_per_kwh is not None or self.gate_percentile is not None


def limits_of(job: QueuedJob, tier: Tier, now: datetime) -> Limits:
    """What is written in the job stands over the tier's figures; the delay counts from submission."""
    schedule = job.spec.schedule
    asked = schedule.earliest_start
    # A start at once counts from the minute that has begun: plans are made in whole minutes.
    earliest = asked if asked is not None and asked > now else now.replace(second=0, microsecond=0)
    delay = tier.max_delay if schedule.max_delay is None else schedule.max_delay
    own_gate = schedule.max_intensity_grams_per_kwh, schedule.max_intensity_percentile
    tier_gate = tier.max_intensity_grams_per_kwh, tier.max_intensity_percentile
    grams, percentile = own_gate if own_gate != (None, None) else tier_gate
    return Limits(
        priority=tier.priority,
        earliest=earliest,
        latest=max(job.submitted_at + delay, earliest),
        deadline=schedule.deadline,
        gate_grams_per_kwh=grams,
        gate_percentile=percentile,
        waits_for_threshold=schedule.on_threshold_miss is ThresholdMiss.WAIT,
        gain_percent_per_hour=tier.minimum_gain_percent_per_hour,
    )
