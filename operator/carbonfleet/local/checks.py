"""What the demo promises, each as a check of what really happened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from carbonfleet.ledger import Entry

TRAINED: Final = ("unconstrained", "waits", "eu-only", "us-only", "cheap")
LEAST_FALL: Final = 0.1
"""Of the validation loss."""


@dataclass(frozen=True, slots=True)
class Ran:
    """Everything that a run of the demo left behind."""

    jobs: Mapping[str, CarbonTrainingJob]
    answers: Mapping[str, str]
    """What kubectl said to each manifest."""
    entries: Sequence[Entry]
    subjects: Sequence[str]
    """Of the commits in the fleet repository."""
    store: Path
    """Where adapters are."""
    live: bool
    """Whether the grid's figures were live ones."""


Check = Callable[[Ran], str]
"""Empty when it holds, and otherwise what is wrong."""


def trained(ran: Ran) -> str:
    """Five jobs were trained"""
    phases = {name: ran.jobs[name].status.phase for name in TRAINED if name in ran.jobs}
    wrong = [f"{name} is {phases.get(name, 'missing')}" for name in TRAINED if phases.get(name) != Phase.SUCCEEDED]
    return ", ".join(wrong)


def learned(ran: Ran) -> str:
    """Each validation loss fell by a tenth or more"""
    wrong = []
    for name in TRAINED:
        progress = ran.jobs[name].status.progress if name in ran.jobs else None
        before = progress.initial_validation_loss if progress else None
        after = progress.validation_loss if progress else None
        if before is None or after is None or after > (1 - LEAST_FALL) * before:
            wrong.append(f"{name}: {before} to {after}")
    return ", ".join(wrong)


def adapters(ran: Ran) -> str:
    """Each job left an adapter and a DONE marker"""
    wrong = []
    for name in TRAINED:
        job = ran.jobs.get(name)
        made = ran.store / str(job.status.cluster) / job.metadata.uid if job else ran.store / "?"
        if not (made / "adapter" / "adapter_model.safetensors").exists() or not (made / "DONE").exists():
            wrong.append(name)
    return ", ".join(wrong)


def cleanest(ran: Ran) -> str:
    """The unconstrained job went to the spoke that emits least"""
    status = ran.jobs["unconstrained"].status
    known = [(c.grams_co2e, c.cluster) for c in status.candidates if c.grams_co2e is not None]
    return "" if known and min(known)[1] == status.cluster else f"it went to {status.cluster}: {known}"


def waited(ran: Ran) -> str:
    """One job waited for a cleaner hour and then started by itself"""
    if ran.live:
        return ""  # the live grid need not get cleaner within the job's delay
    job = ran.jobs["waits"]
    submitted, start = job.metadata.creation_timestamp, job.status.start
    if submitted is None or start is None or start - submitted < timedelta(hours=1):
        return f"submitted {submitted}, started {start}"
    entry = next((entry for entry in ran.entries if entry.job == "waits"), None)
    if entry is None or entry.same_spoke_grams is None or entry.grams >= entry.same_spoke_grams:
        return "it did not emit less than it would have at once"
    return ""


def resident(ran: Ran) -> str:
    """EU data stayed in the EEA, and US data in the United States"""
    places = ran.jobs["eu-only"].status.cluster, ran.jobs["us-only"].status.cluster
    return "" if places == ("no-osl-1", "us-oh-1") else str(places)


def cheapest(ran: Ran) -> str:
    """The cheap job went where it costs least"""
    status = ran.jobs["cheap"].status
    known = [(c.cost_usd, c.cluster) for c in status.candidates if c.cost_usd is not None]
    return "" if known and min(known)[1] == status.cluster else f"it went to {status.cluster}: {known}"


def blocked(ran: Ran) -> str:
    """The job that policy allows nowhere is blocked, with a reason for each spoke"""
    status = ran.jobs["blocked"].status
    reasons = [candidate.message for candidate in status.candidates if candidate.verdict == "Filtered"]
    right = status.phase is Phase.BLOCKED and len(reasons) == 3 and all(reasons)
    return "" if right else f"{status.phase}: {reasons}"


def refused(ran: Ran) -> str:
    """The invalid job was refused before it was stored"""
    return "" if "invalid" not in ran.jobs and "is invalid" in ran.answers["invalid"] else ran.answers["invalid"]


def committed(ran: Ran) -> str:
    """Each placement is one commit's work in the fleet repository, and none was made twice"""
    placements = [subject for subject in ran.subjects if subject.startswith("place")]
    return "" if 1 <= len(placements) <= len(TRAINED) else f"{len(placements)} commits place jobs"


def accounted(ran: Ran) -> str:
    """The ledger has one line for each attempt, with its baseline"""
    lines = sorted(entry.job for entry in ran.entries)
    complete = all(entry.baseline_grams is not None and entry.energy_kwh > 0 for entry in ran.entries)
    return "" if lines == sorted(TRAINED) and complete else str(lines)


CHECKS: Final[tuple[Check, ...]] = (
    trained,
    learned,
    adapters,
    cleanest,
    waited,
    resident,
    cheapest,
    blocked,
    refused,
    committed,
    accounted,
)
