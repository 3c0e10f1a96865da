"""`carbonfleet backtest`: replay a recorded grid and a job list through the planner, beside other policies."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write
from carbonfleet.cli.console import ExitCode, console, fail, say

if TYPE_CHECKING:
    from carbonfleet.simulator.backtest import Result
    from carbonfleet.simulator.presets import Case
    from carbonfleet.simulator.replay import Progress

Traces = Annotated[
    list[Path] | None,
    typer.Option(help="CSV (or .gz) by 60, 30 or 15 minutes, in the portal's or the long format; repeatable."),
]
Jobs = Annotated[
    list[str] | None,
    typer.Option(
        help="HOURS:SLACK for one job an hour, such as 4:24, or a list with arrival_time and length (s), or duration, "
        "and cpus, slack, interruptible; repeatable, with a table for each. In place of --hours."
    ),
]
Slack = Annotated[
    str,
    typer.Option(
        help="The longest wait of each job: hours, or next-workday, semi-weekly (until results are looked at), "
        "by-length (6 h for runs of up to 2, else 24)."
    ),
]
Interruptible = Annotated[
    bool, typer.Option("--interruptible", help="Jobs may pause, as jobs with `interruptible: {}` do.")
]
PauseMinutes = Annotated[
    int | None,
    typer.Option(min=0, max=1440, help="What a pause costs; 0: cut anywhere, as often as wanted, as papers do."),
]
Curve = Annotated[
    bool, typer.Option("--curve", help="Share and wait over minimumGainPercentPerHour, in place of other policies.")
]
Start = Annotated[
    datetime | None,
    typer.Option(
        help="When the first job comes (UTC); 28 days into the trace by default. With a preset: jobs from then on."
    ),
]
End = Annotated[datetime | None, typer.Option(help="Where the trace is cut (UTC). With a preset: its jobs until then.")]
Knows = Annotated[str, typer.Option(help="What the planner knows: none (history alone), perfect, recorded.")]
Data = Annotated[
    Path | None, typer.Option(envvar="CARBONFLEET_DATA_DIR", help="The folder of recorded grids, for presets.")
]
_WIDE: Final = 115
"""Columns that the whole table takes."""
PRESET_SAYS = (
    "trace", "zones", "home", "hours", "slack", "jobs", "time_zone", "interruptible", "pause_minutes", "gpus",
    "forecast", "signal", "fill_gaps",
)  # fmt: skip
MinimumGain = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=100,
        help="What a later start must save of the best start at once, in percent for each hour; a tier's by default.",
    ),
]
TimeZone = Annotated[str, typer.Option(help="Whose workdays and mornings --slack goes by.")]
DurationError = Annotated[
    float,
    typer.Option(min=0, max=95, help="Each job runs so many percent longer or shorter than the planner is told."),
]
Promises = Annotated[
    bool,
    typer.Option(
        "--promises", help="How many outcomes lie from P10 to P90 of what was promised, in place of other policies."
    ),
]
FillGaps = Annotated[bool, typer.Option("--fill-gaps", help="Take the hour before for a missing or bad one.")]
Out = Annotated[Path | None, typer.Option(help="Write scores.csv, runs.csv and backtest.png into this folder.")]


def backtest(
    context: typer.Context,
    trace: Traces = None,
    zones: Annotated[str, typer.Option(help="Zones that jobs may run in, with commas between.")] = "",
    home: Annotated[str, typer.Option(help="The zone that savings are measured from; the first one by default.")] = "",
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="Length of each job.")] = 4,
    slack: Slack = "24",
    jobs: Jobs = None,
    time_zone: TimeZone = "UTC",
    interruptible: Interruptible = False,
    pause_minutes: PauseMinutes = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs in each zone; without it as many as wanted.")] = None,
    start: Start = None,
    end: End = None,
    forecast: Knows = "none",
    signal: Annotated[str, typer.Option(help="average-lifecycle, average-direct or marginal.")] = "average-lifecycle",
    preset: Annotated[str, typer.Option(help="A backtest by name; --preset list names them.")] = "",
    data: Data = None,
    minimum_gain: MinimumGain = None,
    duration_error: DurationError = 0,
    curve: Curve = False,
    promises: Promises = False,
    fill_gaps: FillGaps = False,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
    out: Out = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that share the replays; 0: one for each core.")] = 0,
) -> None:
    """Replay a recorded grid and jobs through the planner, beside what other policies would have done."""
    from carbonfleet.api.signal import SignalKind
    from carbonfleet.simulator.request import Request, with_settings

    _list_presets_if_asked(preset)
    form = Form.JSON if as_json else output
    with _reported(out):
        if preset:
            _refuse_beside_preset(context)
            cases = _preset(preset, _folder(data), _utc(start), _utc(end))
        else:
            cases = Request(
                traces=tuple(trace or ()),
                zones=tuple(zone.strip() for zone in zones.split(",") if zone.strip()),
                home=home,
                jobs=tuple(jobs or (f"{hours:g}:{slack}",)),
                slack=slack,
                gpus=gpus,
                start=_utc(start),
                end=_utc(end),
                forecast=forecast,
                time_zone=time_zone,
                interruptible=interruptible,
                pause_minutes=pause_minutes,
                signal=SignalKind(signal),
                fill_gaps=fill_gaps,
            ).cases()
        cases = tuple(with_settings(case, minimum_gain, duration_error) for case in cases)
        if not (curve or promises):
            return _run(cases, form, out, workers)
        _refuse_in_place_of_tables(curve, promises, minimum_gain, out)
        return _draw_curves(cases, form, workers) if curve else _count_promises(cases, form)


@contextmanager
def _reported(out: Path | None) -> Iterator[None]:
    """What can't be replayed, and an interruption, as a sentence."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        say(f"interrupted{'' if out is None else f': nothing was written into {out}'}", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _list_presets_if_asked(preset: str) -> None:
    if preset != "list":
        return
    from carbonfleet.simulator.presets import DESCRIPTIONS

    say("\n".join(f"{name:14} {what}" for name, what in DESCRIPTIONS.items()))
    raise typer.Exit


