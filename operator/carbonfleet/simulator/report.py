"""A backtest's results as rows for a table, CSV files and a plot."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

from carbonfleet.private_files import replacing
from carbonfleet.simulator.backtest import MINIMUM_GAIN, Result
from carbonfleet.simulator.grid import MINUTE, Grid, ReplayError
from carbonfleet.simulator.presets import Case
from carbonfleet.simulator.promises import KeptPromises
from carbonfleet.simulator.replay import ReplayedRun, Score
from carbonfleet.text import csv_line

HEADINGS: Final = (
    "Policy", "g/kWh", "total g", "saved %", "share %", "delay h", "95th h", "mean %", "5th %", "makespan h",
    "forced", "worse",
)  # fmt: skip
NARROW_HEADINGS: Final = ("Policy", "g/kWh", "saved %", "share %", "delay h", "95th h", "worse")
"""What fits 80 columns."""
CURVE_HEADINGS: Final = ("minimum gain %/h", "share %", "lost points", "delay h", "95th h", "saved %")
Curve = Sequence[tuple[float, Score]]
LEGEND: Final = """\
saved %: of all grams, against starting at once at home.
share %: of what perfect foresight saves, or, where GPUs are few, the planner
told the future: that is no bound, and a share may exceed 100.
mean %, 5th %: mean and 5th percentile of what each job saves, or each replay
where there are several.
delay h, 95th h: mean and 95th percentile of waits.
makespan h: from the first submission to the last end.
forced: starts because the wait was over.
worse: jobs that emitted more than at once at home."""


CURVE_LEGEND: Final = """\
minimum gain: what each hour of delay must save of a start at once, in percent.
lost points: of the share, beside the best of the curve.
share %, delay h, 95th h, saved %: as in the other table."""

PROMISE_HEADINGS: Final = ("Jobs", "promised", "start %", "finish %", "grams %", "saved %", "late %", "waits %")
PROMISE_LEGEND: Final = """\
start, finish, grams, saved %: outcomes from P10 to P90 of what was promised
when the job came; 80 is right.
late %: ended after the P90 of the finish; 10 is right.
waits %: start %, of jobs that were planned to wait."""


def title(case: Case) -> str:
    """What was replayed, what was mended in its trace, and what an article states."""
    replays, filled = len(case.backtest.scenarios), sum(case.backtest.grid.filled.values())
    count = sum(map(len, case.backtest.scenarios))
    words = f"{count:,} job{'s' * (count != 1)}" + (f" in {replays} replays" if replays > 1 else "")
    if filled:
        words += f"; {filled} missing value{'s' * (filled > 1)} filled from the value before"
    return f"{case.title} ({words})" + (f"\nStated: {case.stated}" if case.stated else "")


def table_row(score: Score, headings: Sequence[str] = HEADINGS) -> tuple[str, ...]:
    """One line of the table, under some of HEADINGS."""
    share = "-" if score.share_percent is None else f"{score.share_percent:z.2f}"
    cells = (
        score.policy,
        f"{score.grams_per_kwh:.2f}",
        f"{score.grams_co2e:,.0f}",
        f"{score.saving_percent:z.2f}",
        share,
        f"{score.delay_mean_hours:.1f}",
        f"{score.delay_p95_hours:.1f}",
        f"{score.mean_saving_percent:z.2f}",
        f"{score.p5_saving_percent:z.1f}",
        f"{score.makespan_hours:,.0f}",
        f"{score.forced_starts:,}",
        f"{score.worse_than_immediate:,}",
    )
    return tuple(cell for heading, cell in zip(HEADINGS, cells, strict=True) if heading in headings)


def curve_rows(curve: Curve) -> Sequence[tuple[str, ...]]:
    """Lines of the table of a curve, under CURVE_HEADINGS; the default is marked."""
    return [
        (
            f"{gain:g}{' (default)' if gain == MINIMUM_GAIN else ''}",
            *(
                f"{value:z.2f}"
                for value in (*_share_and_loss(each, curve), each.delay_mean_hours, each.delay_p95_hours)
            ),
            f"{each.saving_percent:z.2f}",
        )
        for gain, each in curve
    ]


def _share_and_loss(score: Score, curve: Curve) -> tuple[float, float]:
    """The share of the achievable saving, and the points of it that are lost beside the curve's best."""
    shares = [each.share_percent or 0.0 for _, each in curve]
    return score.share_percent or 0.0, max(shares) - (score.share_percent or 0.0)


