"""Why a job goes where it goes, in sentences with figures."""

from typing import Final

from carbonfleet.api.job import SignalLossAction
from carbonfleet.api.policy import Goal
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import (
    MOST_SHOWN,
    Candidate,
    Decision,
    Explanation,
    Outcome,
    Promise,
    RunLength,
    Verdict,
    Window,
)
from carbonfleet.placement.explain.candidates import Spokes, has_better_equals, is_equal, piece, spokes_of
from carbonfleet.placement.explain.promise import promise_of
from carbonfleet.placement.explain.trade import trade
from carbonfleet.placement.explain.without_window import out_by_reason, without_window
from carbonfleet.placement.inputs import MINUTE
from carbonfleet.placement.plan import Plan
from carbonfleet.placement.rules import Refusal, residency_verdict
from carbonfleet.placement.search import (
    Choice,
    JobContext,
    at_submission,
    baseline_of,
    gate_of,
    own_cost,
    shortlist,
    unbroken,
    window_at,
    windows_of,
)
from carbonfleet.placement.snapshot import Snapshot

_MOST_DOUBTED: Final = 3


def explain(plan: Plan, decision: Decision) -> Explanation:
    """The message, the candidates and the baseline of a decision of a plan, with all other jobs in their places."""
    index = plan.index
    if index is None:
        raise ValueError(f"{decision.key}: the plan holds nothing to explain it by")
    if decision.uid in plan.refused:
        return _refused(index.inputs.snapshot, decision, plan.refused[decision.uid])
    job, choice = plan.choices[decision.uid]
    listed = shortlist(index, job, choice, MOST_SHOWN - 1)
    context, spokes = listed.context, spokes_of(listed)
    if choice is None or decision.window is None:
        reasons = tuple(dict.fromkeys(refusal.reason for _, refusal in spokes.filtered))
        return Explanation(without_window(context, decision, spokes.filtered), spokes.shown, spokes.total, reasons)
    baseline = baseline_of(context.inputs, job, choice.option, decision.window)
    promise = promise_of(context, choice, decision.window, baseline)
    said = (
        _signal_note(context),
        _doubted(context),
        _why_change(context, choice, decision.window),
        _what(context, choice, decision.outcome, decision.window, promise),
        _misdeclared(decision.window, promise.length),
        _weighed_lengths(context, choice),
        _way_in(context, choice),
        _why_then(context, choice, decision.window),
        _why_there(spokes),
        trade(index, context, choice, decision.window),
        _blend(context, choice),
        decision.review_reason,
    )
    return Explanation(" ".join(part for part in said if part), spokes.shown, spokes.total, (), baseline, promise)


def _refused(snapshot: Snapshot, decision: Decision, refusal: Refusal) -> Explanation:
    """Of a job that no policy covers or whose tier does not exist; each spoke that residency forbids says so."""
    job = next(job for job in snapshot.jobs if job.uid == decision.uid)
    said: list[tuple[str, Refusal]] = []
    for spoke in sorted(snapshot.spokes, key=lambda spoke: spoke.name):
        request = job.spec.residency
        places = job.spec.workload.data_places
        ruling = residency_verdict(snapshot.policies, request.data_class, job.namespace, request, spoke.facts, places)
        said.append((spoke.name, refusal if ruling.allowed else Refusal(ruling.reason, ruling.message)))
    shown = tuple(Candidate(name, Verdict.FILTERED, why.reason, why.message) for name, why in said[:MOST_SHOWN])
    return Explanation(refusal.message, shown, len(said), tuple(dict.fromkeys(why.reason for _, why in said)))


def _what(context: JobContext, choice: Choice, outcome: Outcome, window: Window, promise: Promise) -> str:
    here = f"{phrase.gpus(window.gpus)} of {window.cluster}/{window.pool}{phrase.spot(window)}"
    parts = f" in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    late = promise.finish[2]
    by = f", promised by {phrase.until(window.end, late)}" if late - window.end >= MINUTE else ""
    figures = f"{parts}{by}: {phrase.figures(window, promise.grams)}."
    end = f"ends {phrase.until(window.start, window.end)}{figures}"
    incumbent = context.inputs.jobs[context.job].incumbent
    paused = incumbent is not None and incumbent.paused
    match outcome:
        case Outcome.KEEP:
            verb = "Goes on now" if paused else "Goes on"
            return f"{verb} on {here}, ends {phrase.time(window.end)}{figures}"
        case Outcome.PAUSE:
            verb = "Stays paused" if paused else "Pauses at its next checkpoint"
            return f"{verb}; goes on {phrase.time(window.start)} on {here}, {end}"
        case Outcome.MOVE:
            when = "" if paused else " at its next checkpoint"
            return f"Moves to {here}{when}, ends {phrase.time(window.end)}{figures}"
    when = phrase.time(window.start)
    return f"Starts {f'now ({when})' if choice.start == 0 else when} on {here}, {end}"


