"""A decision in the form that is kept and shown: rounded, bounded, the same everywhere."""

from datetime import datetime, timedelta
from typing import Final

from carbonfleet.amounts import difference, maybe_rounded, percent, rounded
from carbonfleet.api.job_status import (
    CandidateStatus,
    DecisionRecord,
    Figures,
    PromiseStatus,
    Quantiles,
    RunLengthStatus,
    Segment,
    TimeQuantiles,
)
from carbonfleet.placement.decision import (
    Baseline,
    Candidate,
    Decision,
    Explanation,
    Promise,
    RunLength,
    Spread,
    Window,
)

MOST_SEGMENTS: Final = 128


def record_of(decision: Decision, explanation: Explanation, now: datetime) -> DecisionRecord:
    """What `kubectl describe`, the placement's file, a pull request and `explain` say of a decision."""
    window = decision.window
    return DecisionRecord(
        outcome=decision.outcome.value,
        reason=decision.reason,
        message=explanation.message[:1024],
        cluster=window.cluster if window else "",
        pool=window.pool if window else "",
        start=window.start if window else None,
        end=window.end if window else None,
        recheck_at=decision.recheck_at,
        expected=figures_of(window, explanation.baseline, explanation.promise) if window else None,
        grams_per_kwh=rounded(window.grams_per_kwh, 3) if window else None,
        segments=_segments(window) if window else (),
        candidates=tuple(_candidate(candidate, now) for candidate in explanation.candidates),
        candidates_total=explanation.total,
        policy_digest=decision.policy_digest,
        digest=decision.digest,
        decided_at=now,
    )


def _segments(window: Window) -> tuple[Segment, ...]:
    """Of a run with pauses; as many as are kept."""
    parts = window.segments if len(window.segments) > 1 else ()
    return tuple(Segment(start=start, end=end) for start, end in parts[:MOST_SEGMENTS])


def figures_of(window: Window, baseline: Baseline | None, promise: Promise | None) -> Figures:
    """The expected energy, carbon and cost of a window beside its baseline's."""
    base = baseline.grams_co2e if baseline else None
    saved = difference(base, window.grams_co2e) if base is not None else None
    return Figures(
        energy_kwh=rounded(window.energy_kwh),
        grams_co2e=rounded(window.grams_co2e),
        doubt_grams_co2e=rounded(window.doubt_grams, 2) or None,
        grams_per_kwh=rounded(window.grams_per_kwh, 3),
        transfer_grams_co2e=rounded(window.transfer_grams) or None,
        baseline_grams_co2e=maybe_rounded(base),
        baseline_region=baseline.region[:63] if baseline else "",
        saved_grams_co2e=maybe_rounded(saved),
        saved_percent=percent(saved, base) if saved is not None and base is not None else None,
        cost_usd=round(window.cost_usd, 2),
        promise=_promise(promise) if promise else None,
        method="expected",
    )


def _promise(promise: Promise) -> PromiseStatus:
    start, finish = (dict(zip(("p10", "p50", "p90"), times, strict=True)) for times in (promise.start, promise.finish))
    return PromiseStatus(
        start=TimeQuantiles(**start),
        finish=TimeQuantiles(**finish),
        grams_co2e=_quantiles(promise.grams),
        saved_grams_co2e=_quantiles(promise.saved_grams) if promise.saved_grams else None,
        run_length=_length(promise.length) if promise.length else None,
    )


def _length(length: RunLength) -> RunLengthStatus:
    return RunLengthStatus(
        declared_hours=rounded(length.declared_hours, 3),
        measured_hours=maybe_rounded(length.measured_hours, 3),
        runs=len(length.took_hours),
    )


def _quantiles(spread: Spread) -> Quantiles:
    p10, p50, p90 = (rounded(value, 3) for value in spread)
    return Quantiles(p10=p10, p50=p50, p90=p90)


def _candidate(candidate: Candidate, now: datetime) -> CandidateStatus:
    window = candidate.window
    return CandidateStatus(
        cluster=candidate.cluster,
        pool=window.pool if window else None,
        verdict=candidate.verdict.value,
        reason=candidate.reason,
        message=candidate.message[:1024],
        start=window.start if window else None,
        score_usd=maybe_rounded(window.score_usd if window else None, 6),
        cost_usd=round(window.cost_usd, 2) if window else None,
        grams_co2e=maybe_rounded(window.grams_co2e if window else None),
        energy_kwh=maybe_rounded(window.energy_kwh if window else None),
        grams_per_kwh_now=maybe_rounded(candidate.grams_per_kwh_now, 3),
        grams_per_kwh_window=maybe_rounded(window.grams_per_kwh if window else None, 3),
        source=f"{candidate.source} ({candidate.link})" if candidate.link else candidate.source,
        price_source=candidate.price_source,
        data_age=max(now - candidate.observed_at, timedelta()) if candidate.observed_at else None,
    )
