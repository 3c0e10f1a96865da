"""A backtest's results as rows for a table, CSV files and a plot."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from carbonfleet.simulator.backtest import Result
from carbonfleet.simulator.grid import ReplayError
from carbonfleet.simulator.presets import Case
from carbonfleet.simulator.replay import ReplayedRun, Score

HEADINGS: Final = (
    "Policy", "g/kWh", "total g", "saved %", "share %", "mean %", "5th %", "delay h", "95th h", "makespan h",
    "forced", "worse",
)  # fmt: skip
LEGEND: Final = """\
saved %: of all grams, against starting at once at home. share %: of what perfect foresight saves.
mean %, 5th %: mean and 5th percentile of what each job saves, or each replay where there are several.
delay h, 95th h: mean and 95th percentile of waits. makespan h: from the first submission to the last end.
forced: starts because the wait was over. worse: jobs that emitted more than at once at home."""


def title(case: Case, result: Result) -> str:
    """What was replayed, and what was mended in its trace."""
    count, filled = result.scores[0].jobs, sum(case.backtest.grid.filled.values())
    replays = len(case.backtest.scenarios)
    words = f"{count:,} job{'s' * (count != 1)}" + (f" in {replays} replays" if replays > 1 else "")
    if filled:
        words += f"; {filled} missing hour{'s' * (filled > 1)} filled from the hour before"
    return f"{case.title} ({words})"


def table_row(score: Score) -> tuple[str, ...]:
    """One line of the table, under HEADINGS."""
    share = "-" if score.share_percent is None else f"{score.share_percent:.2f}"
    return (
        score.policy,
        f"{score.grams_per_kwh:.2f}",
        f"{score.grams_co2e:,.0f}",
        f"{score.saving_percent:.2f}",
        share,
        f"{score.mean_saving_percent:.2f}",
        f"{score.p5_saving_percent:.1f}",
        f"{score.delay_mean_hours:.1f}",
        f"{score.delay_p95_hours:.1f}",
        f"{score.makespan_hours:,.0f}",
        f"{score.forced_starts:,}",
        f"{score.worse_than_immediate:,}",
    )


def as_json(results: Sequence[tuple[Case, Result]]) -> str:
    """All scores."""
    listed = []
    for case, result in results:
        grid = case.backtest.grid
        listed.append(
            {
                "title": case.title,
                "zones": grid.zones,
                "home": case.backtest.home,
                "signal": grid.signal.value,
                "filledHours": dict(grid.filled),
                "scores": [asdict(score) for score in result.scores],
            }
        )
    return json.dumps(listed, indent=2)


def write_csv(folder: Path, results: Sequence[tuple[Case, Result]]) -> tuple[Path, Path]:
    """`scores.csv` with a line for each case and policy, and `runs.csv` with one for each job."""
    folder.mkdir(parents=True, exist_ok=True)
    scores, runs = folder / "scores.csv", folder / "runs.csv"
    with scores.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", *(item.name for item in fields(Score))])
        for case, result in results:
            writer.writerows([case.title, *asdict(score).values()] for score in result.scores)
    with runs.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "replay", "policy", "job", "submitted", "begin", "zone", "pool", "kwh", "grams_co2e"])
        for case, result in results:
            writer.writerows(_run_rows(case, result))
    return scores, runs


def _run_rows(case: Case, result: Result) -> Sequence[Sequence[object]]:
    return [
        (case.title, number, policy, *_run_row(run, grams))
        for policy, scenarios in result.scenarios.items()
        for number, scenario in enumerate(scenarios, 1)
        for run, grams in zip(scenario.runs, scenario.grams, strict=True)
    ]


def _run_row(run: ReplayedRun, grams: float) -> tuple[object, ...]:
    kwh = round(run.pool.kwh(run.job), 6)
    times = run.job.submitted.isoformat(), run.begin.isoformat()
    return run.job.name, *times, run.pool.zone, run.pool.name, kwh, round(grams, 4)


def write_plot(folder: Path, results: Sequence[tuple[Case, Result]]) -> Path:
    """Bars of g/kWh by policy for each case. Raises ReplayError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReplayError(
            "no plot: it needs matplotlib (pip install matplotlib); table and CSV are complete"
        ) from error
    figure = Figure(figsize=(10, 1 + 3.2 * len(results)), layout="constrained")
    for index, (case, result) in enumerate(results, 1):
        axes = figure.add_subplot(len(results), 1, index)
        names = [score.policy for score in result.scores][::-1]
        values = [score.grams_per_kwh for score in result.scores][::-1]
        bars = axes.barh(names, values, color=["#2a7f4f" if "carbonfleet" in name else "#9aa5b1" for name in names])
        saved = [f"{s.grams_per_kwh:.1f}  ({s.saving_percent:+.1f} %)" for s in result.scores][::-1]
        axes.bar_label(bars, saved, padding=3, fontsize=8)
        axes.set_title(case.title, fontsize=10, loc="left")
        axes.set_xlabel("gCO2e per kWh, and what was saved against at once at home")
        axes.margins(x=0.18)
    path = folder / "backtest.png"
    figure.savefig(path, dpi=120)
    return path
