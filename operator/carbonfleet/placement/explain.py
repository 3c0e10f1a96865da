"""Why a job goes where it goes, in sentences with figures."""

from collections import Counter

import numpy as np

from carbonfleet.placement import phrase
from carbonfleet.placement.choice import Choice
from carbonfleet.placement.decision import Candidate, Decision, Outcome, Window, Words
from carbonfleet.placement.measure import baseline_of, window_at
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.trace import View, candidates_of, piece, view_of
from carbonfleet.placement.weigh import gate_of, is_signal_lost


def words_for(problem: Problem, job: int, choice: Choice | None, decision: Decision) -> Words:
    """The message, the candidates and the baseline of a decision, seen in the finished plan."""
    view = view_of(problem, job, choice)
    candidates = candidates_of(view)
    if choice is None or decision.window is None:
        return Words(_without(view, decision, candidates), candidates)
    baseline = baseline_of(problem, job, choice.lane, decision.window)
    said = (
        _what(view, choice, decision.outcome, decision.window),
        _signal_note(view),
        _why_then(view, choice, decision.window),
        _why_there(candidates),
        decision.review_reason,
    )
    return Words(" ".join(part for part in said if part), candidates, baseline)


def _what(view: View, choice: Choice, outcome: Outcome, window: Window) -> str:
    here = f"{phrase.gpus(window.gpus)} of {window.cluster}/{window.pool}{phrase.spot(window)}"
    parts = f", in {len(window.segments)} parts" if len(window.segments) > 1 else ""
    end = f"ends {phrase.time(window.end)}{parts}: {phrase.figures(window)}."
    match outcome:
        case Outcome.KEEP:
            return f"Goes on on {here}, {end}"
        case Outcome.PAUSE:
            return f"Pauses at its next checkpoint; goes on {phrase.time(window.start)} on {here}, {end}"
        case Outcome.MOVE:
            return f"Moves to {here} at its next checkpoint, {end}"
    verb = "Starts now" if choice.start == 0 else f"Starts {phrase.time(window.start)}"
    return f"{verb} on {here}, {end}"


def _signal_note(view: View) -> str:
    problem, job = view.problem, view.job
    if not is_signal_lost(problem, job):
        return ""
    action = problem.jobs[job].spec.schedule.on_signal_loss.action.value
    stand_in = problem.snapshot.assumptions.signal_loss_grams_per_kwh
    return (
        f"No source knows the grid of any spoke that is allowed, so the job's own rule holds "
        f"({action}); {stand_in:.0f} gCO2e/kWh stand in for what is not known."
    )


def _why_then(view: View, choice: Choice, window: Window) -> str:
    if choice.is_late:
        return "No GPUs were free before the job's latest start; this is the first time that they are."
    if is_signal_lost(view.problem, view.job) or choice.running is not None:
        return ""
    why = _why_now(view, choice) if choice.start == 0 else _why_later(view, choice, window)
    stays = " It stays where it was planned: another place would gain too little." if choice.kept else ""
    return f"{why}{stays}{_gate_note(view, choice)}"


def _why_later(view: View, choice: Choice, window: Window) -> str:
    problem, job = view.problem, view.job
    first = problem.earliest_start(job)
    if choice.start == first:
        return f"It may not start before {phrase.time(problem.limits[job].earliest)}."
    now = window_at(problem, job, choice.lane, piece(view, choice.lane, first))
    saved = now.grams_co2e - window.grams_co2e
    share = f" ({100 * saved / now.grams_co2e:.0f} %)" if now.grams_co2e else ""
    when = "At once" if first == 0 else f"At {phrase.time(now.start)}"
    taken = "" if view.free[choice.lane, first] else ", had it GPUs there then"
    return (
        f"{when} it would be {phrase.grams(now.grams_co2e)} at {now.grams_per_kwh:.0f} gCO2e/kWh here{taken}; "
        f"waiting saves {phrase.grams(saved)}{share}."
    )


def _why_now(view: View, choice: Choice) -> str:
    problem, job = view.problem, view.job
    if min(problem.latest_start(job), problem.line.starts - 1) <= 0:
        return "It does not wait: its delay is used up, or its tier allows none."
    later = (view.windows.open & view.free)[choice.lane, 1:]
    if not later.any():
        return "No later start is open to it here."
    scores = view.windows.scores[choice.lane, 1:]
    start = 1 + int(np.argmin(np.where(later, scores, np.inf)))
    other = window_at(problem, job, choice.lane, piece(view, choice.lane, start))
    return (
        f"Waiting would not better it: the best later start until {phrase.time(problem.limits[job].latest)} "
        f"is {phrase.time(other.start)} with {phrase.grams(other.grams_co2e)} at "
        f"{other.grams_per_kwh:.0f} gCO2e/kWh."
    )


def _gate_note(view: View, choice: Choice) -> str:
    if not view.problem.limits[view.job].is_gated:
        return ""
    gate = gate_of(view.problem, view.job)[choice.lane]
    return f" Before its delay is used up it starts only at {gate:.0f} gCO2e/kWh or less here."


def _why_there(candidates: tuple[Candidate, ...]) -> str:
    chosen = candidates[0].window
    other = next((c for c in candidates[1:] if c.window is not None), None)
    if other is None or other.window is None or chosen is None:
        return "No other spoke is open to it." if len(candidates) > 1 else ""
    window = other.window
    return (
        f"Next best is {other.cluster} at {phrase.time(window.start)}: {phrase.grams(window.grams_co2e)}, "
        f"{window.cost_usd:,.2f} USD (score {window.score_usd:.4f} beside {chosen.score_usd:.4f} USD)."
    )


def _without(view: View, decision: Decision, candidates: tuple[Candidate, ...]) -> str:
    """Why there is no window: how many spokes fell to which rule, and one of them in full."""
    if not candidates:
        return "The fleet has no spoke. Join one with `carbonfleet spoke join`."
    counts = Counter(candidate.reason for candidate in candidates)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    summary = ", ".join(f"{count} {reason}" for reason, count in ordered)
    head = "No spoke can take the job"
    if decision.outcome is Outcome.PAUSE:
        head = "Policy no longer allows the place where it runs, and no other can take it"
    elif is_signal_lost(view.problem, view.job):
        head = "Waits: the carbon intensity is known nowhere that it may go, and the job asked to wait then"
    elif decision.outcome is Outcome.WAIT:
        head = "Waits: no GPUs are free where it may go"
    return f"{head} ({summary}). For example {candidates[0].cluster}: {candidates[0].message}"
