"""`carbonfleet status`: spokes, jobs and schedules at a glance, and what waits for whom."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, console, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.table import Table

    from carbonfleet.api import CarbonTrainingJob, CarbonTrainingSchedule, SpokeCluster
    from carbonfleet.cli.about.status_schema import JobLine, ScheduleLine, SpokeLine, StatusAnswer
    from carbonfleet.kube import Kube, Object

_WIDE: Final = 120
"""Columns from which a sentence stands in its row."""
Read = TypeVar("Read", "SpokeCluster", "CarbonTrainingJob", "CarbonTrainingSchedule")


def status(
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Jobs and schedules of one namespace only.")] = "",
    output: Output = Form.TEXT,
) -> None:
    """Show every spoke, job and schedule, with what each waits for.

    Exit code 1 when one of them can't be read: it is named, and the others are shown.
    """
    from carbonfleet.api import CarbonTrainingJob, CarbonTrainingSchedule, SpokeCluster
    from carbonfleet.cli.about.status_schema import StatusAnswer
    from carbonfleet.clock import Clock
    from carbonfleet.kube import Kube, ours

    kube, now = Kube.connect(kubeconfig).within(API_SECONDS), Clock.from_environment().now()
    spokes, unread = _readable(SpokeCluster, kube.list(ours("spokeclusters"))[0])
    jobs, unread_too = _readable(CarbonTrainingJob, kube.list(ours("carbontrainingjobs", namespace))[0])
    schedules, unread_also = _readable(CarbonTrainingSchedule, _schedules(kube, namespace))
    found = StatusAnswer(
        spokes=tuple(map(_spoke_line, spokes)),
        jobs=tuple(_job_line(job, now) for job in jobs),
        schedules=tuple(map(_schedule_line, schedules)),
        unread=(*unread, *unread_too, *unread_also),
    )
    if output.is_data:
        write(found, output, "status")
    elif output is Form.NAME:
        write_names([*(f"spoke/{spoke.name}" for spoke in found.spokes), *map(_key, found.jobs)])
        write_names(f"schedule/{_key(each)}" for each in found.schedules)
    else:
        _show(found, is_wide=output is Form.WIDE)
    for line in found.unread:
        say(line, err=True)
    raise typer.Exit(ExitCode.WRONG if found.unread else ExitCode.DONE)


def _schedules(kube: "Kube", namespace: str) -> "list[Object]":
    """Those of a hub; none where it is of a release that has no such thing. Raises KubeError."""
    from carbonfleet.kube import KubeError, ours

    try:
        return kube.list(ours("carbontrainingschedules", namespace))[0]
    except KubeError as error:
        if not error.is_gone:
            raise
        return []


def _spoke_line(spoke: "SpokeCluster") -> "SpokeLine":
    from carbonfleet.cli.about.status_schema import SpokeLine

    state = spoke.status
    ready = next((c for c in state.conditions if c.type == "Ready"), None)
    unfit = (f"{ready.reason}: {ready.message}",) if ready and ready.status != "True" else ()
    return SpokeLine(
        name=spoke.metadata.name,
        zone=spoke.spec.zone,
        ready=None if ready is None else not unfit,
        free=state.free,
        heartbeat_time=state.heartbeat_time,
        synced_commit=state.synced_commit,
        problems=(*unfit, *state.problems),
    )


def _job_line(job: "CarbonTrainingJob", now: "datetime") -> "JobLine":
    from carbonfleet.cli.about.status_schema import JobLine
    from carbonfleet.cli.fleet.waiting import waits_for

    wait = waits_for(job, now)
    return JobLine(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        phase=job.status.phase.value,
        cluster=job.status.cluster or None,
        waits_for=wait.what if wait else None,
        waits_until=wait.until if wait else None,
        deadline=job.spec.schedule.deadline,
        what=job.status.summary or "not seen yet",
    )


def _schedule_line(schedule: "CarbonTrainingSchedule") -> "ScheduleLine":
    from carbonfleet.cli.about.status_schema import ScheduleLine

    state = schedule.status
    ready = next((c.status == "True" for c in state.conditions if c.type == "Ready"), None)
    return ScheduleLine(
        namespace=schedule.metadata.namespace,
        name=schedule.metadata.name,
        schedule=schedule.spec.schedule,
        time_zone=schedule.spec.time_zone,
        next_run_time=state.next_run_time,
        next_job_time=state.next_job_time,
        last_job=state.last_job,
        active=state.active_count,
        missed=state.missed,
        ready=ready,
        what=state.summary or "not seen yet",
    )


def _key(line: "JobLine | ScheduleLine") -> str:
    return f"{line.namespace}/{line.name}"


def _show(found: "StatusAnswer", *, is_wide: bool) -> None:
    screen = console()
    screen.print(_spoke_table(found.spokes, is_wide=is_wide or screen.width >= _WIDE))
    screen.print()
    if is_wide or screen.width >= _WIDE:
        screen.print(_job_table(found.jobs, with_sentence=True))
    else:
        screen.print(_job_table(found.jobs, with_sentence=False))
        for job in found.jobs:
            screen.print(f"\n{_key(job)}: {job.what}", highlight=False)
    if found.schedules:
        screen.print()
        screen.print(_schedule_table(found.schedules))
        for schedule in found.schedules:
            screen.print(f"\n{_key(schedule)}: {schedule.what}", highlight=False)
    if waiting := Counter(job.waits_for for job in found.jobs if job.waits_for):
        told = ", ".join(f"{count} for {what}" for what, count in waiting.items())
        screen.print(f"\n{sum(waiting.values())} of {len(found.jobs)} jobs wait: {told}.", highlight=False)


def _spoke_table(spokes: "Sequence[SpokeLine]", *, is_wide: bool) -> "Table":
    table = _table("spoke", "zone", "ready", "free GPUs", "last heard", *(["synced"] if is_wide else []), "problems")
    for spoke in spokes:
        heard = spoke.heartbeat_time.strftime("%m-%d %H:%M") if spoke.heartbeat_time else "never"
        ready = {None: "-", True: "yes", False: "no"}[spoke.ready]
        synced = [spoke.synced_commit[:10] or "-"] if is_wide else []
        problems = "; ".join(spoke.problems) or "-"
        table.add_row(spoke.name, spoke.zone, ready, spoke.free or "-", heard, *synced, problems)
    return table


def _job_table(jobs: "Sequence[JobLine]", *, with_sentence: bool) -> "Table":
    table = _table("job", "phase", "spoke", "waits for", "until", *(["what"] if with_sentence else []))
    for job in jobs:
        until = job.waits_until.strftime("%m-%d %H:%M") if job.waits_until else "-"
        what = [job.what] if with_sentence else []
        table.add_row(_key(job), job.phase, job.cluster or "-", job.waits_for or "-", until, *what)
    return table


def _schedule_table(schedules: "Sequence[ScheduleLine]") -> "Table":
    table = _table("schedule", "runs", "job is made", "due", "last job", "active", "missed")
    for each in schedules:
        made, due = (f"{at:%m-%d %H:%M}" if at else "-" for at in (each.next_job_time, each.next_run_time))
        numbers = str(each.active), str(each.missed)
        table.add_row(_key(each), f"{each.schedule} {each.time_zone}", made, due, each.last_job or "-", *numbers)
    return table


def _table(*heads: str) -> "Table":
    """Names that don't fit are folded, never cut."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _readable(model: type[Read], bodies: "Iterable[Object]") -> tuple[list[Read], list[str]]:
    """The objects, and a line on each that can't be read: one party's hides no other's."""
    from pydantic import ValidationError

    from carbonfleet.api.problems import told
    from carbonfleet.faults import said

    found, unread = [], []
    for body in bodies:
        try:
            found.append(model.model_validate(body))
        except Exception as error:  # noqa: BLE001 - one object may hold anything
            why = told(error, model) if isinstance(error, ValidationError) else said(error)
            unread.append(f"{model.__name__} {_name(body)} can't be read: {why}")
    return found, unread


def _name(body: "Object") -> str:
    """An object's name, whatever it is."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return str(metadata.get("name", "without a name")) if isinstance(metadata, dict) else "without a name"
