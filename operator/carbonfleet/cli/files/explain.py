"""`carbonfleet explain`: why a job goes where it goes, from the same plan, with or without a cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.console import console, fail, say

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.api.job_status import DecisionRecord, JobStatus
    from carbonfleet.clock import Clock
    from carbonfleet.signals import Signals


def explain(
    what: Annotated[
        str, typer.Argument(help="A job's manifest, namespace/name of a job on the hub, or - for a proposal's text.")
    ],
    fleet: Annotated[Path, typer.Option(help="For a manifest: a checkout of the fleet repository.")] = Path("fleet"),
    signals: Annotated[
        Path | None,
        typer.Option(envvar="CARBONFLEET_SIGNALS", help="For a manifest: signal settings; Electricity Maps without."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="For a manifest: the demo's made grid, at its hour.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="For a job on the hub.")] = None,
) -> None:
    """Show the candidate table: each spoke, at what score, or why not.

    For a manifest nothing is applied: it is planned as if every spoke were up and free, and what is wrong with the
    checkout is said first. For a job on the hub the table is the decision that the hub wrote down. A proposal's text,
    with its block of the decision, is read from the standard input:
    carbonfleet review show PROPOSAL | carbonfleet explain -
    """
    from rich.text import Text

    from carbonfleet.api.wire import format_time
    from carbonfleet.local.screen import candidate_table

    if what == "-":
        key, record = "The proposal", _proposed(sys.stdin.read())
    else:
        known = _offline(Path(what), fleet, signals, demo) if Path(what).exists() else _recorded(what, kubeconfig)
        key, record = known[0].key, known[1]
    screen = console()
    screen.print(Text.assemble((key, "bold"), f": {record.outcome} ({record.reason})"))
    screen.print(record.message, highlight=False)
    screen.print(candidate_table(record.candidates))
    if record.recheck_at is not None and record.outcome in ("Wait", "Blocked"):
        screen.print(f"Looked at again at {format_time(record.recheck_at)} at the latest.", highlight=False)


def _proposed(text: str) -> "DecisionRecord":
    from carbonfleet.fleet.review import decision_of

    record = decision_of(text)
    if record is None:
        fail("this is no proposal's text with the block of its decision: give what `carbonfleet review show` prints")
    return record


def _offline(
    manifest: Path, fleet: Path, signals: Path | None, demo: bool
) -> "tuple[CarbonTrainingJob, DecisionRecord]":
    from carbonfleet.fleet.check import read_checkout, read_files
    from carbonfleet.hub.settings import HORIZON
    from carbonfleet.placement import explain, plan
    from carbonfleet.placement.record import record_of
    from carbonfleet.placement.snapshot import QueuedJob, Snapshot, Spoke

    job = _read_job(manifest)
    try:
        checkout = read_checkout(read_files(fleet))
    except (OSError, ValueError) as error:
        fail(f"{error} with --fleet")
    for problem in checkout.problems:
        say(f"warning: {problem}", err=True)
    clock, service = _signals(signals, demo)
    now = clock.now()
    queued = QueuedJob("offline", job.metadata.namespace, job.metadata.name, job.spec, now)
    wanted = {(facts.zone, job.spec.signal) for facts in checkout.clusters.values()}
    reading = service.forecasts(wanted, now, now + HORIZON)
    service.close()
    snapshot = Snapshot(
        jobs=(queued,),
        spokes=tuple(Spoke(facts) for _, facts in sorted(checkout.clusters.items())),
        policies=checkout.policies,
        forecasts=reading.forecasts,
        histories=reading.histories,
        signal_problems=reading.problems,
    )
    planned = plan(snapshot, now)
    (decision,) = planned
    return job, record_of(decision, explain(planned, decision), now)


def _read_job(manifest: Path) -> "CarbonTrainingJob":
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.yaml_reader import FileInvalid, read_document

    if manifest.is_dir():
        fail(f"{manifest} is a folder: give the manifest of one job")
    try:
        document = read_document(str(manifest), manifest.read_bytes())
        metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
        if isinstance(metadata, dict):
            metadata.setdefault("namespace", "default")
        return document.read_as(CarbonTrainingJob)
    except (OSError, FileInvalid) as error:
        fail(error)


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


def _recorded(key: str, kubeconfig: Path | None) -> "tuple[CarbonTrainingJob, DecisionRecord]":
    from pydantic import ValidationError

    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.kube import Kube, KubeError, ours

    namespace, _, name = key.partition("/")
    if not namespace or not name or "/" in name or name.endswith((".yaml", ".yml")):
        fail(f"{key} is no file; give one that exists, or namespace/name for a job on the hub")
    try:
        job = CarbonTrainingJob.model_validate(
            Kube.connect(kubeconfig).get(ours("carbontrainingjobs", namespace, name))
        )
    except (KubeError, ValidationError) as error:
        fail(error)
    return job, _record_of_status(job)


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
