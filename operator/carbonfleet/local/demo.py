"""The main job on one machine: seven jobs from `kubectl apply` to trained adapters and accounted grams."""

import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.markup import escape

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from carbonfleet.clock import Clock
from carbonfleet.kube import KubeError
from carbonfleet.ledger.store import Ledger
from carbonfleet.local import fleet_server
from carbonfleet.local.checks import CHECKS, Ran
from carbonfleet.local.child import ChildError
from carbonfleet.local.events import StackEvents
from carbonfleet.local.footprint import Footprint
from carbonfleet.local.grid_settings import write_signals
from carbonfleet.local.ray_head import RayHeadError
from carbonfleet.local.screen import Screen
from carbonfleet.local.stack import Stack, StackSettings
from carbonfleet.private_files import IN_USE, FolderInUseError, held, make_folder
from carbonfleet.shipped import EXAMPLES
from carbonfleet.signals import TOKEN_VARIABLE
from carbonfleet.signals.sources.demo import SOURCE_NAME

START: Final = datetime(2025, 12, 16, 1, tzinfo=UTC)
"""Ohio's grid gets cleaner in the hours after it, so that a job has something to wait for."""
VALID: Final = ("unconstrained", "waits", "eu-only", "us-only", "cheap", "blocked")
INVALID: Final = "invalid"


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How the demo runs."""

    state: Path
    speed: float = 240.0
    """How fast the demo's clock runs: 240 is an hour in 15 seconds."""
    keep: bool = False
    limit: timedelta = timedelta(minutes=5)
    """Real time, from `kubectl apply` on."""


def run(settings: DemoSettings, screen: Screen) -> int:
    """Run it; 0 only if everything that it promises was seen to happen."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job begins with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with held(settings.state):
            return _run(settings, screen)
    except FolderInUseError as error:
        screen.line("error", f"[red]{escape(str(error))}[/red]")
        return 1


def _run(settings: DemoSettings, screen: Screen) -> int:
    began = time.monotonic()
    _empty(settings.state)
    live = bool(os.environ.get(TOKEN_VARIABLE))
    clock = Clock.starting_at(datetime.now(UTC) if live else START, settings.speed)
    signals = write_signals(settings.state, "live" if live else "demo")
    stack = Stack(
        StackSettings(settings.state, clock, signals),
        lambda text: screen.line("stack", text),
    )
    screen.title("Starting the stack")
    screen.line("clock", f"{clock.now():%Y-%m-%d %H:%M} UTC, {settings.speed:.0f} times as fast as real time")
    screen.line("grid", f"{_grid(live)}; the GPUs are simulated")
    try:
        stack.up()
        return _story(settings, stack, screen, began)
    except (ChildError, RayHeadError, KubeError) as error:
        screen.line("error", f"[red]{escape(str(error))}[/red]; logs are in {os.path.relpath(settings.state)}/logs")
        return 1
    except KeyboardInterrupt:
        screen.line("stack", "stopping")
        return 130
    finally:
        stack.down()


def _grid(live: bool) -> str:
    if live:
        return "live forecasts of Electricity Maps, fetched once and replayed"
    return f"made trace ({SOURCE_NAME}), in the ranges seen in December 2025; {TOKEN_VARIABLE} is not set"


def _empty(state: Path) -> None:
    """Forget an earlier run, but for the records of processes that it may have left behind."""
    for path in state.iterdir() if state.exists() else ():
        if path.name == "logs":
            for log in path.glob("*.log"):
                log.unlink()
        elif path.name not in ("ray.directory", IN_USE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    make_folder(state)


def _story(settings: DemoSettings, stack: Stack, screen: Screen, began: float) -> int:
    footprint = Footprint(os.getpid())
    events = StackEvents(stack, screen, commit=fleet_server.log_lines(stack.repository)[-1][0])
    screen.title("kubectl apply")
    answers = _apply(stack, screen)
    screen.title("What happens")
    complete = _watch(events, footprint, settings.limit.total_seconds())
    screen.title("What became of it")
    order = {name: place for place, name in enumerate(VALID)}
    jobs = sorted(events.jobs.values(), key=lambda job: order.get(job.metadata.name, 99))
    screen.results(
        jobs,
        "kWh is the hardware profile's estimate for simulated GPUs over the run's planned time, however long this "
        "machine took. Baseline: the same work at once in Ohio (us-east-2).",
    )
    ok = _verify(settings, stack, screen, events, answers)
    if not complete:
        screen.line("demo", f"[red]not all jobs were done after {settings.limit.total_seconds():.0f} s[/red]")
    took, held = time.monotonic() - began, footprint.peak_bytes / 2**30
    screen.line(
        "demo", f"took {took // 60:.0f} min {took % 60:.0f} s with the start, and at most {held:.1f} GiB of memory"
    )
    _hints(stack, screen, keep=settings.keep)
    if settings.keep:
        screen.line("demo", "everything goes on until Ctrl-C")
        stack.wait()
    return 0 if ok and complete else 1


def is_settled(job: CarbonTrainingJob) -> bool:
    """Nothing more is to be expected of it."""
    phase = job.status.phase
    return phase.is_terminal or phase is Phase.REJECTED or (phase is Phase.BLOCKED and job.metadata.name == "blocked")


def _apply(stack: Stack, screen: Screen) -> Mapping[str, str]:
    answers = {}
    for name in (*VALID, INVALID):
        done = stack.kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
        answers[name] = (done.stdout + done.stderr).strip()
        colour = "green" if done.returncode == 0 else "yellow"
        for line in answers[name].splitlines():
            screen.line(name, f"[{colour}]{escape(line)}[/{colour}]")
    return answers


def _watch(events: StackEvents, footprint: Footprint, seconds: float) -> bool:
    """Tell what happens until every job has settled, at most so long; whether they all did."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        footprint.look()
        events.look()
        if len([job for job in events.jobs.values() if is_settled(job)]) == len(VALID):
            return True
        time.sleep(0.3)
    return False


