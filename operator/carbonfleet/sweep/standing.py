"""Where each job of a sweep stands: its configuration, loss and figures, beside the baseline's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job import Phase
from carbonfleet.api.job_status import Figures, JobStatus, RungStatus
from carbonfleet.sweep.manifests import BASELINE, TIER
from carbonfleet.sweep.scoring import JobScore, score_of


@dataclass(frozen=True, slots=True)
class SweepStanding:
    """One job: what it is, how good, and at what price."""

    job: str
    namespace: str
    tier: str
    phase: Phase
    is_baseline: bool
    rank: int
    alpha: float
    dropout: float
    learning_rate: float
    cluster: str
    step: int
    total_steps: int
    validation_loss: float | None
    energy_kwh: float | None
    grams_co2e: float | None
    is_accounted: bool
    """True: energy and carbon are the ledger's; False: as planned, and they may still change."""
    delay: timedelta | None
    """From submission to the start of the first attempt."""
    attempts: int
    score: JobScore | None
    """How its adapter did at a file of prompts; None where nobody has kept that."""
    rungs: tuple[RungStatus, ...]
    """How it stood at each rung of early stopping that it reached."""
    unspent_kwh: float | None
    unspent_grams: float | None
    """Of a job that was stopped early: what its remaining steps would have used and emitted, by those that it did."""

    @property
    def is_final(self) -> bool:
        """Trained to the end, so that its loss may be compared."""
        return self.phase is Phase.SUCCEEDED and self.validation_loss is not None


@dataclass(frozen=True, slots=True)
class Difference:
    """A job less the baseline; None where one of the two did not succeed or is not accounted for."""

    validation_loss: float | None
    energy_kwh: float | None
    grams_co2e: float | None


@dataclass(frozen=True, slots=True)
class LeaderboardLine:
    """A line of the leaderboard."""

    place: int | None
    """From 1, by validation loss; None for a job that has not succeeded."""
    standing: SweepStanding
    difference: Difference


@dataclass(frozen=True, slots=True)
class TierProgress:
    """How far the jobs of one tier are. The six counts add up to `jobs`."""

    tier: str
    jobs: int
    waiting: int
    running: int
    succeeded: int
    stopped_early: int
    failed: int
    held: int
    """Blocked or rejected: a person must look."""
    steps: int
    total_steps: int
    """Of the jobs that have said how many they have."""
    energy_kwh: float
    grams_co2e: float
    """Energy and carbon of the jobs that have ended."""


_RUNNING: Final = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.MOVING})
_FAILED: Final = frozenset({Phase.FAILED, Phase.CANCELLED})
_HELD: Final = frozenset({Phase.BLOCKED, Phase.REJECTED})
_WAITING: Final = frozenset(Phase) - _RUNNING - _FAILED - _HELD - {Phase.SUCCEEDED, Phase.STOPPED_EARLY}


def standing_of(job: CarbonTrainingJob) -> SweepStanding:
    """A job as the leaderboard sees it."""
    status, lora = job.status, job.spec.workload.lora
    figures, accounted = _figures(status)
    progress, left = status.progress, _left_over_done(status, accounted)
    return SweepStanding(
        job=job.metadata.name,
        namespace=job.metadata.namespace,
        tier=job.metadata.labels.get(TIER, ""),
        phase=status.phase,
        is_baseline=job.metadata.labels.get(BASELINE) == "true",
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        learning_rate=job.spec.workload.training.learning_rate,
        cluster=status.cluster,
        step=progress.step if progress else 0,
        total_steps=progress.total_steps if progress else 0,
        validation_loss=progress.validation_loss if progress else None,
        energy_kwh=figures.energy_kwh if figures else None,
        grams_co2e=figures.grams_co2e if figures else None,
        is_accounted=accounted,
        delay=_delay(job),
        attempts=status.attempt,
        score=score_of(job),
        rungs=status.rungs,
        unspent_kwh=figures.energy_kwh * left if figures and left is not None else None,
        unspent_grams=figures.grams_co2e * left if figures and left is not None else None,
    )


