"""The figures that a plan rests on, each with its source; all can be set."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is taken for granted where nobody says otherwise."""

    slot: timedelta = timedelta(minutes=15)
    """Starts that lie ahead are on multiples of this, in whole minutes. Grids settle in 5 to 60 minutes."""
    horizon: timedelta = timedelta(days=14)
    """No start later than this is weighed; what is due later waits and is looked at again."""
    longest_run: timedelta = timedelta(days=30)
    """Runs longer than this are refused: split them."""
    utilisation: float = 1.0
    """Share of the way from idle to peak power while training. 1 is on the safe side."""
    duration_doubt: float = 0.2
    """Relative standard error of a declared duration. Users' estimates of batch jobs are worse (Mu'alem and
    Feitelson 2001), but those are made to bound a run, and a training's length is often known from the one before."""
    transfer_kwh_per_gib: float = 0.00107
    """Network energy: 0.001 kWh per GB (Cloud Carbon Footprint, methodology, networking), in GiB."""
    unknown_egress_usd_per_gib: float = 0.09
    """When no spoke is in the data's region: the list price of large clouds for data that leaves them."""
    embodied_share: float = 1.0
    """0 leaves the making of the hardware out of account."""
    hardware_life: timedelta = timedelta(days=4 * 365)
    """Over which the making of a GPU is spread (Cloud Carbon Footprint: four years)."""
    signal_loss_grams_per_kwh: float = 480.0
    """Stands in where no source knows the grid: the world's mean in 2023 (Ember, 2024)."""
    maximum_signal_age: timedelta = timedelta(hours=72)
    """A last defence behind the sources' own, tighter limits."""
    doubt_weight: float = 0.1
    """How many standard errors of an issued forecast a later or farther start must gain on top: with recorded
    forecasts this leaves fewer jobs worse off than an immediate start and saves as much. See `grid.weighed_doubt`."""
    equal_share: float = 0.01
    """Windows whose carbon is within this share of the least count as equal: of them the cheaper, then the earlier."""
    stability_share: float = 0.12
    """A move must gain this share of the job's carbon: more than two spokes that swing by ±5 % can show."""
    promised_gain_share: float = 0.5
    """Of what a later start must gain for its wait: a start that a job was promised need only gain this share of it."""
    surprise_share: float = 0.2
    """A grid that is by more than this share above what a decision expected has its job looked at afresh."""
    surprised_gain_share: float = 0.02
    """After such a surprise, or where its plan has it pause, leaving must gain this share beyond its own cost."""
    minimum_dwell: timedelta = timedelta(hours=1)
    """A running job is left alone for so long after its start."""
    review_lead: timedelta = timedelta(hours=2)
    """How long before its start a placement is proposed, so that people can read it."""
    recheck: timedelta = timedelta(minutes=15)
    """The longest time between two looks at a waiting job."""
    improvement_cells: int = 30_000_000
    """Work spent on repairing a contended plan, in (job, option, slot) cells: tenths of a second; 0 spends none."""


DEFAULTS = Assumptions()
"""What holds where nobody says otherwise."""