OFF_SHARE: Final = 0.1
"""From so much on a declared duration is said to be off."""


def _misdeclared(window: Window, length: RunLength | None) -> str:
    """By how much runs like it were shorter or longer than this one is declared to be."""
    if length is None or length.measured_hours is None:
        return ""
    off = length.measured_hours / length.declared_hours - 1
    if abs(off) < OFF_SHARE:
        return ""
    took, declared = (phrase.hours(60 * hours) for hours in (length.measured_hours, length.declared_hours))
    return (
        f"{len(length.took_hours)} such runs took {took} on {phrase.gpus(window.gpus)} of this type, {abs(off):.0%} "
        f"{'longer' if off > 0 else 'shorter'} than the {declared} declared: correct spec.resources.".replace("%", " %")
    )


def _weighed_lengths(context: JobContext, choice: Choice) -> str:
    """By which lengths of run its start is weighed, where these are not the declared one."""
    terms = context.inputs.demand.of(context.job)
    lengths = terms.lengths[:, choice.option]
    if choice.segments or (lengths == terms.minutes[choice.option]).all():
        return ""
    likely = " and ".join(dict.fromkeys(map(phrase.hours, sorted(lengths.tolist()))))
    return f"Its start is weighed by runs of {likely}, as such runs took."


def _way_in(context: JobContext, choice: Choice) -> str:
    """How long the dataset takes to come in, where it lies elsewhere and that is part of the window."""
    spoke = context.inputs.options.entries[choice.option].spoke
    dataset, speed = context.inputs.jobs[context.job].spec.workload.dataset, spoke.facts.ingress_gib_per_hour
    if choice.running or not dataset.size_gib or speed is None or dataset.region == spoke.facts.region:
        return ""
    known = f"measured over {spoke.ingress_runs} runs" if spoke.ingress_runs else "as declared"
    took = f"{phrase.hours(60 * dataset.size_gib / speed)} at {phrase.number(speed)} GiB an hour, {known}"
    return f"Its {phrase.number(dataset.size_gib)} GiB of data come in first: {took}."


def _why_change(context: JobContext, choice: Choice, window: Window) -> str:
    """What a job that is under way gains on going on where it is, at once and without a pause."""
    inputs, job = context.inputs, context.job
    incumbent = inputs.jobs[job].incumbent
    if incumbent is None or not incumbent.is_under_way:
        return ""
    share = inputs.snapshot.assumptions.surprise_share
    surprised = f"The grid was {100 * incumbent.surprise:.0f} % above what was expected. "
    note = surprised if incumbent.surprise > share else ""
    stay = unbroken(inputs, job)
    if stay is None or (stay.cluster, stay.pool, stay.segments) == (window.cluster, window.pool, window.segments):
        return note.strip()
    saved = stay.grams_co2e - window.grams_co2e
    percent = f" ({100 * saved / stay.grams_co2e:z.0f} %)" if stay.grams_co2e else ""
    gain = f"This saves {phrase.grams(saved)}{percent}" if saved > 0 else f"This emits {phrase.grams(-saved)} more"
    then = f"to go on at once and without a pause on {stay.cluster} would be"
    if choice.running is Outcome.MOVE:
        return f"{note}{gain}: {then} {phrase.doubted(stay)}. {_cost_of_moving(context, choice, window)}"
    return f"{note}{gain}: {then} {phrase.grams(stay.grams_co2e)} at {stay.grams_per_kwh:.0f} gCO2e/kWh."


def _cost_of_moving(context: JobContext, choice: Choice, window: Window) -> str:
    """How much is done already, and what the move itself takes of what is left."""
    done = 100 * (1 - context.inputs.jobs[context.job].remaining_fraction)
    minutes, grams, usd = own_cost(context.inputs, context.job, choice.option, window)
    took = f"{phrase.hours(minutes)}, {phrase.grams(grams)} and {usd:,.2f} USD"
    return f"{done:.0f} % of it is done; the move itself takes {took} of what follows."


