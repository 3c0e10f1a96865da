"""`carbonfleet sweep`: jobs from a grid, how far they are, and which configuration won at what carbon."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carbonfleet.cli.answers import AsJson, Form, Output, write, write_names
from carbonfleet.cli.console import console, fail, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.table import Table

    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.sweep import LeaderboardLine, SweepStanding, Threshold, TierProgress
    from carbonfleet.sweep.scoring import JobScore

Sweep = Annotated[str, typer.Argument(help="The sweep's name, as its file has it.")]
Kubeconfig = Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="The namespace of its jobs.")]

_GAP = (0, 0, 0, 1)
"""One column between two of a table."""
app = typer.Typer(help="Run hyperparameter sweeps in tiers.", no_args_is_help=True)


@app.command()
def generate(
    file: Annotated[Path, typer.Option("-f", "--file", help="The sweep: grid, tiers and rules.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for the manifests, made when missing.")],
    threshold: Annotated[str, typer.Option(help="grams or percentile, over the file's.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The jobs' namespace, over the file's.")] = "",
) -> None:
    """Write a CarbonTrainingJob for each configuration; nothing is written unless all are valid."""
    from carbonfleet.sweep import TIER, SweepError, read_sweep, write
    from carbonfleet.sweep import generate as jobs_from
    from carbonfleet.yaml_reader import FileInvalid

    try:
        sweep = read_sweep(file)
        jobs = jobs_from(sweep, _threshold(threshold), namespace)
        write(out, jobs)
    except FileInvalid as error:
        fail("\n".join(map(str, error.problems)))
    except SweepError as error:
        fail(error)
    tiers = [job.metadata.labels[TIER] for job in jobs]
    told = ", ".join(f"{tiers.count(tier.name)} in {tier.name}" for tier in sweep.tiers if tier.name in tiers)
    say(f"{len(jobs)} jobs of sweep {sweep.name} written to {out}: {told}")
    say(f"next: kubectl apply -f {out}")


@app.command()
def status(
    sweep: Sweep,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = "",
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Show how far the jobs of each tier are."""
    from carbonfleet.sweep import progress_by_tier

    form = Form.JSON if as_json else output
    tiers = progress_by_tier(hub_jobs(sweep, kubeconfig, namespace))
    if form.is_data:
        write({"sweep": sweep, "tiers": tiers}, form, "sweep status")
    elif form is Form.NAME:
        write_names(tier.tier for tier in tiers)
    else:
        _print(_progress_table(tiers))