def _verify(
    settings: DemoSettings, stack: Stack, screen: Screen, events: StackEvents, answers: Mapping[str, str]
) -> bool:
    ledger = Ledger.at(stack.ledger)
    ran = Ran(
        jobs={job.metadata.name: job for job in events.jobs.values()},
        answers=answers,
        entries=ledger.attempts(),
        subjects=[subject for _, subject in fleet_server.log_lines(stack.repository)],
        store=settings.state / "store",
        live=bool(os.environ.get(TOKEN_VARIABLE)),
    )
    ledger.close()
    ok = True
    for check in CHECKS:
        problem = check(ran)
        ok = ok and not problem
        mark = f"[red]NO, {problem}[/red]" if problem else "[green]yes[/green]"
        screen.line("check", f"{check.__doc__}: {mark}")
    return ok


def _hints(stack: Stack, screen: Screen, *, keep: bool) -> None:
    screen.title(
        "Try it yourself" + (", in another terminal" if keep else ": carbonfleet demo --keep leaves all this running")
    )
    screen.line("page", f"open {stack.page_url} in a browser: what runs where, why, what is next, what it saved")
    home = os.path.relpath(stack.settings.state)
    for command in (
        f". {home}/environment",
        "kubectl get ctj -A",
        "kubectl describe ctj -n team-a waits",
        "kubectl get spoke",
        f"kubectl apply -f {os.path.relpath(EXAMPLES / 'minimal.yaml')}",
        "carbonfleet status",
        f"carbonfleet explain {os.path.relpath(EXAMPLES / 'minimal.yaml')}",
        "carbonfleet review list",
        "carbonfleet report --by job",
        f"git -C {os.path.relpath(stack.repository)} log --stat",
    ):
        screen.line("", command)
    screen.line(
        "clock",
        f"times and AGE are of the demo's clock, {stack.settings.clock.speed:.0f} times as fast; the ages of events in "
        "describe are kubectl's own count from this machine's clock, and look far too old",
    )
