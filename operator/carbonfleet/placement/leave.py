"""Whether a person must agree to a window of a job, as the job and the policies in its scope say."""

from carbonfleet.placement.decision import Window
from carbonfleet.placement.measure import baseline_of
from carbonfleet.placement.policy import NO_REVIEW, ReviewRuling, review_verdict
from carbonfleet.placement.problem import Problem


def leave_for(problem: Problem, job: int, lane: int, window: Window, *, moving: bool) -> ReviewRuling:
    """The ruling on a window of a job (a row of the problem) on a lane; what people agreed to needs no second word."""
    queued, policies = problem.jobs[job], problem.snapshot.policies
    if queued.incumbent is not None and queued.incumbent.agreed == (window.cluster, window.pool):
        return NO_REVIEW
    baseline = baseline_of(problem, job, lane, window)
    saving = 100 * (1 - window.grams_co2e / baseline.grams_co2e) if baseline and baseline.grams_co2e else None
    goes_elsewhere = bool(queued.moves_from) and window.cluster != queued.moves_from
    return review_verdict(
        policies,
        queued.spec,
        queued.namespace,
        cost_usd=window.cost_usd,
        saving_percent=saving,
        moving=moving or goes_elsewhere,
    )
