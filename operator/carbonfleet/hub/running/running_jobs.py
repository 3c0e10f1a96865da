"""The hub's watch over jobs under way: which want a decision now, and how the grid has surprised them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from carbonfleet.api.job_status import MOST_HOURS, DecisionRecord
from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast
from carbonfleet.hub.accounting import ledger_updates
from carbonfleet.hub.observe.job_state import JobView
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.running.turns import LOOK_EVERY, Turn, may_turn, next_look, next_quarter, turn_of
from carbonfleet.hub.world import World
from carbonfleet.placement.decision import Outcome
from carbonfleet.signals import floor_hour


def watch(world: World, scene: Scene) -> Scene:
    """The scene with the turns of jobs under way, and the time of the next look at one."""
    if scene.tip is None or not scene.tip_is_fresh:
        return scene
    open_ones = [v for v in scene.views if v.uid not in scene.holds and may_turn(v) and scene.can_answer(v)]
    if not open_ones:
        return scene
    _keep_informed(world, scene, open_ones)
    turns: dict[str, Turn] = {}
    ahead = [next_quarter(scene.now)]
    for view in open_ones:
        record = ledger_updates.record_in_git(world, scene, view)
        looked = None if view.uid in scene.agreed else world.looked.get(view.uid)
        turn = turn_of(view, record, looked, scene.now)
        if turn is not None:
            turns[view.uid] = replace(turn, surprise=_remembered(world, scene, view, record, turn))
        if (look := next_look(view, record, scene.now)) is not None:
            ahead.append(look)
    return replace(scene, turns=turns, next_look=min(ahead))


def _keep_informed(world: World, scene: Scene, views: Iterable[JobView]) -> None:
    """Have the sources asked about every zone: between two plans nobody else does, and a look would see old figures."""
    kinds = {view.job.spec.signal for view in views if view.job is not None}
    wanted = {(spoke.facts.zone, kind) for spoke in scene.spokes for kind in kinds}
    world.signals.forecasts(wanted, scene.now, scene.now + world.settings.horizon)


def remember(world: World, scene: Scene, planned: Planned) -> None:
    """Note which running jobs are to go on as they are: they are not looked at again before the next mark."""
    for known in (world.looked, world.surprises):
        for uid in known.keys() - scene.turns.keys():
            if uid not in (scene.tip.placements if scene.tip else ()):
                known.pop(uid)
    for uid, turn in scene.turns.items():
        decision = planned.decisions.get(uid)
        if not turn.paused and decision is not None and decision.outcome is Outcome.KEEP:
            world.looked[uid] = scene.now


def expecting(
    planned: Planned, scene: Scene, forecasts: Mapping[tuple[str, SignalKind], Forecast]
) -> dict[str, DecisionRecord]:
    """By job UID: the records of what is to be committed, with what they expect of the grid hour by hour."""
    jobs = {view.uid: view.job for view in scene.views}
    found = {}
    for uid, decision in planned.decisions.items():
        job, window = jobs.get(uid), decision.window
        facts = scene.facts.get(window.cluster) if window else None
        if decision.outcome is not Outcome.START or job is None or window is None or facts is None:
            continue
        if (forecast := forecasts.get((facts.zone, job.spec.signal))) is not None:
            course = _course(forecast, window.start)
            found[uid] = planned.records[uid].model_copy(update={"course": course})
    return found


def _course(forecast: Forecast, start: datetime) -> tuple[float, ...]:
    hours = (floor_hour(start) + count * LOOK_EVERY for count in range(MOST_HOURS))
    values = []
    for hour in hours:
        if (value := forecast.at(hour)) is None:
            break
        values.append(round(value, 1))
    return tuple(values)


def _remembered(world: World, scene: Scene, view: JobView, record: DecisionRecord | None, turn: Turn) -> float:
    """The surprise of a job; what is paused is not worked out again."""
    until, known = world.surprises.get(view.uid, (None, 0.0))
    if until != turn.until:
        known = _surprise(world, scene, view, record, turn)
        world.surprises[view.uid] = turn.until, known
    return known


def _surprise(world: World, scene: Scene, view: JobView, record: DecisionRecord | None, turn: Turn) -> float:
    """By which share the grid was above what the decision expected in its last hour of running; 0 if not known."""
    facts = scene.facts.get(view.placement.cluster) if view.placement else None
    if record is None or record.start is None or facts is None or view.job is None or not record.course:
        return 0.0
    since = max(turn.since, turn.until - LOOK_EVERY)
    held = world.signals.intensities(facts.zone, view.job.spec.signal, since, turn.until)
    first, pairs = floor_hour(record.start), []
    for reading in held:
        hour = (floor_hour(reading.start) - first) // LOOK_EVERY
        if 0 <= hour < len(record.course):
            pairs.append((reading.value, record.course[hour]))
    expected = sum(wanted for _, wanted in pairs)
    return sum(value for value, _ in pairs) / expected - 1 if expected else 0.0