def values(results: Sequence[tuple[Case, Result]]) -> list[dict[str, Any]]:
    """All scores, for machines."""
    return [{**_described(case), "scores": result.scores} for case, result in results]


def curve_values(curves: Sequence[tuple[Case, Curve]]) -> list[dict[str, Any]]:
    """All curves: at each minimum gain what is lost of the share, and the score."""
    return [
        {
            **_described(case),
            "curve": [
                {
                    "minimumGainPercentPerHour": gain,
                    "lostSharePoints": _share_and_loss(each, curve)[1],
                    **asdict(each),
                }
                for gain, each in curve
            ],
        }
        for case, curve in curves
    ]


def promise_rows(kept: Sequence[tuple[Case, KeptPromises]]) -> Sequence[tuple[str, ...]]:
    """Lines of the table of promises, under PROMISE_HEADINGS."""
    return [
        (
            case.title,
            f"{each.jobs:,}",
            *(f"{part:.1f}" for part in (each.start, each.finish, each.grams, each.saved, each.late, each.waiting)),
        )
        for case, each in kept
    ]


def promise_values(kept: Sequence[tuple[Case, KeptPromises]]) -> list[dict[str, Any]]:
    """What became of all promises, for machines."""
    return [{**_described(case), "promises": each} for case, each in kept]


def _described(case: Case) -> dict[str, Any]:
    grid = case.backtest.grid
    return {
        "title": case.title,
        "stated": case.stated,
        "zones": grid.zones,
        "home": case.backtest.home,
        "signal": grid.signal.value,
        "stepMinutes": grid.step // MINUTE,
        "filledValues": dict(grid.filled),
        "foresightIsBound": case.backtest.is_bounded,
    }


def write_csv(folder: Path, results: Sequence[tuple[Case, Result]]) -> tuple[Path, Path]:
    """`scores.csv` with a line for each case and policy, and `runs.csv` with one for each job."""
    folder.mkdir(parents=True, exist_ok=True)
    scores, runs = folder / "scores.csv", folder / "runs.csv"
    with replacing(scores) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(csv_line(["case", *(item.name for item in fields(Score))]))
        for case, result in results:
            file.writelines(csv_line([case.title, *asdict(score).values()]) for score in result.scores)
    with replacing(runs) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(
            csv_line(["case", "replay", "policy", "job", "submitted", "begin", "zone", "pool", "kwh", "grams_co2e"])
        )
        for case, result in results:
            file.writelines(map(csv_line, _run_rows(case, result)))
    return scores, runs


def _run_rows(case: Case, result: Result) -> Sequence[Sequence[object]]:
    """A line for each piece of each run."""
    grid = case.backtest.grid
    return [
        (case.title, number, policy, *_piece_row(run, piece, grid))
        for policy, scenarios in result.scenarios.items()
        for number, scenario in enumerate(scenarios, 1)
        for run in scenario.runs
        for piece in run.pieces
    ]


def _piece_row(run: ReplayedRun, piece: ReplayedRun, grid: Grid) -> tuple[object, ...]:
    alone = replace(piece, earlier=())
    times = run.job.submitted.isoformat(), piece.begin.isoformat()
    place = piece.pool.zone, piece.pool.name
    return run.job.name, *times, *place, round(alone.kwh, 6), round(alone.grams(grid), 4)


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
        saved = [f"{s.grams_per_kwh:.1f}  ({s.saving_percent:+z.1f} %)" for s in result.scores][::-1]
        axes.bar_label(bars, saved, padding=3, fontsize=8)
        axes.set_title(case.title, fontsize=10, loc="left")
        axes.set_xlabel("gCO2e per kWh, and what was saved against at once at home")
        axes.margins(x=0.18)
    path = folder / "backtest.png"
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=120)
    return path