def leaderboard(jobs: Iterable[CarbonTrainingJob]) -> tuple[LeaderboardLine, ...]:
    """Those that succeeded by validation loss, those that were stopped by rung and loss, then the others by the loss
    that they have; ties by name.
    """
    return ranked(map(standing_of, jobs))


def ranked(found: Iterable[SweepStanding]) -> tuple[LeaderboardLine, ...]:
    """The leaderboard of jobs that were looked at before."""
    standings = sorted(found, key=_order)
    baseline = next((one for one in standings if one.is_baseline), None)
    return tuple(
        LeaderboardLine(number if one.is_final else None, one, _difference(one, baseline))
        for number, one in enumerate(standings, 1)
    )


def progress_by_tier(jobs: Iterable[CarbonTrainingJob]) -> tuple[TierProgress, ...]:
    """The tiers by name, each with its jobs counted by what they do."""
    return tiers_of([standing_of(job) for job in jobs])


def tiers_of(standings: Sequence[SweepStanding]) -> tuple[TierProgress, ...]:
    """The same of jobs that were looked at before."""
    tiers = sorted({one.tier for one in standings})
    return tuple(_progress(tier, [one for one in standings if one.tier == tier]) for tier in tiers)


def _figures(status: JobStatus) -> tuple[Figures | None, bool]:
    """What the ledger says once all attempts are over; what is planned before."""
    if status.phase.is_terminal and status.actual is not None:
        return status.actual, True
    return status.expected, False


def _left_over_done(status: JobStatus, accounted: bool) -> float | None:
    """Of a job that was stopped early: the steps left beside those that its figures are of; None for any other."""
    progress = status.progress
    if status.phase is not Phase.STOPPED_EARLY or progress is None or not progress.step or not progress.total_steps:
        return None
    left = max(0, progress.total_steps - progress.step)
    return left / (progress.step if accounted else progress.total_steps)


def _delay(job: CarbonTrainingJob) -> timedelta | None:
    """Before a job has run, its start is only a plan."""
    started, submitted = job.status.first_start, job.metadata.creation_timestamp
    return None if started is None or submitted is None else max(started - submitted, timedelta())


def _order(one: SweepStanding) -> tuple[bool, int, bool, float, str, str]:
    loss = one.validation_loss
    stopped_at = one.rungs[-1].percent if one.phase is Phase.STOPPED_EARLY and one.rungs else 0
    return not one.is_final, -stopped_at, loss is None, loss or 0.0, one.namespace, one.job


def _difference(one: SweepStanding, baseline: SweepStanding | None) -> Difference:
    if baseline is None:
        return Difference(None, None, None)
    # A run that was cut short emitted less, which says nothing of its configuration.
    trained = one.is_final and baseline.is_final
    accounted = trained and one.is_accounted and baseline.is_accounted
    return Difference(
        validation_loss=_less(one.validation_loss, baseline.validation_loss, trained),
        energy_kwh=_less(one.energy_kwh, baseline.energy_kwh, accounted),
        grams_co2e=_less(one.grams_co2e, baseline.grams_co2e, accounted),
    )


def _less(ours: float | None, theirs: float | None, comparable: bool) -> float | None:
    return ours - theirs if comparable and ours is not None and theirs is not None else None


def _progress(tier: str, standings: list[SweepStanding]) -> TierProgress:
    ended = [one for one in standings if one.is_accounted]

    def count(phases: Iterable[Phase]) -> int:
        return sum(one.phase in phases for one in standings)

    return TierProgress(
        tier=tier,
        jobs=len(standings),
        waiting=count(_WAITING),
        running=count(_RUNNING),
        succeeded=count({Phase.SUCCEEDED}),
        stopped_early=count({Phase.STOPPED_EARLY}),
        failed=count(_FAILED),
        held=count(_HELD),
        steps=sum(one.step for one in standings),
        total_steps=sum(one.total_steps for one in standings),
        energy_kwh=sum(one.energy_kwh or 0.0 for one in ended),
        grams_co2e=sum(one.grams_co2e or 0.0 for one in ended),
    )
