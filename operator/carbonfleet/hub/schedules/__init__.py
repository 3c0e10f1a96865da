"""Recurring work: makes the jobs of CarbonTrainingSchedules ahead of their runs, and says what was missed."""

from carbonfleet.hub.schedules.schedules import Schedules

__all__ = ["Schedules"]
