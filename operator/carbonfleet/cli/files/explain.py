"""`carbonfleet explain`: why a job goes where it goes, from the same plan, with or without a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, console, fail, say
from carbonfleet.shipped import FLEET_SEED

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.api.job_status import DecisionRecord, JobStatus
    from carbonfleet.cli.about.schemas import ExplainedJob
    from carbonfleet.clock import Clock
    from carbonfleet.placement import Window
    from carbonfleet.signals import Signals

    Answer = tuple[str, DecisionRecord, tuple[Window, ...]]
    """Of which job, what was decided, and cost against carbon where it was planned here."""


def explain(
    what: Annotated[
        list[str],
        typer.Argument(
            help="Manifests of jobs and schedules, folders of them, namespace/name of a job on the hub, or - for stdin."
        ),
    ],
    fleet: Annotated[
        Path | None,
        typer.Option(help="For manifests: a checkout of the fleet repository; ./fleet, or with --demo the demo's own."),
    ] = None,
    signals: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_SIGNALS", help="For manifests: signal settings; Electricity Maps if left out."
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="For manifests: the demo's made grid, at its hour.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="For a job on the hub.")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Show why a job goes where and when it goes: the decision, and each spoke with its figures, or why not there.

    Manifests are not applied: all their jobs are planned together, as if every spoke were up and free; of a schedule
    its next run's. Warnings about them and about the checkout come first. Of a job on the hub, the decision that the
    hub wrote down is shown. The standard input holds manifests, or a proposal:

    carbonfleet review show PROPOSAL | carbonfleet explain -

    Exit code 1 where the API would refuse a manifest, 3 where a job is Blocked.
    """
    from carbonfleet.cli.files.manifests import STDIN, read_stdin

    stdin = read_stdin() if STDIN in what else b""
    proposed = _proposed(stdin) if STDIN in what else None
    known: list[Answer] = [("The proposal", proposed, ())] if proposed is not None else []
    paths = [each for each in what if Path(each).exists() or (each == STDIN and proposed is None)]
    known += [_recorded(each, kubeconfig) for each in what if each not in (*paths, STDIN)]
    if paths:
        known += _offline(paths, stdin, fleet or _usual_fleet(demo), *_signals(signals, demo))
    if output is Form.NAME:
        write_names(key for key, _, _ in known)
    elif output.is_data:
        write(_answers(known), output, "explain", sparse=True)
    else:
        _show(known)
    if any(record.outcome == "Blocked" for _, record, _ in known):
        raise typer.Exit(ExitCode.BLOCKED)


def _usual_fleet(demo: bool) -> Path:
    here = Path("fleet")
    return FLEET_SEED if demo and not here.is_dir() else here


def _show(known: "list[Answer]") -> None:
    from rich.text import Text

    from carbonfleet.local.screen import candidate_table, frontier_table, length_line, promise_table

    screen = console()
    for place, (key, record, traded) in enumerate(known):
        if place:
            screen.print()
        screen.print(Text.assemble((key, "bold"), f": {record.outcome} ({record.reason})"))
        screen.print(record.message, highlight=False)
        screen.print(candidate_table(record.candidates))
        if (promise := record.expected.promise if record.expected else None) is not None:
            screen.print(promise_table(promise))
            if promise.run_length is not None:
                screen.print(length_line(promise.run_length), highlight=False)
        if len(traded) > 1:
            screen.print("Cost against carbon, of the free windows:")
            screen.print(frontier_table(traded, record))
        if record.recheck_at is not None and record.outcome in ("Wait", "Blocked"):
            screen.print(f"Planned again by {record.recheck_at:%Y-%m-%d %H:%M} UTC at the latest.", highlight=False)


def _proposed(text: bytes) -> "DecisionRecord | None":
    """The decision in a proposal's text; None for manifests."""
    from carbonfleet.api import GROUP
    from carbonfleet.fleet.review import decision_of

    record = decision_of(text.decode("utf-8", "replace"))
    if record is None and GROUP.encode() not in text:
        fail(
            "the standard input holds neither a job's manifest nor a proposal's text with the block of its decision: "
            "give what `carbonfleet review show` prints"
        )
    return record


