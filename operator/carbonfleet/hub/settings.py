"""How one hub is set up: from the environment or the command line, checked at the door."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from carbonfleet.fleet import Forge, RepositorySettings
from carbonfleet.fleet.forge_http import ForgeSettings
from carbonfleet.fleet.gitea import Gitea
from carbonfleet.fleet.github import GitHub
from carbonfleet.fleet.gitlab import GitLab
from carbonfleet.fleet.webhook import ForgeKind
from carbonfleet.hub.election import LEASE
from carbonfleet.placement.assumptions import DEFAULTS


class ReviewSettings(BaseModel):
    """Where proposals become pull requests; without, they are branches for `carbonfleet review`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ForgeKind
    api: Annotated[str, Field(pattern=r"^https?://")]
    """Such as https://api.github.com, https://git.example.org/api/v4 or https://git.example.org/api/v1."""
    repository: Annotated[str, Field(pattern=r"^[\w./-]+$")]
    """`owner/name`."""
    token_file: Path
    base: str = "main"
    ca_file: Path | None = None
    webhook_address: Annotated[str, Field(pattern=r"^(.+:[0-9]{1,5})?$")] = ""
    """Where its webhooks are awaited, such as 0.0.0.0:8081; empty for nowhere, and then polling must do."""
    webhook_secret_file: Path | None = None
    """Secrets, one on each line; read anew for each delivery."""

    @model_validator(mode="after")
    def _webhooks_have_a_secret(self) -> Self:
        if self.webhook_address and self.webhook_secret_file is None:
            raise ValueError("webhooks need a secret: give the file that holds it")
        return self

    def open(self) -> Forge:
        """The forge. Nothing is asked of it yet."""
        place = ForgeSettings(self.api, self.repository, self.token_file, self.base, self.ca_file)
        kinds: dict[ForgeKind, Callable[[ForgeSettings], Forge]]
        kinds = {ForgeKind.GITHUB: GitHub, ForgeKind.GITLAB: GitLab, ForgeKind.GITEA: Gitea}
        return kinds[self.kind](place)


class AdmissionSettings(BaseModel):
    """Where the Kubernetes API asks before it creates a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, Field(pattern=r"^.+:[0-9]{1,5}$")]
    """host:port, such as 0.0.0.0:9443."""
    tls: Path
    """A folder with `tls.crt` and `tls.key`, as a Secret of that type is mounted."""

    @model_validator(mode="after")
    def _certificate_is_there(self) -> Self:
        for name in ("tls.crt", "tls.key"):
            if not (self.tls / name).is_file():
                raise ValueError(f"{self.tls / name} is missing: the API calls admission webhooks by TLS only")
        return self


HORIZON: Final = timedelta(hours=96)
"""How far ahead the plan looks."""


class HubSettings(BaseModel):
    """Everything a hub needs to know; nothing in it changes while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fleet: RepositorySettings
    """Where placements are written, and as whom."""
    forge: ReviewSettings | None = None
    """Where people review; None for branches only."""
    admission: AdmissionSettings | None = None
    """Where residency is checked when a job is created; None to leave it to the planner and all that follows."""
    state: Path
    """A directory for the ledger and the signal history."""
    kubeconfig: Path | None = None
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "carbonfleet-system"
    """Where the hub's Lease lives."""
    identity: str = ""
    """This hub's name in the Lease; the host's name and process id by default.

    A hub of a fixed name takes its own Lease again at once after a crash; no two may share one.
    """
    lease: timedelta = LEASE
    """Real time without renewal after which another hub takes over."""
    default_baseline_region: str = ""
    """Where jobs would have run that name no baseline of their own."""
    ledger: str = ""
    """SQLAlchemy's URL of the ledger's database; empty for a SQLite file in `state`."""
    metrics: Annotated[str, Field(pattern=r"^(.+:[0-9]{1,5})?$")] = ""
    """Where Prometheus may scrape, such as 127.0.0.1:9090; empty for nowhere."""
    liveness: str = ""
    """Where to answer liveness probes, such as http://127.0.0.1:8080/healthz; empty for nowhere."""
    resync: timedelta = timedelta(minutes=10)
    """Real time between full reads of the API."""
    heartbeat_grace: timedelta = timedelta(minutes=5)
    """A spoke that was silent for longer gets no new work."""
    heartbeat_grace_real: timedelta = timedelta(seconds=30)
    """The same in real time, for a clock that runs fast: agents do not report more often than they can."""
    surprise_share: Annotated[float, Field(gt=0)] = DEFAULTS.surprise_share
    """A running job is looked at afresh where its grid is by more than this share above what was expected."""
    horizon: timedelta = HORIZON
    """How far ahead the plan looks."""
