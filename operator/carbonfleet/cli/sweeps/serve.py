"""`carbonfleet serve`: write to Git what serves a sweep's best adapters, or print it."""

from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carbonfleet.cli.console import fail, person, say
from carbonfleet.cli.fleet.hub_job import API_SECONDS
from carbonfleet.cli.sweeps.sweep import hub_jobs

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.fleet.serving import Scaling, Serving, Sleep, Written
    from carbonfleet.sweep import Wishes

_SCALING = "Scaling by carbon"
_SLEEPING = "Sleep"
_IMAGE = r"[a-z0-9][A-Za-z0-9._/:@-]{0,511}"


def _option(help_text: str, variable: str) -> Any:  # noqa: ANN401  what Typer says it is
    return typer.Option(help=help_text, envvar=f"CARBONFLEET_{variable}")


def _part(panel: str, help_text: str, *names: str, **more: Any) -> Any:  # noqa: ANN401  what Typer says it is
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **more)


Least = Annotated[int | None, _part(_SCALING, "Replicas at least; 1 if left out.", "--min", min=0)]
Most = Annotated[int | None, _part(_SCALING, "Replicas at most; needs --carbon-cap.", "--max", min=1)]
CarbonCap = Annotated[bool, _part(_SCALING, "Render what KEDA needs: fewer while the grid is dirty.", "--carbon-cap")]
Zone = Annotated[str, _part(_SCALING, "The electricity zone; left out, the cluster's as the hub knows it.")]
CarbonUrl = Annotated[str, _part(_SCALING, "Where the hub answers, to .../carbon/v1.", envvar="CARBONFLEET_CARBON_URL")]
Prometheus = Annotated[str, _part(_SCALING, "Where KEDA asks for load and latency.", envvar="CARBONFLEET_PROMETHEUS")]
LoadQuery = Annotated[str, _part(_SCALING, "PromQL for requests in flight; left out, what vLLM's pods report.")]
PerReplica = Annotated[int, _part(_SCALING, "Requests in flight that one replica takes.", min=1)]
Objective = Annotated[float, _part(_SCALING, "Seconds to the first token (p95): beyond it carbon caps nothing.")]
Sleeps = Annotated[bool, _part(_SLEEPING, "Render what kube-green needs, to sleep outside of --used.", "--sleep")]
Used = Annotated[str, _part(_SLEEPING, 'When it is used: "Mon-Fri 08:00-18:00 Europe/Berlin", or "daily 22:00-06:00".')]
WakeLead = Annotated[str, _part(_SLEEPING, "How long before use it wakes: the model must be loaded.")]


