"""What a person sees of jobs as they travel: decisions, commits, training, and the table at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import CandidateStatus, DecisionRecord, JobStatus, Phase, PromiseStatus, RunLengthStatus
from carbonfleet.placement import Window
from carbonfleet.placement.phrase import hours, number

_COLOURS = {"Succeeded": "green", "Running": "cyan", "Blocked": "yellow", "Failed": "red", "Waiting": "blue"}


@dataclass(slots=True)
class Screen:
    """Writes to a console; on anything but a terminal the lines are plain."""

    console: Console

    def title(self, text: str) -> None:
        """A new part of the story."""
        self.console.print()
        if self.console.is_terminal:
            self.console.rule(f"[bold]{text}", align="left")
        else:
            self.console.print(f"--- {text}", highlight=False)

    def line(self, who: str, text: str) -> None:
        """One thing that happened."""
        if not (who and self.console.is_terminal):  # logs and commands to copy keep their lines whole
            self.console.print(f"[dim]{who:>14}[/dim]  {text}", highlight=False, soft_wrap=True)
            return
        row = Table.grid(padding=(0, 2))
        row.add_column(width=14, justify="right", style="dim")
        row.add_column(overflow="fold")
        row.add_row(who, text)
        self.console.print(row, highlight=False)

    def decision(self, job: CarbonTrainingJob) -> None:
        """A decision with its candidate table."""
        status = job.status
        colour = _COLOURS.get(status.phase.value, "white")
        self.console.print()
        said = next((c.message for c in status.conditions if c.type == "Scheduled"), "") or status.summary
        said = status.summary if status.phase is Phase.BLOCKED else said
        self.line(job.metadata.name, f"[{colour}]{status.phase.value}[/{colour}]: {escape(said)}")
        if status.candidates:
            self.console.print(candidate_table(status.candidates))

    def progress(self, job: str, status: JobStatus) -> None:
        """Where a job's training is."""
        progress = status.progress
        if progress is None:
            return
        losses = ""
        if progress.train_loss is not None:
            losses += f"  train loss {progress.train_loss:.3f}"
        if progress.validation_loss is not None:
            losses += f"  validation loss {progress.validation_loss:.3f}"
        where = f"on {status.cluster}"
        self.line(job, f"step {progress.step:>4} of {progress.total_steps} {where}{losses}")

    def results(self, jobs: Iterable[CarbonTrainingJob], note: str) -> None:
        """The table at the end."""
        self.console.print()
        self.console.print(result_table(list(jobs)))
        self.console.print(f"[dim]{note}[/dim]", highlight=False)


def candidate_table(candidates: Sequence[CandidateStatus]) -> Table:
    """Every spoke as the planner saw it; what several have in common is said once."""
    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="dim")
    for name in ("", "spoke", "start", "g/kWh now", "in window", "gCO2e", "USD", "why"):
        numeric = name in ("g/kWh now", "in window", "gCO2e", "USD")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "why")
    days = {candidate.start.date() for candidate in candidates if candidate.start}
    form = "%H:%M" if len(days) == 1 else "%m-%d %H:%M"
    told: set[str] = set()
    for candidate in candidates:
        mark = {"Chosen": Text(">", "green"), "Filtered": Text("x", "red")}.get(candidate.verdict, Text(" "))
        start = candidate.start.strftime(form) if candidate.start else "-"
        seen = candidate.grams_per_kwh_now, candidate.grams_per_kwh_window, candidate.grams_co2e
        figures = [_number(value) for value in seen]
        cost = "-" if candidate.cost_usd is None else f"{candidate.cost_usd:,.2f}"
        why = candidate.message or candidate.reason
        table.add_row(mark, candidate.cluster, start, *figures, cost, Text("as above" if why in told else why))
        told.add(why)
    return table


def frontier_table(windows: Sequence[Window], record: DecisionRecord) -> Table:
    """Windows of which none is both cheaper and cleaner than another, and among them the one that was chosen."""
    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="dim")
    for name in ("", "USD", "gCO2e", "spoke", "start"):
        table.add_column(name, justify="right" if name in ("USD", "gCO2e") else "left", no_wrap=True)
    rows = {(each.cluster, each.pool, each.start): (round(each.cost_usd, 2), each.grams_co2e) for each in windows}
    start, expected = record.start, record.expected
    if start is not None and expected is not None and expected.cost_usd is not None:
        rows.setdefault((record.cluster, record.pool, start), (expected.cost_usd, expected.grams_co2e))
    for (cluster, pool, at), (usd, grams) in sorted(rows.items(), key=lambda row: row[1]):
        is_chosen = (cluster, pool, at) == (record.cluster, record.pool, start)
        mark = Text(">", "green") if is_chosen else Text(" ")
        table.add_row(mark, f"{usd:,.2f}", _number(grams), f"{cluster}/{pool}", f"{at:%Y-%m-%d %H:%M}")
    return table


def promise_table(promise: PromiseStatus) -> Table:
    """What is expected, with its doubt, and how long the whole run takes."""
    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="dim")
    for name in ("", "P10", "P50", "P90"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, times in (("starts", promise.start), ("has finished", promise.finish)):
        table.add_row(name, *(f"{moment:%m-%d %H:%M}" for moment in (times.p10, times.p50, times.p90)))
    for name, grams in (("gCO2e", promise.grams_co2e), ("saved gCO2e", promise.saved_grams_co2e)):
        if grams is not None:
            table.add_row(name, *(number(value) for value in (grams.p10, grams.p50, grams.p90)))
    return table


def length_line(length: RunLengthStatus) -> str:
    """The declared length of a whole run beside the measured one."""
    declared = f"The whole run: {hours(60 * length.declared_hours)} declared"
    if length.measured_hours is None:
        return f"{declared}, not measured yet."
    return f"{declared}, {hours(60 * length.measured_hours)} measured ({length.runs} runs)."


def result_table(jobs: Sequence[CarbonTrainingJob]) -> Table:
    """One row for each job: where, when, what it learned, what it emitted."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in ("job", "spoke", "started", "val. loss", "kWh", "gCO2e", "baseline", "saved"):
        numeric = name in ("kWh", "gCO2e", "baseline", "saved")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for job in jobs:
        table.add_row(job.metadata.name, *_row(job.status))
    return table


def _row(status: JobStatus) -> list[str]:
    actual, progress, word = status.actual, status.progress, status.phase.value
    loss = "-"
    if progress and progress.initial_validation_loss is not None and progress.validation_loss is not None:
        loss = f"{progress.initial_validation_loss:.2f}>{progress.validation_loss:.2f}"
    ran = status.phase is Phase.SUCCEEDED
    return [
        # What has not succeeded shows its phase where the spoke would stand.
        f"[{_COLOURS.get(word, 'white')}]{status.cluster if ran else word}[/{_COLOURS.get(word, 'white')}]",
        status.when if ran else "-",
        loss,
        _number(actual.energy_kwh if actual else None),
        _number(actual.grams_co2e if actual else None),
        _number(actual.baseline_grams_co2e if actual else None),
        status.saved if actual else "-",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)
