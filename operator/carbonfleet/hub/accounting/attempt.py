"""Everything that an attempt's line of the ledger is made from beside the grid, and its form as evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.api.report import AttemptPhase, ReportSpec
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import Time, Wire
from carbonfleet.faults import only
from carbonfleet.hub.accounting.counterfactual import Location, baseline_of
from carbonfleet.hub.energy import stints_until
from carbonfleet.ledger import Document
from carbonfleet.placement.assumptions import Assumptions
from carbonfleet.placement.hardware import HardwareProfile, declared_hours, pool_profile

ARITHMETIC: Final = 2
"""Of the ledger's lines: raised when the same inputs come to give other figures. 1 told no estimated share."""


FEWEST_GIB: Final = 1.0
"""Of a dataset, for its way in to be told from the rest of the start-up."""


class PlannedRun(Wire):
    """What the decision expected of the run."""

    grams_per_kwh: float | None = None
    transfer_grams: float = 0.0
    cost_usd: float | None = None
    hours: float = 0.0
    """In which it holds its GPUs."""

    @classmethod
    def of(cls, record: DecisionRecord) -> Self:
        """Of a decision as it is kept."""
        expected = record.expected
        return cls(
            grams_per_kwh=record.grams_per_kwh,
            transfer_grams=(expected.transfer_grams_co2e or 0.0) if expected else 0.0,
            cost_usd=expected.cost_usd if expected else None,
            hours=_planned_hours(record),
        )


class AttemptInputs(Wire):
    """What was asked and decided, where it ran, and the figures that are taken for granted."""

    arithmetic: int = ARITHMETIC
    submitted_at: Time | None
    signal: SignalKind
    tier: str
    sweep: str
    planned: PlannedRun | None = None
    simulated_hours: float | None = None
    """Of GPUs that do not exist: how long real ones would have been held, however long this machine took."""
    cluster: str
    account: str = ""
    """Of the cloud that the cluster is in; empty where none is declared."""
    location: Location
    pool: GpuPool
    hardware: HardwareProfile
    baseline_region: str
    baseline: Location | None = None
    """None where nobody knows that region's grid."""
    utilisation: float
    embodied_share: float
    hardware_life_hours: float
    profile: str = ""
    declared_hours: float = 0.0
    """Of the whole run on these GPUs; 0 in evidence from before it was kept."""
    away_gib: float = 0.0
    """Of its dataset, where that lies elsewhere; 0 in evidence from before it was kept, as is what follows."""
    overhead_hours: float = 0.0
    """From the start to the first step, as the cluster declares it, but for the dataset."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that ended, with all that its account needs beside the grid."""

    report: ReportSpec
    inputs: AttemptInputs
    places: tuple[Location, ...]
    """Every spoke's, for the best of them."""
    commit: str = ""
    """The fleet repository's that placed it."""

    def documents(self) -> tuple[Document, Document, Document]:
        """Report, inputs and places."""
        places = [place.to_wire() for place in self.places]
        return Document.of(self.report.to_wire()), Document.of(self.inputs.to_wire()), Document.of(places)

    @classmethod
    def read(cls, report: Any, inputs: Any, places: Any, commit: str) -> Self:  # noqa: ANN401 - any JSON
        """What such documents say. Raises ValueError for what they can't say."""
        located = tuple(Location.model_validate(place) for place in places)
        return cls(ReportSpec.model_validate(report), AttemptInputs.model_validate(inputs), located, commit)

    @property
    def start(self) -> datetime:
        """When it began to run."""
        return self.report.start_time or self.report.observed_at

    @property
    def submitted(self) -> datetime:
        """When its job was."""
        return self.inputs.submitted_at or self.start

    @property
    def end(self) -> datetime:
        """When it ended, as far as its spoke said."""
        return max(self.report.end_time or self.report.observed_at, self.start)

    @property
    def gpus(self) -> int:
        """How many it held; never more than there are."""
        return min(self.report.gpus, self.inputs.pool.gpus)

    @property
    def hours(self) -> float:
        """How long it held its GPUs, or would have held real ones."""
        if self.inputs.simulated_hours is not None:
            return self.inputs.simulated_hours
        stints = stints_until(self.report, self.end)
        return sum((end - start).total_seconds() for start, end in stints) / 3600

    @property
    def run_hours(self) -> float:
        """How long the whole run takes, by how long this attempt took beside its plan; 0 where that can't be told.

        An attempt that went on from a checkpoint was planned for what was left; one with less than half to do says
        more of starting than of training.
        """
        planned, declared = self.inputs.planned, self.inputs.declared_hours
        if self.report.phase is not AttemptPhase.SUCCEEDED or planned is None or planned.hours < declared / 2:
            return 0.0
        return declared * self.hours / planned.hours if declared else 0.0

    @property
    def ingress_gib_per_hour(self) -> float:
        """How fast its dataset came in, by the time from the start to the first step; 0 where that can't be told.

        A training reads its whole dataset before the first step. What takes longer than is declared beside that is
        counted as the dataset's, which is on the safe side. Too little data says more of starting than of copying.
        """
        first_step = self.report.progress.first_step_time if self.report.progress is not None else None
        if first_step is None or self.inputs.simulated_hours is not None or self.inputs.away_gib < FEWEST_GIB:
            return 0.0
        hours = (first_step - self.start).total_seconds() / 3600 - self.inputs.overhead_hours
        return self.inputs.away_gib / hours if hours > 0 else 0.0