def serve(
    sweep: Annotated[str, typer.Option(help="The sweep's name.")],
    best: Annotated[int, typer.Option(min=1, help="How many, by validation loss.")] = 3,
    name: Annotated[str, typer.Option(help="What it is called; the sweep's name if left out.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The namespace of its jobs.")] = "",
    cluster: Annotated[str, typer.Option(help="Where; left out, where the best was trained.")] = "",
    pool: Annotated[str, typer.Option(help="Whose GPUs; left out, those that trained it.")] = "",
    gpus: Annotated[int, typer.Option(min=1, max=16, help="GPUs that share the model, of one node.")] = 1,
    image: Annotated[str, typer.Option(help="vLLM's image, by digest where it matters.")] = "",
    out: Annotated[str, typer.Option("-o", "--out", help="Write to a file, or - to print, and not to Git.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Also where a person changed the file.")] = False,
    least: Least = None,
    most: Most = None,
    carbon_cap: CarbonCap = False,
    zone: Zone = "",
    carbon_url: CarbonUrl = "http://carbonfleet-carbon.carbonfleet-system.svc/carbon/v1",
    prometheus: Prometheus = "http://prometheus-operated.monitoring.svc:9090",
    load_query: LoadQuery = "",
    requests_per_replica: PerReplica = 16,
    latency_objective: Objective = 2.0,
    sleep: Sleeps = False,
    used: Used = "",
    wake_lead: WakeLead = "15m",
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    fleet_url: Annotated[str, _option("The fleet repository: https://, ssh:// or git://.", "FLEET_URL")] = "",
    fleet_branch: Annotated[str, _option("Its branch.", "FLEET_BRANCH")] = "main",
    fleet_token_file: Annotated[Path | None, _option("A token, for https.", "FLEET_TOKEN_FILE")] = None,
    fleet_ssh_key: Annotated[Path | None, _option("A key, for ssh.", "FLEET_SSH_KEY")] = None,
    fleet_known_hosts: Annotated[Path | None, _option("The SSH server's keys.", "FLEET_KNOWN_HOSTS")] = None,
    ca_file: Annotated[
        Path | None, _option("Certificates to trust for https, in place of the system's.", "CA_FILE")
    ] = None,
    signing_key: Annotated[Path | None, _option("Sign the commit with this SSH key.", "SIGNING_KEY")] = None,
    author: Annotated[str, typer.Option(help="Who you are: NAME <EMAIL>; as in git's own settings if left out.")] = "",
) -> None:
    """Serve a sweep's best adapters by name with vLLM, through the fleet repository."""
    asked = _Scales(
        least, most, carbon_cap, zone, carbon_url, prometheus, load_query, requests_per_replica, latency_objective
    )
    asleep = _sleep(sleep, used, wake_lead)
    wishes = _wishes(name or sweep, best, cluster, pool, gpus, image)
    if not out and not fleet_url:
        fail("say where to write: --fleet-url URL, or -o FILE (- prints it)")
    asked.check()
    chosen = _chosen(hub_jobs(sweep, kubeconfig, namespace), wishes)
    serving = replaced(chosen, scaling=asked.of(chosen.cluster, kubeconfig), sleep=asleep)
    if out:
        _write(serving, out)
    else:
        keys = {"token_file": fleet_token_file, "ssh_key": fleet_ssh_key, "known_hosts": fleet_known_hosts}
        where = {"url": fleet_url, "branch": fleet_branch, "ca_file": ca_file, "signing_key": signing_key}
        _tell(serving, _publish(serving, author, where | keys, replace=replace))
    _tell_rest(serving)


def _wishes(name: str, best: int, cluster: str, pool: str, gpus: int, image: str) -> "Wishes":
    import re

    from carbonfleet.fleet.serving import VLLM_IMAGE
    from carbonfleet.sweep import Wishes

    if image and (not re.fullmatch(_IMAGE, image) or ".." in image):
        fail(f"--image {image!r:.100} is no image's name; write REGISTRY/NAME@sha256:DIGEST")
    return Wishes(name, best, cluster, pool, gpus, image or VLLM_IMAGE)


@dataclass(frozen=True, slots=True)
class _Scales:
    """How a person wants it scaled; nothing of it where `--carbon-cap` is left out."""

    least: int | None
    most: int | None
    by_carbon: bool
    zone: str
    carbon_url: str
    prometheus: str
    load_query: str
    requests_per_replica: int
    latency_objective_seconds: float

    def check(self) -> None:
        """End the command where options lack each other, before the hub is asked anything."""
        if self.by_carbon and self.most is None:
            fail("--carbon-cap needs --max: how many replicas there may be while the grid is clean")
        if not self.by_carbon and (self.least, self.most, self.zone, self.load_query) != (None, None, "", ""):
            fail("--min, --max, --zone and --load-query are for --carbon-cap: add it, or leave them out")
        if self.by_carbon:
            self._scaling(self.zone or "DE")

    def of(self, cluster: str, kubeconfig: Path | None) -> "Scaling | None":
        """Of a cluster, whose zone the hub knows."""
        if not self.by_carbon:
            return None
        return self._scaling(self.zone or _zone_of(cluster, kubeconfig))

    def _scaling(self, zone: str) -> "Scaling":
        from carbonfleet.fleet.serving import Scaling

        least, most = 1 if self.least is None else self.least, self.most or 1
        try:
            return Scaling(
                least,
                most,
                zone,
                self.carbon_url,
                self.prometheus,
                self.load_query,
                self.requests_per_replica,
                self.latency_objective_seconds,
            )
        except ValueError as error:
            fail(error)


