"""Jobs of sweeps that are stopped early: how each stands at its rungs, as their spokes report their losses."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from carbonfleet.api.job import EarlyStopping
from carbonfleet.api.job_status import RungStatus
from carbonfleet.api.report import Progress, Validation
from carbonfleet.hub.observe import JobStage, JobState, Observation
from carbonfleet.hub.running.halving import Arrival, RungVerdict, verdicts_on


def judge_rungs(observation: Observation) -> Observation:
    """The observation with how jobs under way stand at the rungs that they have reached.

    A verdict counts once a status holds it, and is never made again. Jobs that have ended are rivals still; those that
    a person let go on after they were stopped are neither judged nor rivals.
    """
    if observation.tip is None or not observation.tip_is_fresh:
        return observation
    sweeps = defaultdict[tuple[str, EarlyStopping], list[JobState]](list)
    rules = observation.each("whether it is stopped early can't be told", _sweep_of)
    for state, sweep in rules:
        if sweep is not None:
            sweeps[sweep].append(state)
    found: dict[str, tuple[RungStatus, ...]] = {}
    for (_, rule), states in sweeps.items():
        found |= _judged(states, rule, observation)
    return replace(observation, rungs=found)


def _sweep_of(state: JobState) -> tuple[str, EarlyStopping] | None:
    """The namespace and rule; jobs of one sweep whose rules differ are not compared."""
    rule = state.job.spec.early_stopping if state.job is not None else None
    return None if state.job is None or rule is None or _was_let_go_on(state) else (state.job.metadata.namespace, rule)


def _judged(
    states: Iterable[JobState], rule: EarlyStopping, observation: Observation
) -> dict[str, tuple[RungStatus, ...]]:
    by_key = {state.key: state for state in states}
    live = {key for key, state in by_key.items() if state.stage is JobStage.LIVE and not state.is_stopped_early}
    reached = observation.each("its rungs can't be read", lambda state: tuple(_arrivals(state, rule)), by_key.values())
    arrivals = [arrival for _, some in reached for arrival in some]
    decided = {(key, rung.percent) for key, state in by_key.items() for rung in state.status.rungs}
    new = defaultdict[str, list[RungStatus]](list)
    for verdict in verdicts_on(arrivals, rule, live, decided):
        new[verdict.arrival.job].append(_rung_status(verdict))
    return {by_key[key].uid: (*by_key[key].status.rungs, *rungs) for key, rungs in new.items()}


def _was_let_go_on(state: JobState) -> bool:
    return not state.is_stopped_early and any(not rung.goes_on for rung in state.status.rungs)


def _arrivals(state: JobState, rule: EarlyStopping) -> Iterator[Arrival]:
    """As they were judged, and of others as they are reported; of a job that was stopped none after that."""
    known = {rung.percent: rung for rung in state.status.rungs}
    progress = state.report.progress if state.report and state.report.progress else state.status.progress
    for percent in sorted(rule.rungs_percent):
        if (rung := known.get(percent)) is not None:
            yield Arrival(rung.time, percent, state.key, rung.step, rung.validation_loss)
        elif not state.is_stopped_early and progress is not None and (one := _validation_at(percent, progress)):
            yield Arrival(one.time, percent, state.key, one.step, one.loss)


def _validation_at(percent: int, progress: Progress) -> Validation | None:
    """The validation that falls on a rung; where it lies between two steps, either will do."""
    wanted = progress.total_steps * percent / 100
    near = (one for one in progress.validations if abs(one.step - wanted) < 1)
    return min(near, key=lambda one: abs(one.step - wanted), default=None)


def _rung_status(verdict: RungVerdict) -> RungStatus:
    arrival = verdict.arrival
    return RungStatus(
        percent=arrival.percent,
        step=arrival.step,
        validation_loss=arrival.loss,
        time=arrival.time,
        rank=verdict.rank,
        reached=verdict.reached,
        kept=verdict.kept,
        cut_loss=verdict.cut_loss,
        goes_on=verdict.goes_on,
    )
