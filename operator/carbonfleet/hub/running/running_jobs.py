"""Jobs under way: which are decided on again now, and by how much the grid differs from what was expected of it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.hub.observe import JobState, Observation, RunningJob, may_be_replanned
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.running.check_times import CHECK_EVERY, next_check, next_quarter, running_job_of
from carbonfleet.placement.decision import Outcome
from carbonfleet.signals import Signals, floor_hour


@dataclass(slots=True)
class RunningJobs:
    """Picks the jobs under way that are decided on again. What it remembers can be lost at any time."""

    signals: Signals
    horizon: timedelta
    _checked: dict[str, datetime] = field(default_factory=dict)
    """By job UID: when a running job was decided on last, and found best left as it is."""
    _surprises: dict[str, tuple[datetime, float]] = field(default_factory=dict)
    """By job UID: until when its grid was compared with what was expected, and what came of it."""

    def pick(self, observation: Observation) -> Observation:
        """The observation with the jobs under way to decide on now, and the time of the next such check."""
        if observation.tip is None or not observation.tip_is_fresh:
            return observation
        candidates = observation.which(
            "whether it may be decided on again can't be told",
            lambda state: (
                state.uid not in observation.holds
                and not observation.stops_early(state)
                and may_be_replanned(state)
                and observation.can_answer(state)
            ),
        )
        if not candidates:
            return observation
        self._ask_for_forecasts(observation, candidates)
        replanned: dict[str, RunningJob] = {}
        ahead = [next_quarter(observation.now)]
        for state in candidates:
            with observation.only(state, "it can't be decided on again"):
                record = observation.records.get(state.uid)
                checked = None if state.uid in observation.agreed else self._checked.get(state.uid)
                running = running_job_of(state, record, checked, observation.now)
                if running is not None:
                    surprise = self._surprise(observation, state, record, running)
                    replanned[state.uid] = replace(running, surprise=surprise)
                if (check := next_check(state, record, observation.now)) is not None:
                    ahead.append(check)
        return replace(observation, replanned=replanned, next_check=min(ahead))

    def _ask_for_forecasts(self, observation: Observation, states: Iterable[JobState]) -> None:
        """Ask the sources about every zone: between two plans nobody else does, and a check would see old figures."""
        kinds = {state.job.spec.signal for state in states if state.job is not None}
        wanted = {(spoke.facts.zone, kind) for spoke in observation.spokes for kind in kinds}
        self.signals.forecasts(wanted, observation.now, observation.now + self.horizon)

    def remember(
        self, observation: Observation, planned: Planned, asked: Collection[str], refused: Collection[str]
    ) -> None:
        """Note which jobs go on as they are until the next check, by the plan or until people have answered.

        `asked` are UIDs of jobs about whose move people are asked; `refused`, of those, is decided on again at once.
        """
        standing = observation.replanned.keys() | (observation.tip.placements.keys() if observation.tip else set())
        for known in (self._checked, self._surprises):
            for uid in known.keys() - standing:
                known.pop(uid)
        for uid, running in observation.replanned.items():
            decision = planned.decisions.get(uid)
            if not running.paused and decision is not None and decision.outcome is Outcome.KEEP:
                self._checked[uid] = observation.now
        for uid in asked:
            self._checked[uid] = observation.now
        for uid in refused:
            self._checked.pop(uid, None)

    def _surprise(
        self, observation: Observation, state: JobState, record: DecisionRecord | None, running: RunningJob
    ) -> float:
        """The surprise of a job; of what is paused it is not worked out again."""
        until, known = self._surprises.get(state.uid, (None, 0.0))
        if until != running.until:
            known = self._measured_surprise(observation, state, record, running)
            self._surprises[state.uid] = running.until, known
        return known

    def _measured_surprise(
        self, observation: Observation, state: JobState, record: DecisionRecord | None, running: RunningJob
    ) -> float:
        """By which share the grid was above what the decision expected in its last hour of running; 0 if not known."""
        facts = observation.facts.get(state.placement.cluster) if state.placement else None
        if record is None or record.start is None or facts is None or state.job is None or not record.course:
            return 0.0
        since = max(running.since, running.until - CHECK_EVERY)
        readings = self.signals.intensities(facts.zone, state.job.spec.signal, since, running.until)
        first, pairs = floor_hour(record.start), []
        for reading in readings:
            hour = (floor_hour(reading.start) - first) // CHECK_EVERY
            if 0 <= hour < len(record.course):
                pairs.append((reading.value, record.course[hour]))
        expected = sum(wanted for _, wanted in pairs)
        return sum(value for value, _ in pairs) / expected - 1 if expected else 0.0
