"""A decision in the form that is kept and shown: rounded, bounded, the same everywhere."""

from datetime import datetime, timedelta
from typing import Final

from carbonfleet.api.job_status import CandidateStatus, DecisionRecord, Figures
from carbonfleet.placement.decision import Baseline, Candidate, Decision, Window

MOST_CANDIDATES: Final = 20


def record_of(decision: Decision, now: datetime) -> DecisionRecord:
    """What `kubectl describe`, the placement's file, a pull request and `explain` say of a decision."""
    window = decision.window
    return DecisionRecord(
        outcome=decision.outcome.value,
        reason=decision.reason,
        message=decision.message[:1024],
        cluster=window.cluster if window else "",
        pool=window.pool if window else "",
        start=window.start if window else None,
        end=window.end if window else None,
        recheck_at=decision.recheck_at,
        expected=figures_of(window, decision.baseline) if window else None,
        grams_per_kwh=round(window.grams_per_kwh, 1) if window else None,
        candidates=tuple(_candidate(candidate, now) for candidate in decision.candidates[:MOST_CANDIDATES]),
        candidates_total=len(decision.candidates),
        policy_digest=decision.policy_digest,
        digest=decision.digest,
        decided_at=now,
    )


def figures_of(window: Window, baseline: Baseline | None) -> Figures:
    """The expected energy, carbon and cost of a window beside its baseline's."""
    base = baseline.grams_co2e if baseline else None
    saved = base - window.grams_co2e if base is not None else None
    return Figures(
        energy_kwh=round(window.energy_kwh, 4),
        grams_co2e=round(window.grams_co2e, 1),
        grams_per_kwh=round(window.grams_per_kwh, 1),
        transfer_grams_co2e=round(window.transfer_grams, 1) or None,
        baseline_grams_co2e=_rounded(base, 1),
        saved_grams_co2e=_rounded(saved, 1),
        saved_percent=round(100 * saved / base, 1) if saved is not None and base else None,
        cost_usd=round(window.cost_usd, 4),
        method="expected",
    )


def _candidate(candidate: Candidate, now: datetime) -> CandidateStatus:
    window = candidate.window
    return CandidateStatus(
        cluster=candidate.cluster,
        pool=window.pool if window else None,
        verdict=candidate.verdict.value,
        reason=candidate.reason,
        message=candidate.message[:1024],
        start=window.start if window else None,
        score_usd=_rounded(window.score_usd if window else None, 4),
        cost_usd=_rounded(window.cost_usd if window else None, 4),
        grams_co2e=_rounded(window.grams_co2e if window else None, 1),
        energy_kwh=_rounded(window.energy_kwh if window else None, 4),
        grams_per_kwh_now=_rounded(candidate.grams_per_kwh_now, 1),
        grams_per_kwh_window=_rounded(window.grams_per_kwh if window else None, 1),
        source=f"{candidate.source} ({candidate.link})" if candidate.link else candidate.source,
        data_age=max(now - candidate.observed_at, timedelta()) if candidate.observed_at else None,
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
