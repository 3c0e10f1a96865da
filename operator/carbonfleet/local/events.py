"""What happens on a stack, told as it happens: each decision, commit and step of training once."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError
from rich.markup import escape

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.job_status import Phase
from carbonfleet.kube import Kube, KubeError, ours
from carbonfleet.local import fleet_server
from carbonfleet.local.screen import Screen
from carbonfleet.local.stack import Stack


@dataclass(slots=True)
class StackEvents:
    """Follows the jobs and the repository of a stack that is up."""

    stack: Stack
    screen: Screen
    commit: str
    """The last one that was told of."""
    jobs: dict[str, CarbonTrainingJob] = field(default_factory=dict)
    """By namespace/name: as they were seen last."""
    _told: dict[str, object] = field(default_factory=dict)

    def note(self) -> None:
        """Take what there is as told."""
        for job in self._read():
            self._told |= {f"{job.key} {name}": value for name, value, _ in self._about(job)}

    def look(self) -> None:
        """Tell what is new. Raises ChildError or RayHeadError where a process can't be kept running."""
        self.stack.check()
        for job in self._read():
            for name, value, tell in self._about(job):
                if self._told.get(f"{job.key} {name}") != value:
                    self._told[f"{job.key} {name}"] = value
                    tell(job)
        for commit, subject in fleet_server.log_lines(self.stack.repository, self.commit):
            self.screen.line("git", f"[magenta]{commit[:10]}[/magenta] {escape(subject)}")
            self.commit = commit

    def _about(self, job: CarbonTrainingJob) -> tuple[tuple[str, object, Callable[[CarbonTrainingJob], None]], ...]:
        status = job.status
        return (
            ("decision", (status.phase, status.cluster), self._phase),
            ("progress", status.progress, lambda job: self.screen.progress(job.metadata.name, job.status)),
        )

    def _read(self) -> list[CarbonTrainingJob]:
        """The jobs that can be read, now."""
        try:
            bodies, _ = Kube.connect(self.stack.kubeconfig).list(ours("carbontrainingjobs"))
        except KubeError:
            return []  # the API is being started again
        found = []
        for body in bodies:
            try:
                found.append(CarbonTrainingJob.model_validate(body))
            except ValidationError:
                continue
        self.jobs |= {job.key: job for job in found}
        return found

    def _phase(self, job: CarbonTrainingJob) -> None:
        if job.status.phase in (Phase.WAITING, Phase.BLOCKED, Phase.COMMITTED):
            self.screen.decision(job)
        elif job.status.phase is not Phase.PENDING:
            said = job.status.summary.partition("; decided: ")[0]  # the decision itself was told before
            self.screen.line(job.metadata.name, f"{job.status.phase.value}: {escape(said)}")