def _offline(paths: list[str], stdin: bytes, folder: Path, clock: "Clock", service: "Signals") -> "list[Answer]":
    """The decisions on all jobs of some manifests. Ends the command where the API would refuse one."""
    from carbonfleet.cli.files.findings import Severity, has, write_findings
    from carbonfleet.cli.files.fleet_rules import judged, read_fleet
    from carbonfleet.cli.files.manifests import read_manifests
    from carbonfleet.cli.files.offline_plan import decided, with_grid
    from carbonfleet.cli.files.schedule_runs import with_next_runs
    from carbonfleet.signals import TOKEN_VARIABLE

    found = read_manifests(paths, stdin)
    if has(found.findings, Severity.ERROR):
        write_findings(found.findings, err=True)
        raise typer.Exit(ExitCode.WRONG)
    now = clock.now()
    if not (jobs := with_next_runs(found, now)):
        fail(f"{', '.join(paths)}: holds no CarbonTrainingJob or CarbonTrainingSchedule")
    try:
        fleet = read_fleet(folder)
    except ValueError as error:
        fail(error)
    doubts = [*found.findings, *fleet.findings, *judged(jobs, fleet, now)]
    write_findings([doubt for doubt in doubts if doubt.severity is Severity.WARNING], err=True)
    snapshot = with_grid(fleet.snapshot(jobs, now), service, now)
    if snapshot.spokes and not any(forecast.tells_hours for forecast in snapshot.forecasts.values()):
        say(f"warning: nothing is known of the grid: set {TOKEN_VARIABLE}, or give --signals FILE or --demo", err=True)
    return decided(snapshot, fleet, now)


def _answers(known: "list[Answer]") -> "list[ExplainedJob]":
    from carbonfleet.cli.about.schemas import ExplainedJob, FrontierWindow

    def rounded(window: "Window") -> FrontierWindow:
        usd, grams = round(window.cost_usd, 2), round(window.grams_co2e, 3)
        return FrontierWindow(
            cluster=window.cluster, pool=window.pool, start=window.start, cost_usd=usd, grams_co2e=grams
        )

    return [
        ExplainedJob(job=key, **dict(record), frontier=tuple(map(rounded, traded)) or None)
        for key, record, traded in known
    ]


def _signals(settings: Path | None, demo: bool) -> "tuple[Clock, Signals]":
    from carbonfleet.clock import Clock
    from carbonfleet.signals import (
        DemoGridSettings,
        SettingsError,
        SignalSettings,
        SourceError,
        load_settings,
        open_signals,
    )

    try:
        if demo:
            from carbonfleet.local.demo import START

            clock = Clock.starting_at(START, 1.0)
            return clock, open_signals(SignalSettings(sources=(DemoGridSettings(),)), clock)
        clock = Clock.from_environment()
        return clock, open_signals(load_settings(settings) if settings else SignalSettings(), clock)
    except (SettingsError, SourceError, ValueError) as error:
        fail(error)


def _recorded(key: str, kubeconfig: Path | None) -> "Answer":
    from carbonfleet.cli.fleet.hub_job import API_SECONDS, hub_job
    from carbonfleet.kube import Kube

    namespace, _, name = key.partition("/")
    if not namespace or not name or "/" in name or name.endswith((".yaml", ".yml")):
        fail(f"{key} is no file; give one that exists, or namespace/name for a job on the hub")
    job = hub_job(Kube.connect(kubeconfig).within(API_SECONDS), namespace, name)
    return job.key, _record_of_status(job), ()


def _record_of_status(job: "CarbonTrainingJob") -> "DecisionRecord":
    from carbonfleet.api.job_status import DecisionRecord

    status = job.status
    scheduled = next((c for c in status.conditions if c.type == "Scheduled"), None)
    if scheduled is None:
        fail(f"{job.key}: the hub has not decided yet: {status.summary or 'no status'}")
    return DecisionRecord(
        outcome=status.phase.value,
        reason=scheduled.reason,
        message=_told(status, scheduled.message),
        cluster=status.cluster,
        candidates=status.candidates,
        candidates_total=status.candidates_total,
        recheck_at=status.recheck_at,
        expected=status.expected,
        decided_at=scheduled.last_transition_time,
    )


def _told(status: "JobStatus", decided: str) -> str:
    """The decision in full, after what has become of it."""
    refused = next((c.message for c in status.conditions if c.type == "PolicyAllowed" and c.status == "False"), "")
    full = refused or decided
    return full if full.startswith(status.summary) else f"{status.summary}\nDecided: {full}"
