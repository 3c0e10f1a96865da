"""The next run of a schedule's manifest as the job that the hub will make of it."""

from datetime import datetime, timedelta
from typing import Any

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.schedule import job_of_run
from carbonfleet.api.wire import format_time
from carbonfleet.cli.files.manifests import JobManifest, Manifests, ScheduleManifest
from carbonfleet.yaml_reader import YamlDocument


def with_next_runs(found: Manifests, now: datetime) -> tuple[JobManifest, ...]:
    """The jobs, and behind them the next one of each schedule that has one."""
    return (*found.jobs, *(run for schedule in found.schedules for run in _next_run(schedule, now)))


def _next_run(manifest: ScheduleManifest, now: datetime) -> list[JobManifest]:
    """The job of the first run that can be met from now on; it starts no earlier than it is made."""
    schedule, written = manifest.schedule, manifest.document.data
    spec = schedule.spec
    due = next(spec.times.after(now + spec.shortest_run - timedelta(seconds=1)), None)
    if due is None:
        return []
    body = job_of_run(schedule, written, due)
    made_at = max(now, due - spec.lead)
    if made_at > now:
        body["spec"]["schedule"] = {**(body["spec"].get("schedule") or {}), "earliestStart": format_time(made_at)}
    return [JobManifest(CarbonTrainingJob.model_validate(body), _template(manifest.document), made_at)]


def _template(document: YamlDocument) -> YamlDocument:
    """The template as a document of its own, with the lines of the file."""
    at: tuple[str | int, ...] = ("spec", "jobTemplate")
    lines: dict[tuple[str | int, ...], int] = {
        location[len(at) :]: line for location, line in document.lines.items() if location[: len(at)] == at
    }
    template: Any = document.data["spec"]["jobTemplate"]
    return YamlDocument(document.path, template, lines)