def _signal_note(context: JobContext) -> str:
    inputs, job = context.inputs, context.job
    if not inputs.is_signal_lost(job):
        return ""
    stand_in = f"{inputs.snapshot.assumptions.signal_loss_grams_per_kwh:.0f} gCO2e/kWh stand in"
    known = inputs.known[inputs.jobs[job].spec.signal][inputs.admitted[job]]
    if known.any():
        rest = "" if known.all() else f", and where none is known {stand_in}"
        stand_in = f"zones are compared by their annual means{rest}"
    asked, action = inputs.jobs[job].spec.schedule.on_signal_loss.action, inputs.signal_rule(job)
    if action is not asked:
        then = "their first answers are still to come, and are waited for at most until the job's latest start"
    elif action is SignalLossAction.NOW:
        then = "no hour is known to be cleaner, so that the job does not wait for one"
    else:
        then = f"the job's own rule ({action.value}) holds"
    return f"No source knows the grid of any spoke that is allowed: {then}, and {stand_in}."


def _doubted(context: JobContext) -> str:
    """Which values of the grid where the job may go are left out."""
    inputs, job = context.inputs, context.job
    grid = inputs.carbon[inputs.jobs[job].spec.signal]
    rows = dict.fromkeys(inputs.options.zone[inputs.admitted[job]].tolist())
    said = [forecast.doubted for row in rows if (forecast := grid.forecasts[row]) is not None and forecast.doubted]
    return " ".join(f"{text}." for text in said[:_MOST_DOUBTED])


def _blend(context: JobContext, choice: Choice) -> str:
    """Of the chosen place, how far its forecast is the one that was issued, and why."""
    grid = context.inputs.carbon[context.inputs.jobs[context.job].spec.signal]
    forecast = grid.forecasts[int(context.inputs.options.zone[choice.option])]
    return f"The forecast of {forecast.zone}: {forecast.blend}." if forecast is not None and forecast.blend else ""


def _why_then(context: JobContext, choice: Choice, window: Window) -> str:
    if choice.is_late:
        if not windows_of(context.inputs, context.job).open.any():
            return "Nothing before the job's latest start is within its limits; this is the first time that is."
        return "No GPUs were free before the job's latest start; this is the first time that they are."
    if context.inputs.is_signal_lost(context.job) or choice.running is not None:
        return ""
    if choice.start == 0:
        why = _why_now(context, choice, window)
    else:
        why = " ".join(filter(None, (_why_later(context, choice, window), _not_worth(context, choice, window))))
    stays = " It stays where it was planned: another place would gain too little." if choice.kept else ""
    return f"{why}{stays}{_gate_note(context, choice)}"


def _why_later(context: JobContext, choice: Choice, window: Window) -> str:
    inputs, job = context.inputs, context.job
    first = inputs.earliest_start(job)
    if choice.start == first:
        return f"It may not start before {phrase.time(inputs.limits[job].earliest)}."
    if (told := _waited(context, choice, window)) is not None:
        return told
    now = window_at(inputs, job, choice.option, piece(context, choice.option, first))
    when = "At once" if first == 0 else f"At {phrase.time(now.start)}"
    taken = "" if context.free[context.windows.row(choice.option), first] else ", had it GPUs there then"
    gain = _gain(now.grams_co2e, window.grams_co2e, now.cost_usd - window.cost_usd)
    return f"{when}: {phrase.grams(now.grams_co2e)}{taken}; {gain}."


def _not_worth(context: JobContext, choice: Choice, window: Window) -> str:
    """What the best start would save that the job does not wait for, where there is one."""
    inputs, job = context.inputs, context.job
    windows = context.windows
    found, own = context.cleanest, float(windows.bare[windows.row(choice.option), choice.start])
    if found is None or choice.segments or choice.kept or found[0] >= own or found[1] <= choice.start:
        return ""
    option = int(windows.options[found[2]])
    later = window_at(inputs, job, option, piece(context, option, found[1]))
    where = "" if later.cluster == window.cluster else f" on {later.cluster}"
    least_gain = inputs.limits[job].gain_percent_per_hour
    saved = _saved(inputs.demand.goal(job), window, later)
    if is_equal(context, choice, found[0]) or has_better_equals(context):
        # What the wait must gain is part of what is compared.
        return f"Waiting until {phrase.time(later.start)}{where} would save only {saved}, which counts as equal."
    return f"Waiting until {phrase.time(later.start)}{where} would save only {saved}, under {least_gain:g} % an hour."


