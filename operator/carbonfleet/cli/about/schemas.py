"""What commands answer as data: types that only they have; `answers.SCHEMAS` says whose is which."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.api.wire import Time, Wire
from carbonfleet.ledger.footprints import Cause, Cloud
from carbonfleet.ledger.store.sums import By
from carbonfleet.simulator.promises import KeptPromises
from carbonfleet.simulator.replay import Score
from carbonfleet.sweep import Difference, TierProgress
from carbonfleet.sweep.scoring import Answered


class Answer(BaseModel):
    """A command's data; its keys stay as they are, and units stand in their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VersionAnswer(Answer):
    """Of `version`."""

    carbonfleet: str
    """This release."""
    api: str
    """Group and version of its resources on the hub."""
    python: str
    """What runs it."""
    platform: str
    """Where."""


class FrontierWindow(Wire):
    """A window of which none is both cheaper and cleaner."""

    cluster: str
    pool: str
    start: Time
    cost_usd: float
    grams_co2e: float


class ExplainedJob(DecisionRecord):
    """Of `explain`: a job's decision."""

    job: str
    """namespace/name."""
    frontier: tuple[FrontierWindow, ...] | None = None
    """Cost against carbon, where it was planned here."""


class FileFindingAnswer(Answer):
    """Of `validate` and `policy check`: something about a file."""

    severity: Literal["error", "blocked", "warning"]
    """error: it is refused; blocked: the fleet has no place for the job; warning: doubtful."""
    path: str
    line: int
    column: int | None = None
    message: str


class LogAnswer(Answer):
    """Of `logs`: what an attempt printed."""

    namespace: str
    job: str
    attempt: int
    cluster: str
    phase: str
    """The attempt's."""
    uri: str
    """Where all of it is kept; empty where nobody said."""
    is_whole: bool
    """False: that can't be read from here, and these are the last lines that its spoke reported."""
    text: str


class ProposalAnswer(Answer):
    """Of `review list`: a proposal; what is null in it can't be read."""

    name: str
    """Its branch."""
    head: str
    """Its commit."""
    job: str | None
    """namespace/name."""
    cluster: str | None
    leaves: str | None
    """Of a move: the cluster where it runs."""
    start: datetime | None
    grams_co2e: float | None
    cost_usd: float | None
    good_until: datetime | None


class ShownProposal(ProposalAnswer):
    """Of `review show`."""

    title: str
    body: str
    """Markdown, as on a forge."""
    file: str
    """What is to be written."""


class ClusterRuling(Answer):
    """Of `policy test`."""

    cluster: str
    may_run: bool
    why_not: str


class ReportLine(Answer):
    """The figures of a group of attempts; grams are CO2e, and kWh of the machines where nothing else is said."""

    group: str
    job_uid: str
    signal: str
    jobs: int
    attempts: int
    settled: int
    """Attempts whose figures are final."""
    gpu_hours: float
    energy_kwh: float
    facility_kwh: float
    """With the building."""
    doubt_kwh: float
    doubt_grams: float
    host_kwh: float
    """What machines drew beside their GPUs."""
    estimated_kwh: float
    """What no meter saw."""
    operational_grams: float
    transfer_grams: float
    embodied_grams: float
    grams: float
    compared_grams: float
    """Of the attempts that have a baseline."""
    baseline_grams: float | None
    same_spoke_compared_grams: float
    same_spoke_grams: float
    """At submission on the same spoke."""
    best_static_compared_grams: float
    best_static_grams: float
    """At submission in the region that is cleanest on the whole."""
    without_baseline: int
    cost_usd: float | None
    priced: int
    """Attempts whose cost is known."""
    saved_grams: float | None
    """Baseline less ours."""
    saved_percent: float | None
    energy_methods: str
    energy_uncertainty: float
    """Relative: 0.1 is 10 %."""
    sci_e_kwh: float
    """Software Carbon Intensity: E, I, M, R and the score."""
    sci_i_grams_per_kwh: float | None
    sci_m_grams: float
    sci_r_jobs: int
    sci_grams_per_job: float
    ghg_scope2_location_based_kg: float | None
    """GHG Protocol, Scope 2."""


class ReportAnswer(Answer):
    """Of `report`."""

    by: By
    query: Mapping[str, datetime | str]
    """What it was limited to."""
    madeAt: datetime  # noqa: N815 - as it has been written from the first release
    lines: tuple[ReportLine, ...]
    totals: tuple[ReportLine, ...]
    """One for each kind of signal."""


