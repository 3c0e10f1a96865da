"""How one hub is set up, by flags, environment or file: checked before anything is opened."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from carbonfleet.clock import Clock
from carbonfleet.fleet import Backoff, RepositorySettings
from carbonfleet.fleet.review import ForgeKind
from carbonfleet.placement.assumptions import DEFAULTS
from carbonfleet.settings import INTERNAL, Settings

if TYPE_CHECKING:
    from carbonfleet.fleet import Forge

HORIZON: Final = timedelta(hours=96)
"""How far ahead the plan looks."""
Address = Annotated[str, Field(pattern=r"^(.+:[0-9]{1,5})?$")]


class HubSettings(Settings):
    """Everything a hub needs to know; nothing in it changes while it runs."""

    fleet_url: str
    """The fleet repository: https://, ssh:// or git://."""
    fleet_branch: str = "main"
    """Its branch."""
    fleet_token_file: Path | None = None
    """Token for https; read anew each time."""
    fleet_ssh_key: Path | None = None
    """Key for ssh."""
    fleet_known_hosts: Path | None = None
    """The SSH server's pinned keys."""
    ca_file: Path | None = None
    """Trusted for https, Git and forge, in place of the system's."""
    signing_key: Path | None = None
    """SSH or armored OpenPGP key that signs commits."""
    allowed_signers: Path | None = None
    """Who else may change what counts: their keys beside the hub's; without, the hub alone once it signs."""
    forge: ForgeKind | None = None
    """Where people review; without, proposals are branches for `carbonfleet review`."""
    forge_api: Annotated[str, Field(pattern=r"^https?://")] = "https://api.github.com"
    """Its API's address."""
    forge_repository: Annotated[str, Field(pattern=r"^[\w./-]*$")] = ""
    """owner/name there."""
    forge_token_file: Path | None = None
    """Token for it; --fleet-token-file if left out."""
    webhook_address: Address = ""
    """Where to await the forge's webhooks: 0.0.0.0:8081."""
    webhook_secret_file: Path | None = None
    """Their secret, or two while one is changed; read anew for each delivery."""
    carbon_address: Address = ""
    """Where zones' carbon figures are asked for: 0.0.0.0:8082."""
    carbon_token_file: Path | None = None
    """The token that who asks for them must have, or two while one is changed; read anew for each request."""
    admission_address: Address = ""
    """Where the Kubernetes API asks about new jobs: 0.0.0.0:9443."""
    admission_tls: Path = Path("/etc/carbonfleet/admission")
    """Folder with tls.crt and tls.key for that."""
    state: Path = Path("/var/lib/carbonfleet")
    """Folder for the clone, the ledger and the carbon history."""
    kubeconfig: Annotated[Path | None, Field(validation_alias=AliasChoices("kubeconfig", "KUBECONFIG"))] = None
    """Left out in a pod, and where kubectl looks by itself."""
    signals: Path | None = None
    """Signal settings; Electricity Maps when left out."""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "carbonfleet-system"
    """Where the hub's Lease lives."""
    job_namespaces: Annotated[str, Field(pattern=r"^([a-z0-9-]+(,[a-z0-9-]+)*)?$")] = ""
    """Whose jobs it decides on, as team-a,team-b; all if left out. Several hubs of a cluster have each their own."""
    identity: str = ""
    """This hub's own name in the Lease; host and pid if left out. A fixed one takes its own Lease again at once."""
    lease_seconds: Annotated[float, Field(ge=2, le=300)] = 15
    """Real time without renewal after which another hub takes over."""
    baseline_region: str = ""
    """Where jobs that name none would have run."""
    ledger_url: str = ""
    """The ledger's database; a file in --state if left out."""
    metrics: Address = ""
    """Where Prometheus may scrape, such as 0.0.0.0:9090."""
    liveness: str = ""
    """Where probes are answered, http://0.0.0.0:8080/healthz."""
    surprise_share: Annotated[float, Field(ge=0.01)] = DEFAULTS.surprise_share
    """Of what was expected of its grid: beyond that a running job is decided on again."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    resync: Annotated[timedelta, Field(json_schema_extra=INTERNAL)] = timedelta(minutes=10)
    """Real time between full reads of the API."""
    heartbeat_grace: Annotated[timedelta, Field(json_schema_extra=INTERNAL)] = timedelta(minutes=5)
    """A spoke that was silent for longer gets no new work."""
    heartbeat_grace_real: Annotated[timedelta, Field(json_schema_extra=INTERNAL)] = timedelta(seconds=30)
    """The same in real time, for a clock that runs fast: agents do not report more often than they can."""
    horizon: Annotated[timedelta, Field(json_schema_extra=INTERNAL)] = HORIZON
    """How far ahead the plan looks."""
    fleet_backoff: Annotated[Backoff, Field(json_schema_extra=INTERNAL)] = Backoff()
    """How a failed push is repeated."""

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, level: str) -> str:
        if level.upper() not in logging.getLevelNamesMapping():
            raise ValueError(f"there is no log level {level}; write DEBUG, INFO, WARNING or ERROR")
        return level.upper()

    @model_validator(mode="after")
    def _review_is_whole(self) -> Self:
        if self.webhook_address and self.forge is None:
            raise ValueError("webhooks come from a forge: say which with --forge")
        if self.webhook_address and self.webhook_secret_file is None:
            raise ValueError("webhooks need a secret: give the file that holds it with --webhook-secret-file")
        if self.forge is not None and self._forge_token is None:
            raise ValueError("the forge wants a token: give the file that holds it with --forge-token-file")
        return self

    @model_validator(mode="after")
    def _carbon_is_guarded(self) -> Self:
        if self.carbon_address and self.carbon_token_file is None:
            raise ValueError("carbon figures need a token: give the file that holds it with --carbon-token-file")
        return self

    @model_validator(mode="after")
    def _certificate_is_there(self) -> Self:
        for name in ("tls.crt", "tls.key") if self.admission_address else ():
            if not (self.admission_tls / name).is_file():
                raise ValueError(
                    f"{self.admission_tls / name} is missing: the API calls admission webhooks by TLS only"
                )
        return self

    @model_validator(mode="after")
    def _repository_is_sound(self) -> Self:
        _ = self.repository
        return self

    @property
    def decides_in(self) -> frozenset[str]:
        """The namespaces of `job_namespaces`; empty for all."""
        return frozenset(filter(None, self.job_namespaces.split(",")))

    @property
    def _forge_token(self) -> Path | None:
        return self.forge_token_file or self.fleet_token_file

    @property
    def repository(self) -> RepositorySettings:
        """Where placements are written, and as whom."""
        return RepositorySettings(
            url=self.fleet_url,
            branch=self.fleet_branch,
            directory=self.state / "fleet.git",
            token_file=self.fleet_token_file,
            ssh_key=self.fleet_ssh_key,
            known_hosts=self.fleet_known_hosts,
            ca_file=self.ca_file,
            signing_key=self.signing_key,
            allowed_signers=self.allowed_signers or self.signing_key,
            backoff=self.fleet_backoff,
        )

    def open_forge(self, clock: Clock) -> "Forge | None":
        """Where people review, if that is a forge. Nothing is asked of it yet."""
        from carbonfleet.fleet.review import ForgeSettings, open_forge

        if self.forge is None or self._forge_token is None:
            return None
        place = ForgeSettings(self.forge_api, self.forge_repository, self._forge_token, self.fleet_branch, self.ca_file)
        return open_forge(self.forge, place, clock)