@app.command()
def results(
    sweep: Sweep,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = "",
    plot: Annotated[Path | None, typer.Option(help="Write a plot of loss against carbon to this file.")] = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Show progress by tier and the leaderboard, each job beside the baseline configuration."""
    from carbonfleet.sweep import SweepError, leaderboard, progress_by_tier, write_plot

    form = Form.JSON if as_json else output
    jobs = hub_jobs(sweep, kubeconfig, namespace)
    tiers, places = progress_by_tier(jobs), leaderboard(jobs)
    if form.is_data:
        write({"sweep": sweep, "tiers": tiers, "jobs": [_plain(one) for one in places]}, form, "sweep results")
    elif form is Form.NAME:
        write_names(f"{one.standing.namespace}/{one.standing.job}" for one in places)
    else:
        table = _wide_table(places) if form is Form.WIDE else _narrow_table(places, sweep)
        _print(_progress_table(tiers), table)
        if any(place.standing.rungs for place in places):
            say("rungs: place among those there so far; unspent: gCO2e of the steps not done")
            say(_told_unspent(places))
        say("~ planned, not measured; vs base: less the baseline (*); -o wide: all columns")
        if (newest := _newest_score(places)) is not None:
            say(f"score: of the {newest.prompts} prompts of {newest.suite}, as chat --score asked them last")
    if plot is not None:
        try:
            count = write_plot(plot, sweep, places)
        except SweepError as error:
            fail(error)
        say(f"wrote {plot}: {count} jobs", err=True)


def _threshold(text: str) -> "Threshold | None":
    from carbonfleet.sweep import Threshold

    if text and text not in list(Threshold):
        fail(f"--threshold {text}: write {' or '.join(Threshold)}")
    return Threshold(text) if text else None


def hub_jobs(sweep: str, kubeconfig: Path | None, namespace: str) -> "tuple[CarbonTrainingJob, ...]":
    """The sweep's jobs as the hub has them; ends the command where it can't be asked."""
    from carbonfleet.kube import Kube
    from carbonfleet.sweep import SweepError, jobs_of

    try:
        return jobs_of(Kube.connect(kubeconfig).within(API_SECONDS), sweep, namespace)
    except SweepError as error:
        fail(error)


def _plain(place: "LeaderboardLine") -> dict[str, Any]:
    from dataclasses import asdict

    standing = asdict(place.standing)
    delay = standing.pop("delay")
    standing["delay_seconds"] = None if delay is None else delay.total_seconds()
    score = place.standing.score
    standing["score"] = {**score.to_wire(), "share": round(score.share, 4)} if score else None
    standing["rungs"] = [rung.to_wire() for rung in place.standing.rungs]
    return {"place": place.place, **standing, "less_baseline": asdict(place.difference)}


def _print(*tables: "Table") -> None:
    screen = console()
    for table in tables:
        screen.print(table)
        screen.print()


def _progress_table(tiers: "Sequence[TierProgress]") -> "Table":
    from rich.table import Table

    table = Table("tier", box=None, padding=_GAP, pad_edge=False)
    for heading in ("jobs", "waiting", "running", "done", "stopped", "failed", "held", "steps", "kWh", "gCO2e"):
        table.add_column(heading, justify="right")
    for one in tiers:
        counts = (one.jobs, one.waiting, one.running, one.succeeded, one.stopped_early, one.failed, one.held)
        steps = f"{one.steps:,}/{one.total_steps:,}" if one.total_steps else "-"
        figures = (f"{one.energy_kwh:,.3g}", _grams(one.grams_co2e))
        table.add_row(one.tier or "-", *map(str, counts), steps, *figures)
    return table


def _leader_table(
    words: Sequence[str],
    figures: Sequence[str],
    places: "Sequence[LeaderboardLine]",
    row: "Callable[[LeaderboardLine], Sequence[str]]",
) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=_GAP, pad_edge=False)
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    newest = _newest_score(places)
    if newest is not None:
        table.add_column("score", justify="right")
    for place in places:
        scored = (_score(place.standing.score, newest),) if newest is not None else ()
        table.add_row(*row(place), *scored)
    return table


def _newest_score(places: "Sequence[LeaderboardLine]") -> "JobScore | None":
    """Of all that are kept: the others compare with it where they are of the same prompts."""
    return max(filter(None, (place.standing.score for place in places)), key=lambda score: score.time, default=None)


def _score(score: "JobScore | None", newest: "JobScore") -> str:
    return f"{score.share:.0%}" if score is not None and score.digest == newest.digest else "-"


def _narrow_table(places: "Sequence[LeaderboardLine]", sweep: str) -> "Table":
    """What fits 80 columns: names without the sweep's, which they begin with."""
    figures = ("loss", "vs base", "rungs", "gCO2e", "unspent")
    return _leader_table(("place", "job"), figures, places, lambda place: _narrow_row(place, f"{sweep}-"))


def _narrow_row(place: "LeaderboardLine", prefix: str) -> tuple[str, ...]:
    one = place.standing
    name = one.job.removeprefix(prefix)
    return (
        str(place.place) if place.place else _stage(one),
        f"{name} *" if one.is_baseline else name,
        _number(one.validation_loss, ".4f"),
        _number(place.difference.validation_loss, "+.4f"),
        " ".join(f"{rung.rank}/{rung.reached}" for rung in one.rungs) or "-",
        _grams(one.grams_co2e, mark="" if one.is_accounted else "~"),
        _grams(one.unspent_grams, mark="" if one.is_accounted else "~"),
    )


def _stage(one: "SweepStanding") -> str:
    """What a job without a place does, and how far it is: `Running 40%`, `stopped 10%`."""
    from carbonfleet.api.job_status import Phase

    if one.phase is Phase.STOPPED_EARLY and one.rungs:
        return f"stopped {one.rungs[-1].percent}%"
    done = f" {100 * one.step // one.total_steps}%" if one.phase is Phase.RUNNING and one.total_steps else ""
    return f"{one.phase.value}{done}"


def _told_unspent(places: "Sequence[LeaderboardLine]") -> str:
    """What early stopping saved, beside what training all would have come to."""
    all_of = [place.standing for place in places]
    stopped = [one for one in all_of if one.unspent_grams is not None]
    unspent = sum(one.unspent_grams or 0.0 for one in stopped)
    spent = sum(one.grams_co2e or 0.0 for one in all_of)
    share = f" ({100 * unspent / (spent + unspent):.0f} %)" if spent + unspent else ""
    return (
        f"{len(stopped)} of {len(all_of)} stopped early: {_grams(spent)} g in place of {_grams(spent + unspent)} g, "
        f"{_grams(unspent)} g{share} not spent"
    )


def _wide_table(places: "Sequence[LeaderboardLine]") -> "Table":
    figures = ("loss", "vs base", "kWh", "vs base", "gCO2e", "vs base", "unspent", "rungs", "delay")
    return _leader_table(("place", "job", "tier", "phase", "spoke"), figures, places, _wide_row)


def _wide_row(place: "LeaderboardLine") -> tuple[str, ...]:
    one, less = place.standing, place.difference
    planned = "" if one.is_accounted else "~"
    return (
        str(place.place or "-"),
        f"{one.job}{' *' if one.is_baseline else ''}",
        one.tier or "-",
        one.phase.value,
        one.cluster or "-",
        _number(one.validation_loss, ".4f"),
        _number(less.validation_loss, "+.4f"),
        _number(one.energy_kwh, ".3f", planned),
        _number(less.energy_kwh, "+.3f"),
        _grams(one.grams_co2e, mark=planned),
        _grams(less.grams_co2e, sign="+"),
        _grams(one.unspent_grams, mark=planned),
        " ".join(f"{rung.percent}%:{rung.rank}/{rung.reached}" for rung in one.rungs) or "-",
        _delay(one.delay),
    )


def _grams(value: float | None, sign: str = "", mark: str = "") -> str:
    """Whole grams, or two digits of what is less than ten."""
    return _number(value, f"{sign},.0f" if value is None or abs(value) >= 10 else f"{sign}.2g", mark)


def _delay(delay: "timedelta | None") -> str:
    if delay is None:
        return "-"
    seconds = delay.total_seconds()
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _number(value: float | None, form: str, mark: str = "") -> str:
    return "-" if value is None else f"{mark}{value:{form}}"
