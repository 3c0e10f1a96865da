"""`carbonfleet logs`: what a job's training printed, while it runs and afterwards."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import ExitCode, fail, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS, LONG_PAUSE_SECONDS, PAUSE_SECONDS, find_job, hub_job, job_later

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.api.job_status import AttemptLog
    from carbonfleet.cli.about.schemas import LogAnswer
    from carbonfleet.kube import Kube
    from carbonfleet.spoke.runtimes.output import OutputReads


def logs(
    job: Annotated[str, typer.Argument(help="The job: its name, or NAMESPACE/NAME.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "",
    attempt: Annotated[int | None, typer.Option(min=1, help="Which run of the job; the last if left out.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it ends, or Ctrl-C.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Show what a job's training printed.

    The last 256 KiB of each attempt are kept where its job saves. Where that can't be read from here, the last lines
    that its spoke reported are shown, and where the rest is.
    """
    from carbonfleet.kube import Kube
    from carbonfleet.spoke.runtimes.output import OutputReads

    if follow and output is not Form.TEXT:
        fail("-f prints what comes as it comes: leave -o away")
    try:
        kube = Kube.connect(kubeconfig).within(API_SECONDS)
        reading = JobLogs(kube, *find_job(kube, job, namespace), OutputReads())
        if follow:
            reading.follow(attempt)
        elif output.is_data:
            write(reading.answer(attempt), output, "logs")
        elif output is Form.NAME:
            write_names([f"{reading.namespace}/{reading.name}"])
        else:
            reading.show(attempt)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.DONE) from None


def news(old: str, new: str) -> str:
    """What was added to a text of which only the end is kept, since it was `old`.

    Where nothing of `old` is left in it, all of it, behind a line that says so.
    """
    if not old or not new:
        return new
    first, last = new[: new.find("\n") + 1][:200] or new[:200], old[-200:]
    at = old.find(first)
    while at >= 0:
        end = len(old) - at
        if new[max(0, end - len(last)) : end] == last[-end:] and new.startswith(old[at:]):
            return new[end:]
        at = old.find(first, at + 1)
    _, kept, after = new.rpartition(old)
    return after if kept else f"... (some lines are left out)\n{new}"


@dataclass(slots=True)
class JobLogs:
    """The logs of one job's attempts, as its status names them."""

    kube: "Kube"
    namespace: str
    name: str
    reads: "OutputReads[bytes | None]"
    _printed: dict[int, str] = field(default_factory=dict)
    """By attempt: what was printed here."""

    def show(self, attempt: int | None) -> None:
        """Print what is known now. Ends the command where that is nothing; raises KubeError."""
        job = self._job()
        log = _log_of(job, attempt or job.status.attempt)
        self._print(log)
        if not self._printed[log.attempt]:
            ended = f"ended ({log.phase.value}) and" if log.phase.is_terminal else f"is {log.phase.value} and"
            fail(f"attempt {log.attempt} on {log.cluster} {ended} has printed nothing so far: {_said(job)}")

    def answer(self, attempt: int | None) -> "LogAnswer":
        """What is known now, as data; with an empty text where nothing was printed. Raises KubeError."""
        from carbonfleet.cli.about.schemas import LogAnswer

        job = self._job()
        log = _log_of(job, attempt or job.status.attempt)
        kept = self._kept(log)
        return LogAnswer(
            namespace=self.namespace,
            job=self.name,
            attempt=log.attempt,
            cluster=log.cluster,
            phase=log.phase.value,
            uri=log.uri,
            is_whole=kept is not None,
            text=log.tail if kept is None else kept,
        )

    def follow(self, attempt: int | None) -> None:
        """Print what there is, and what comes, until the attempt (the job, where none is named) has ended."""
        job = self._job()
        first, is_waiting = attempt or max(job.status.attempt, 1), False
        while True:
            found = [log for log in job.status.logs if log.attempt >= first and attempt in (None, log.attempt)]
            for log in found:
                self._announce(log)
                self._print(log)
            if job.status.phase.is_terminal or _is_over(job, attempt, found):
                if not any(self._printed.values()):
                    _log_of(job, first)
                    say(f"it has printed nothing: {_said(job)}", err=True)
                return
            if not found and not is_waiting:
                say(f"{job.key} has not started: {_said(job)}", err=True)
            is_waiting = not found
            job = self._next(is_far=any(log.uri.startswith("s3://") for log in found[-1:]))

    def _next(self, *, is_far: bool) -> "CarbonTrainingJob":
        return job_later(self.kube, self.namespace, self.name, LONG_PAUSE_SECONDS if is_far else PAUSE_SECONDS)

    def _job(self) -> "CarbonTrainingJob":
        return hub_job(self.kube, self.namespace, self.name)

    def _announce(self, log: "AttemptLog") -> None:
        if self._printed and log.attempt not in self._printed:
            say(f"--- attempt {log.attempt} on {log.cluster} ---", err=True)

    def _print(self, log: "AttemptLog") -> None:
        """What is new of a log: of all that is kept, or of what its spoke reported where that can't be read."""
        kept = self._kept(log)
        if kept is None and log.uri and log.attempt not in self._printed:
            say(f"{log.uri} can't be read from here; these are the last lines that {log.cluster} reported:", err=True)
        before, text = self._printed.get(log.attempt, ""), log.tail if kept is None else kept
        say(news(before, text), nl=False)
        self._printed[log.attempt] = text or before

    def _kept(self, log: "AttemptLog") -> str | None:
        """What the job's store holds; None where that can't be read from here."""
        from carbonfleet.spoke.runtimes.output import LOG, reader_of

        name = LOG.format(log.attempt)
        place = log.uri.removesuffix(f"/{name}")
        if place == log.uri or not place.startswith(("/", "s3://")):
            return None
        found = self.reads.read(log.uri, partial(reader_of(place), name))
        return None if found is None else found.decode("utf-8", "replace")


def _log_of(job: "CarbonTrainingJob", attempt: int) -> "AttemptLog":
    """The log of an attempt. Ends the command where none is known."""
    status = job.status
    if status.attempt == 0:
        fail(f"{job.key} has not started: {_said(job)}")
    if attempt > status.attempt:
        fail(f"attempt {attempt} has not started: {job.key} is at attempt {status.attempt}")
    found = next((log for log in status.logs if log.attempt == attempt), None)
    if found is None:
        known = ", ".join(str(log.attempt) for log in status.logs)
        fail(f"nothing is known of what attempt {attempt} printed{f', only of {known}' if known else ''}: {_said(job)}")
    return found


def _is_over(job: "CarbonTrainingJob", attempt: int | None, found: "list[AttemptLog]") -> bool:
    """Whether the attempt that is asked for has ended, and another may follow."""
    return attempt is not None and (attempt < job.status.attempt or any(log.phase.is_terminal for log in found))


def _said(job: "CarbonTrainingJob") -> str:
    return job.status.summary or "the hub has not said anything of it yet"