def _preset(name: str, data: Path, start: datetime | None, end: datetime | None) -> "tuple[Case, ...]":
    from carbonfleet.simulator.presets import preset
    from carbonfleet.simulator.request import within

    return tuple(within(case, start, end) for case in preset(name, data))


def _refuse_beside_preset(context: typer.Context) -> None:
    """An option that a preset would pass over in silence."""
    for name in PRESET_SAYS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise ValueError(
                f"a preset says that by itself: leave --{option} away, or give --trace and --zones instead"
            )


def _refuse_in_place_of_tables(curve: bool, promises: bool, minimum_gain: float | None, out: Path | None) -> None:
    if curve and promises:
        raise ValueError("give --curve or --promises, one at a time")
    if curve and (minimum_gain is not None or out is not None):
        raise ValueError("--curve goes over minimum gains and writes no files: leave --minimum-gain and --out away")
    if out is not None:
        raise ValueError("--promises writes no files: leave --out away")


def _make(out: Path) -> None:
    """Before the replay, which may take long."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"can't write into --out {out}: {error.strerror}") from error


def _folder(data: Path | None) -> Path:
    if data is None:
        raise ValueError("a preset needs the folder of recorded grids: --data FOLDER, or CARBONFLEET_DATA_DIR")
    return data


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _run(cases: "Sequence[Case]", form: Form, out: Path | None, workers: int) -> None:
    from carbonfleet.simulator import report
    from carbonfleet.simulator.backtest import run_backtest
    from carbonfleet.simulator.grid import ReplayError
    from carbonfleet.simulator.replay.workers import cores

    if out is not None:
        _make(out)
    results = []
    for case in cases:
        with _progress(case) as progress:
            results.append((case, run_backtest(case.backtest, workers=workers or cores(), progress=progress)))
        if not form.is_data:
            _print_table(*results[-1], is_wide=form is Form.WIDE)
    _end(report.values(results), form, report.LEGEND)
    if out is not None:
        written = [*report.write_csv(out, results)]
        try:
            written.append(report.write_plot(out, results))
        except ReplayError as error:
            say(str(error), err=True)
        say(f"wrote {', '.join(map(str, written))}", err=True)


@contextmanager
def _progress(case: "Case") -> "Iterator[Progress]":
    """A bar on a terminal, while it lasts; nothing elsewhere."""
    from rich import progress

    from carbonfleet.cli.shown_console import ShownConsole

    screen = ShownConsole(stderr=True)
    columns = progress.BarColumn(20), progress.TimeElapsedColumn(), "{task.description}"
    silent = not screen.is_terminal
    # Without a thread that draws: the processes that replay are forked from this one.
    with progress.Progress(*columns, console=screen, transient=True, disable=silent, auto_refresh=False) as bar:
        task = bar.add_task(f"reading the past of {case.title}", total=None)

        def tell(done: int, total: int) -> None:
            left = bar.tasks[0].time_remaining
            words = "" if left is None else f", about {-(-left // 60):.0f} min to go"
            shown = f"{done} of {total} replays{words}: {case.title}"
            bar.update(task, completed=done, total=total, description=shown, refresh=True)

        yield tell


def _draw_curves(cases: "Sequence[Case]", form: Form, workers: int) -> None:
    from carbonfleet.simulator import report
    from carbonfleet.simulator.backtest import run_curve
    from carbonfleet.simulator.replay.workers import cores

    curves = []
    for case in cases:
        with _progress(case) as progress:
            curves.append((case, run_curve(case.backtest, workers=workers or cores(), progress=progress)))
        if not form.is_data:
            _print_rows(report.title(case), report.CURVE_HEADINGS, report.curve_rows(curves[-1][1]))
    _end(report.curve_values(curves), form, report.CURVE_LEGEND)


def _count_promises(cases: "Sequence[Case]", form: Form) -> None:
    from carbonfleet.simulator import report
    from carbonfleet.simulator.promises import kept_promises

    kept = [(case, kept_promises(case.backtest)) for case in cases]
    if not form.is_data:
        _print_rows("Outcomes within what was promised", report.PROMISE_HEADINGS, report.promise_rows(kept))
    _end(report.promise_values(kept), form, report.PROMISE_LEGEND)


def _end(values: "list[dict[str, Any]]", form: Form, legend: str) -> None:
    if form.is_data:
        write(values, form, "backtest", sparse=True)
    else:
        say(legend)


def _print_table(case: "Case", result: "Result", *, is_wide: bool) -> None:
    from carbonfleet.simulator import report

    is_whole = is_wide or console().width >= _WIDE
    headings = report.HEADINGS if is_whole else report.NARROW_HEADINGS
    _print_rows(report.title(case), headings, [report.table_row(score, headings) for score in result.scores])
    if not is_whole:
        say("Columns that do not fit are left out: -o wide shows all.\n")


def _print_rows(title: str, headings: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> None:
    """Digits are never cut off: the first column is folded, and where that is not enough, lines are longer."""
    from rich.table import Table

    from carbonfleet.cli.shown_console import UNBOUNDED

    table = Table(title=title, title_justify="left", title_style="italic", box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold" if row[0].startswith("carbonfleet") or "default" in row[0] else None)
    screen = console()
    sizes = screen.measure(table, options=screen.options.update(width=UNBOUNDED))
    if screen.width < sizes.minimum:
        screen.width = sizes.maximum
    screen.print(table, "")