class VerifyAnswer(Answer):
    """Of `report verify`."""

    lines: int
    head: str | None
    """The last link; null where there is none, or the first is missing."""
    anchors: int
    """Heads that were noted elsewhere, all of whose lines are here; 0: nothing shows whether lines were cut off."""
    derived: int
    """Lines that derive again from their evidence."""
    underivable: int
    """Lines from before evidence was kept."""
    unplaced: int
    """Lines that name no commit that placed them."""
    wrong: int
    """How much is wrong; 0: nothing."""
    faults: tuple[str, ...]
    """What it is, the first 20 of each kind."""


class ModelScoreAnswer(Answer):
    """A model's answers at a file of prompts."""

    model: str
    score: float
    """The share of answers in which every check holds, from 0 to 1."""
    passed: int
    answers: tuple[Answered, ...]


class ScoreAnswer(Answer):
    """Of `chat --score`."""

    suite: str
    digest: str
    """Of its prompts and checks."""
    models: tuple[ModelScoreAnswer, ...]
    """The best first."""


class CloudFiguresAnswer(Answer):
    """What a cloud's export says; grams are CO2e."""

    services: int
    """Of the account, in the export."""
    largest_service: str
    model: str
    """The version of the cloud's method; empty where the export has none."""
    location_based_grams: float | None
    market_based_grams: float | None
    unstated_grams: float | None
    """By a method that the cloud's documentation does not name."""
    without_value: int
    """Rows that hold no figure."""
    compared_grams: float | None
    """Location-based, or else what there is."""


class LedgerFiguresAnswer(Answer):
    """What the ledger says; grams are CO2e."""

    attempts: int
    settled: int
    """Attempts whose figures are final."""
    facility_kwh: float
    """With the building."""
    operational_grams: float
    transfer_grams: float
    embodied_grams: float
    location_based_grams: float
    """Operational by the grid's average, transfer and embodied, without attempts by a marginal signal."""
    uncertainty_grams: float
    market_based_grams: float | None
    """The same with operational by declared factors; null where an attempt has none."""
    marginal_grams: float
    """Of attempts by a marginal signal."""


class ReconciledLine(Answer):
    """An account's region and month, by its cloud and by the ledger."""

    cloud: Cloud | None
    """Null: no export has its account."""
    account: str | None
    region: str | None
    """Null: all regions of the account in which nothing trained."""
    month: str
    """In which attempts ended, UTC."""
    by_cloud: CloudFiguresAnswer | None
    by_ledger: LedgerFiguresAnswer | None
    difference_grams: float | None
    """The cloud's less the ledger's."""
    reasons: tuple[Cause, ...]
    """Why they differ."""


class ReconciliationAnswer(Answer):
    """Of `report reconcile`."""

    query: Mapping[str, datetime | str]
    """What it was limited to."""
    lines: tuple[ReconciledLine, ...]
    other_accounts: Mapping[Cloud, int]
    """Accounts of each export in which nothing trained."""


class SweepJobAnswer(Answer):
    """A line of the leaderboard."""

    place: int | None
    job: str
    namespace: str
    tier: str
    phase: str
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
    """False: as planned."""
    delay_seconds: float | None
    attempts: int
    score: Mapping[str, Any] | None
    """How its adapter did at a file of prompts."""
    rungs: tuple[Mapping[str, Any], ...]
    """As in the job's status."""
    unspent_kwh: float | None
    unspent_grams: float | None
    less_baseline: Difference


class SweepAnswer(Answer):
    """Of `sweep status` and `sweep results`, which has the jobs too."""

    sweep: str
    tiers: tuple[TierProgress, ...]
    jobs: tuple[SweepJobAnswer, ...] | None = None


class BacktestCase(Answer):
    """Of `backtest`: a case with its scores, with --curve its curve, with --promises what became of them."""

    title: str
    stated: str
    zones: tuple[str, ...]
    home: str
    signal: str
    stepMinutes: int  # noqa: N815 - as it has been written from the first release
    filledValues: Mapping[str, int]  # noqa: N815
    foresightIsBound: bool  # noqa: N815
    scores: tuple[Score, ...] | None = None
    curve: tuple[Mapping[str, float | str | None], ...] | None = None
    promises: KeptPromises | None = None