def attempt_of(
    job: CarbonTrainingJob,
    report: ReportSpec,
    record: DecisionRecord | None,
    clusters: Mapping[str, ClusterFacts],
    baseline_region: str,
    assumptions: Assumptions,
    commit: str = "",
) -> Attempt | None:
    """An attempt of a job; None when it never ran or its spoke is not declared. `record` is its decision."""
    facts = clusters.get(report.spoke)
    pool = next((pool for pool in facts.pools if pool.name == report.pool), None) if facts else None
    if facts is None or pool is None or report.start_time is None:
        return None
    places: list[Location] = []
    for name, each in sorted(clusters.items()):
        with only(f"an attempt of {job.key} can't be compared with spoke {name}"):
            places.append(Location.of(each))
    planned = PlannedRun.of(record) if record is not None else None
    dataset = job.spec.workload.dataset
    inputs = AttemptInputs(
        submitted_at=job.metadata.creation_timestamp,
        signal=job.spec.signal,
        tier=job.spec.schedule.tier,
        sweep=job.metadata.labels.get("carbonfleet.dev/sweep", ""),
        planned=planned,
        simulated_hours=_simulated_hours(report, planned) if pool.simulated and planned is not None else None,
        cluster=facts.name,
        account=facts.account,
        location=Location.of(facts),
        pool=pool,
        hardware=pool_profile(pool),
        baseline_region=baseline_region,
        baseline=baseline_of(baseline_region, tuple(places), facts.pue),
        utilisation=assumptions.utilisation,
        embodied_share=assumptions.embodied_share,
        hardware_life_hours=assumptions.hardware_life / timedelta(hours=1),
        profile=job.spec.workload.profile,
        declared_hours=declared_hours(job.spec.resources, pool),
        away_gib=dataset.size_gib if dataset.region != facts.region else 0.0,
        overhead_hours=facts.overhead / timedelta(hours=1),
    )
    return Attempt(report, inputs, tuple(places), commit)


def _simulated_hours(report: ReportSpec, planned: PlannedRun) -> float:
    """What was planned for work that was done; of work that was done in part, as much of it, or no more than that."""
    if report.phase is AttemptPhase.SUCCEEDED:
        return planned.hours
    progress = report.progress
    if report.attempt == 1 and progress is not None and progress.total_steps:
        return planned.hours * min(1.0, progress.step / progress.total_steps)
    start = report.start_time or report.observed_at
    stints = stints_until(report, max(report.end_time or report.observed_at, start))
    return min(planned.hours, sum((end - begin).total_seconds() for begin, end in stints) / 3600)


def _planned_hours(record: DecisionRecord) -> float:
    """How long a decision expected the run to hold its GPUs."""
    if record.segments:
        return sum((part.end - part.start).total_seconds() for part in record.segments) / 3600
    return (record.end - record.start).total_seconds() / 3600 if record.start and record.end else 0.0