def _zone_of(cluster: str, kubeconfig: Path | None) -> str:
    from carbonfleet.kube import Kube, KubeError, ours

    try:
        body = Kube.connect(kubeconfig).within(API_SECONDS).get(ours("spokeclusters", name=cluster))
        return str(body["spec"]["zone"])
    except (KubeError, KeyError, TypeError) as error:
        fail(f"the hub does not tell the electricity zone of {cluster}, so name it with --zone: {error}")


def _sleep(sleep: bool, used: str, wake_lead: str) -> "Sleep | None":
    from carbonfleet.fleet.serving import EXAMPLE, Sleep

    if not sleep and used:
        fail("--used is for --sleep: add it, or leave --used out")
    if not sleep:
        return None
    if not used:
        fail(f"--sleep needs to know when it is used: --used {EXAMPLE!r}")
    try:
        return Sleep.of_use(used, _span(wake_lead))
    except ValueError as error:
        fail(error)


def _span(text: str) -> timedelta:
    from carbonfleet.api.wire import parse_duration

    try:
        return timedelta(0) if text == "0" else parse_duration(text)
    except ValueError as error:
        fail(f"--wake-lead: {error}")


def _chosen(jobs: "tuple[CarbonTrainingJob, ...]", wishes: "Wishes") -> "Serving":
    from carbonfleet.sweep import SweepError, best_of

    try:
        best = best_of(jobs, wishes)
    except SweepError as error:
        fail(error)
    if best.elsewhere:
        where = f"{', '.join(best.elsewhere)} did better, but {best.serving.cluster} can't read what other stores hold"
        say(f"note: {where}", err=True)
    return best.serving


def _write(serving: "Serving", out: str) -> None:
    from carbonfleet.fleet.serving import ServingRefused, render_serving
    from carbonfleet.private_files import replacing

    try:
        text = render_serving(serving).decode()
        if out == "-":
            say(text, nl=False)
        else:
            with replacing(Path(out)) as fresh:
                fresh.write_text(text, encoding="utf-8")
    except (ServingRefused, OSError) as error:
        fail(error)


def _publish(serving: "Serving", author: str, settings: dict[str, Any], *, replace: bool) -> "Written":
    from tempfile import TemporaryDirectory

    from pydantic import ValidationError

    from carbonfleet.clock import Clock
    from carbonfleet.fleet import Backoff, FleetError, Repository, RepositorySettings
    from carbonfleet.fleet.serving import ServingRefused, publish_serving

    with TemporaryDirectory(prefix="carbonfleet-serve-") as folder:
        try:
            repository = Repository(
                RepositorySettings(directory=Path(folder) / "fleet.git", backoff=Backoff(tries=5), **settings),
                Clock.from_environment(),
            )
            return publish_serving(repository, serving, person(author), replace=replace)
        except (FleetError, ServingRefused, ValidationError, OSError) as error:
            fail(error)


def _tell(serving: "Serving", written: "Written") -> None:
    names = ", ".join(one.name for one in serving.adapters)
    state = f"written to {written.path} in {written.commit[:12]}" if written.commit else f"already in {written.path}"
    say(f"{names}: {state}")
    say(f"next, on {serving.cluster}:")
    say(f"  kubectl port-forward -n {serving.namespace} service/{serving.object_name} 8000:80")
    say(f"  carbonfleet chat -m {serving.adapters[0].name}")


def _tell_rest(serving: "Serving") -> None:
    """What else must be there for it to scale and sleep."""
    if serving.scaling is not None:
        say(f"KEDA asks {serving.scaling.zone_url} with the token in the Secret carbonfleet-carbon:", err=True)
        make = f"kubectl -n {serving.namespace} create secret generic carbonfleet-carbon --from-file=token=TOKEN_FILE"
        say(f"  {make}", err=True)
    if serving.sleep is not None:
        asleep = f"{serving.sleep.hours_asleep_per_week:g} of 168 hours a week"
        say(f"kube-green has it asleep for {asleep}, awake from {serving.sleep.wake_up_at}", err=True)