def _saved(goal: Goal, window: Window, later: Window) -> str:
    """What a later window saves of what the job minds."""
    if goal is Goal.CARBON:
        saved, of, unit = window.grams_co2e - later.grams_co2e, window.grams_co2e, "g"
    elif goal is Goal.COST:
        saved, of, unit = window.cost_usd - later.cost_usd, window.cost_usd, "USD"
    else:
        saved, of, unit = window.score_usd - later.score_usd, window.score_usd, "USD of cost and carbon"
    percent = 100 * saved / of if of else 0.0
    return f"{phrase.number(max(saved, 0.0))} {unit} ({max(percent, 0.0):.2g} %)"


def _waited(context: JobContext, choice: Choice, window: Window) -> str | None:
    """What the whole wait brings, for a job that was submitted a while ago; None where that can't be told."""
    inputs, job = context.inputs, context.job
    zone = inputs.options.entries[choice.option].spoke.facts.zone
    minutes = sum(round((end - start).total_seconds() / 60) for start, end in window.segments)
    held = at_submission(inputs, job, zone, minutes)
    if held is None or not window.grams_per_kwh:
        return None
    grams = window.grams_co2e + window.operational_grams * (held / window.grams_per_kwh - 1)
    return f"At submission: {phrase.grams(grams)}; {_gain(grams, window.grams_co2e)}."


def _gain(before_grams: float, grams: float, saved_usd: float = 0.0) -> str:
    """What waiting saves; it may also save nothing, where GPUs or a price make a job wait."""
    saved = before_grams - grams
    gains = [phrase.saving(saved, 100 * saved / before_grams)] if round(saved, 1) > 0 else []
    gains += [f"{saved_usd:,.2f} USD"] if round(saved_usd, 2) > 0 else []
    return f"waiting saves {' and '.join(gains)}" if gains else "waiting saves no carbon"


def _why_now(context: JobContext, choice: Choice, window: Window) -> str:
    waited = _waited(context, choice, window)
    return " ".join(part for part in (waited, _why_not_later(context, choice, window)) if part)


def _why_not_later(context: JobContext, choice: Choice, window: Window) -> str:
    inputs, job = context.inputs, context.job
    latest = inputs.limits[job].latest
    if min(inputs.latest_start(job), inputs.line.starts - 1) <= 0:
        if latest - inputs.jobs[job].submitted_at >= MINUTE:
            return f"It may wait no longer than {phrase.time(latest)}."
        schedule = inputs.jobs[job].spec.schedule
        return f"It may not wait: {'maxDelay is 0' if schedule.max_delay is not None else f'tier {schedule.tier}'}."
    if not_worth := _not_worth(context, choice, window):
        return not_worth
    if not context.usable[context.windows.row(choice.option), 1:].any():
        return "No later start is open to it here."
    return f"No later start until {context.until(choice.option)} is better."


def _gate_note(context: JobContext, choice: Choice) -> str:
    if not context.inputs.limits[context.job].is_gated:
        return ""
    gate = phrase.intensity(float(gate_of(context.inputs, context.job)[choice.option]))
    if context.inputs.gives_up_threshold(context.job):
        waits = context.inputs.limits[context.job].waits_for_threshold
        then = "waits until its latest start" if waits and choice.start else "takes the cleanest"
        until = context.until(choice.option)
        return f" No free run until {until} is forecast at its threshold (here {gate}) or below: it {then}."
    return f" It runs only at {gate} or less here."


def _why_there(spokes: Spokes) -> str:
    chosen, *others = spokes.shown
    if not others:
        return ""
    window = others[0].window
    if window is None:
        return f"Not elsewhere: {out_by_reason(spokes.filtered)}."
    carbon, cost = phrase.grams(window.grams_co2e), f"{window.cost_usd:,.2f} USD"
    when = f", {phrase.time(window.start)}" if chosen.window is None or window.start != chosen.window.start else ""
    return f"Next best is {window.cluster}{when}: {carbon}, {cost}."
