"""One job's page: why there and then, how far it is, and what it used beside what was expected."""

from collections.abc import Sequence

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import CandidateStatus, Figures
from carbonfleet.api.report import Progress
from carbonfleet.kube import Object
from carbonfleet.ledger import Entry
from carbonfleet.placement.phrase import grams
from carbonfleet.ui.charts import Dot, plot
from carbonfleet.ui.pages import Context
from carbonfleet.ui.reader import FleetState
from carbonfleet.ui.values import AttemptRow, job_row, link_in

PLOT_WIDTH, PLOT_HEIGHT = 420, 200


def job(body: Object, state: FleetState, entries: Sequence[Entry], fleet_web: str) -> Context:
    """Everything about one job; where its object can't be read, that alone."""
    row = job_row(body)
    try:
        read = CarbonTrainingJob.model_validate(body)
    except ValueError:
        return {"row": row, "job": None}
    status = read.status
    commit = status.placement.commit if status.placement else ""
    links = [link for each in status.conditions if (link := link_in(each.message))]
    return {
        "row": row,
        "job": read,
        "status": status,
        "logs": {log.attempt: log for log in status.logs},
        "reports": {each.attempt: each for each in reported(state, row.uid)},
        "entries": {entry.attempt: entry for entry in entries},
        "frontier": plot([dot for each in status.candidates if (dot := _dot(each))], PLOT_WIDTH, PLOT_HEIGHT),
        "losses": plot(_losses(status.progress), PLOT_WIDTH, PLOT_HEIGHT, line=True),
        "comparison": _comparison(status.expected, status.actual),
        "commit_link": f"{fleet_web}/commit/{commit}" if fleet_web and commit else "",
        "request_link": links[0] if links else "",
    }


def reported(state: FleetState, uid: str) -> list[AttemptRow]:
    """What spokes report of a job's attempts, in their order."""
    return sorted((each for each in state.attempts if each.job_uid == uid), key=lambda each: each.attempt)


def _dot(candidate: CandidateStatus) -> Dot | None:
    if candidate.cost_usd is None or candidate.grams_co2e is None:
        return None
    where = candidate.cluster + (f"/{candidate.pool}" if candidate.pool else "")
    title = f"{where}: {grams(candidate.grams_co2e)}, {candidate.cost_usd:,.2f} USD. {candidate.message}"
    kind = "chosen" if candidate.verdict == "Chosen" else "other"
    return Dot(candidate.cost_usd, candidate.grams_co2e, kind, candidate.cluster, title)


def _losses(progress: Progress | None) -> list[Dot]:
    """Every validation, the one before the first step too."""
    if progress is None:
        return []
    before = progress.initial_validation_loss
    first = [Dot(0, before, "done", "", f"before the first step: {before:.4g}")] if before is not None else []
    later = [Dot(v.step, v.loss, "done", "", f"step {v.step}: {v.loss:.4g}") for v in progress.validations]
    return first + later if later else []


def _comparison(expected: Figures | None, actual: Figures | None) -> list[tuple[str, str, str, str, str]]:
    """What, unit, as expected, from P10 to P90, as accounted."""
    promise = expected.promise if expected else None

    def of(name: str, digits: int = 3) -> tuple[str, str]:
        pair = (getattr(each, name) if each else None for each in (expected, actual))
        first, second = ("" if value is None else f"{value:,.{digits}g}" for value in pair)
        return first, second

    carbon, saved = (promise.grams_co2e, promise.saved_grams_co2e) if promise else (None, None)
    rows = [
        ("Energy", "kWh", "energy_kwh", ""),
        ("Emissions", "gCO2e", "grams_co2e", f"{carbon.p10:.3g}–{carbon.p90:.3g}" if carbon else ""),
        ("Intensity", "gCO2e/kWh", "grams_per_kwh", ""),
        ("Baseline", "gCO2e", "baseline_grams_co2e", ""),
        ("Saved", "gCO2e", "saved_grams_co2e", f"{saved.p10:.3g}–{saved.p90:.3g}" if saved else ""),
        ("Cost", "USD", "cost_usd", ""),
    ]
    found = [(what, unit, of(name)[0], spread, of(name)[1]) for what, unit, name, spread in rows]
    return [each for each in found if each[2] or each[4]]
