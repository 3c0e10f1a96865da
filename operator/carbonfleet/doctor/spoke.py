"""What a spoke needs, looked at with what its agent was given."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from pydantic import SecretStr

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.clock import Clock
from carbonfleet.doctor import clocks, cluster, repository, workers
from carbonfleet.doctor.check import Check, CheckResult, Once, folder_is_writable, missing, ok, unknown
from carbonfleet.doctor.repository import Fetched
from carbonfleet.fleet import FleetError, RepositorySettings
from carbonfleet.fleet.manifests import cluster_path
from carbonfleet.kube import Kube, KubeError, path
from carbonfleet.private_files import replace_file
from carbonfleet.shipped import OPERATOR_IMAGE, SHIPPED
from carbonfleet.spoke import HubLink, RayJobs, RaySettings, SpokeError
from carbonfleet.spoke.join import hub_rights
from carbonfleet.spoke.settings import AgentSettings

KUBERNETES: Final = (1, 30)
API_SECONDS: Final = 10.0
SHORTEST_LIFE: Final = timedelta(hours=12)
"""Of the token for the hub: a timer renews it each day, for two days."""
_SYSTEM: Final = workers.SYSTEM
_MAKE_SECRET: Final = (
    f"make it: `kubectl -n {_SYSTEM} create secret generic carbonfleet-fleet-readonly --dry-run=client -o yaml "
    "--from-literal=username=x-access-token --from-literal=password=TOKEN | kubectl apply -f -`"
)


@dataclass(frozen=True, slots=True)
class SpokeContext:
    """What the checks ask, each got at the first that needs it."""

    name: str
    kube: Once[Kube]
    """Its own Kubernetes API; on a host without, nothing asks it."""
    hub: Once[Kube]
    """The hub's API by the kubeconfig that the agent has."""
    settings: Once[RepositorySettings]
    fleet: Once[Fetched]
    host: AgentSettings | None = None
    """Of the agent, on a host without Kubernetes."""

    @classmethod
    def in_cluster(cls, name: str, kubeconfig: Path | None, clock: Clock, folder: Path) -> Self:
        """By what is installed in a cluster: its site and the agent's Secrets, which are copied to `folder`."""
        kube = Once(lambda: Kube.connect(kubeconfig).within(API_SECONDS))

        def hub() -> Kube:
            return Kube.connect(_copied(kube(), "carbonfleet-hub", "kubeconfig", folder)).within(API_SECONDS)

        return cls(name, kube, Once(hub), *_fleet(lambda: _installed(kube(), folder), clock, folder))

    @classmethod
    def on_host(cls, settings: AgentSettings, clock: Clock, folder: Path) -> Self:
        """By the settings of `spoke run` on a host."""
        kube = Once(lambda: Kube.connect(settings.spoke_kubeconfig).within(API_SECONDS))
        hub = Once(lambda: Kube.connect(settings.hub_kubeconfig).within(API_SECONDS))
        return cls(settings.spoke, kube, hub, *_fleet(lambda: settings.repository, clock, folder), settings)

    @property
    def facts(self) -> ClusterFacts | None:
        """What the fleet repository says of it. Raises FleetError."""
        return self.fleet().tip.clusters.get(self.name)


def _fleet(
    settings: Callable[[], RepositorySettings], clock: Clock, folder: Path
) -> tuple[Once[RepositorySettings], Once[Fetched]]:
    known = Once(settings)
    return known, Once(lambda: repository.fetched(known(), clock, folder))


def _installed(kube: Kube, folder: Path) -> RepositorySettings:
    """How the agent reaches the fleet repository. Raises KubeError, KeyError."""
    site = kube.get(path("api/v1", "configmaps", _SYSTEM, "carbonfleet-site"))["data"]
    try:
        signers = _copied(kube, "carbonfleet-hub-signers", "allowed_signers", folder)
    except KubeError as error:
        if not error.is_gone:
            raise
        signers = None
    return RepositorySettings(
        url=site["fleetUrl"],
        branch=site["fleetBranch"],
        directory=folder / "fleet.git",
        token_file=_copied(kube, "carbonfleet-fleet-readonly", "password", folder),
        allowed_signers=signers,
    )


def _copied(kube: Kube, secret: str, key: str, folder: Path) -> Path:
    """A key of a Secret as a file of our own. Raises KubeError, KeyError."""
    data = kube.get(path("api/v1", "secrets", _SYSTEM, secret)).get("data") or {}
    file = folder / f"{secret}-{key}"
    replace_file(file, base64.b64decode(data[key]).decode())
    return file


def _raise_unless_gone(error: KubeError | KeyError) -> None:
    """What was not answered is no proof that it is not there."""
    if isinstance(error, KubeError) and not error.is_gone and error.reason != "NoKubeconfig":
        raise error


def _api(context: SpokeContext) -> Iterator[CheckResult]:
    advice = "give --kubeconfig (or KUBECONFIG) one of the spoke's cluster"
    try:
        said = context.kube().get("/version")
    except KubeError as error:
        yield missing("spoke's api", str(error), advice)
        return
    version = str(said.get("gitVersion", ""))
    found = re.match(r"v?([0-9]+)\.([0-9]+)", version)
    if found is None or (int(found[1]), int(found[2])) < KUBERNETES:
        yield missing("spoke's api", f"Kubernetes {version} at {context.kube().url}", "use Kubernetes 1.30 or newer")
    else:
        yield ok("spoke's api", f"Kubernetes {version} answers at {context.kube().url}")


def _site(context: SpokeContext) -> Iterator[CheckResult]:
    """Name and allow list, as the spoke's admin wrote them."""
    apply = f"apply what carbonfleet install spoke {context.name} --fleet-url URL --allow DATA-CLASS wrote"
    try:
        data = context.kube().get(path("api/v1", "configmaps", _SYSTEM, "carbonfleet-allowed")).get("data") or {}
    except KubeError as error:
        if not error.is_gone:
            raise
        data = {}
    allowed = sorted(
        key.partition(".")[2] for key, value in data.items() if key.startswith("residency.") and value == "allow"
    )
    if data.get("cluster") != context.name:
        yield missing("allow list", f"it is for cluster {data.get('cluster') or 'none'}, not for {context.name}", apply)
    elif not allowed:
        yield missing("allow list", "no data class may be here, so that nothing starts", apply)
    else:
        yield ok("allow list", f"{cluster.listed(allowed)} may be here")


def _kuberay(context: SpokeContext) -> Iterator[CheckResult]:
    yield from workers.kuberay(context.kube())


def _agent(context: SpokeContext) -> Iterator[CheckResult]:
    yield workers.agent(context.kube(), OPERATOR_IMAGE)


def _applier(context: SpokeContext) -> Iterator[CheckResult]:
    yield from workers.applier(context.kube())


def _tenants(context: SpokeContext) -> Iterator[CheckResult]:
    yield from workers.tenants(context.kube())


def _git(context: SpokeContext) -> Iterator[CheckResult]:
    if context.host is None and (problem := _site_problem(context.kube())):
        yield missing("site", problem, workers.APPLY_AGAIN)
        return
    try:
        settings = context.settings()
    except (KubeError, KeyError) as error:
        _raise_unless_gone(error)
        yield missing("git", f"the Secret carbonfleet-fleet-readonly lacks something: {error}", _MAKE_SECRET)
        return
    try:
        got = context.fleet()
    except FleetError as error:
        yield repository.read_failed("git", error)
        return
    yield repository.branch_is_read("git", settings, got)
    file = cluster_path(context.name)
    problem = got.tip.cluster_problems.get(context.name, "")
    if context.facts is None:
        advice = "merge what carbonfleet spoke join --fleet CHECKOUT committed, filled in"
        yield missing("cluster file", problem or f"{file} is not on the branch", advice)
    else:
        yield ok("cluster file", f"{file}: zone {context.facts.zone}, {len(context.facts.pools)} pools of GPUs")


def _site_problem(kube: Kube) -> str:
    """What the ConfigMap of the site lacks."""
    try:
        data = kube.get(path("api/v1", "configmaps", _SYSTEM, "carbonfleet-site")).get("data") or {}
    except KubeError as error:
        _raise_unless_gone(error)
        return f"there is no ConfigMap carbonfleet-site in {_SYSTEM}"
    lacking = [key for key in ("fleetUrl", "fleetBranch") if not data.get(key)]
    return f"the ConfigMap carbonfleet-site lacks {', '.join(lacking)}" if lacking else ""


def _signers(context: SpokeContext) -> Iterator[CheckResult]:
    signers = context.settings().allowed_signers
    if signers is None:
        yield unknown(
            "hub's public key",
            "no Secret carbonfleet-hub-signers: commits are followed whoever made them",
            "make it as spoke join prints, unless the hub does not sign",
        )
    else:
        yield repository.history_is_trusted("hub's public key", context.fleet(), signers, begins_anywhere=False)


def _gpus(context: SpokeContext) -> Iterator[CheckResult]:
    for pool in context.facts.pools if context.facts else ():
        yield workers.pool(context.kube(), pool)


def _hub(context: SpokeContext) -> Iterator[CheckResult]:
    to = "--spoke-kubeconfig SPOKE" if context.host is None else "--to FILE`, and copy it there: `--hub-kubeconfig FILE"
    renew = f"renew it, where the hub's admin works: `carbonfleet spoke renew {context.name} {to}`"
    try:
        kube = context.hub()
    except (KubeError, KeyError) as error:
        _raise_unless_gone(error)
        yield missing("hub's api", f"the agent's kubeconfig of the hub: {error}", renew)
        return
    yield cluster.api_answers("hub's api", kube, renew)
    yield _token(kube, renew)
    rights = cluster.rights_of(cluster.objects_in(hub_rights(context.name)), "agent")
    advice = f"give them, where the hub's admin works: `carbonfleet spoke join {context.name} | kubectl apply -f -`"
    yield cluster.has_rights("rights on the hub", kube, rights, advice)
    yield _standing(context, kube)


def _token(kube: Kube, renew: str) -> CheckResult:
    until = _end_of(kube.token)
    if until is None:
        return unknown("token for the hub", "it does not say until when it is good", "see that it is renewed")
    left = until - datetime.now(UTC)
    told = f"good until {until:%Y-%m-%d %H:%M} UTC"
    return ok("token for the hub", told) if left > SHORTEST_LIFE else missing("token for the hub", told, renew)


def _end_of(token: str) -> datetime | None:
    """When a ServiceAccount's token (a JWT) runs out; None where it does not say."""
    for part in token.split("."):
        try:
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            return datetime.fromtimestamp(int(claims["exp"]), UTC)
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            continue
    return None


def _standing(context: SpokeContext, kube: Kube) -> CheckResult:
    """Whether the hub knows the spoke, and has heard its agent."""
    try:
        stands = HubLink(kube, context.name).standing()
    except KubeError as error:
        if not error.is_gone:
            raise
        return missing("spoke on the hub", f"the hub has no SpokeCluster {context.name}", "merge its cluster file")
    if not stands.holder:
        return missing("spoke on the hub", "no agent has been heard under this name", "start the agent, or see its log")
    return ok("spoke on the hub", f"the agent {stands.holder} was heard at {stands.heard}")


def _ray(context: SpokeContext) -> Iterator[CheckResult]:
    """Whether Ray answers on a host, and its store can be written."""
    if (settings := context.host) is None:
        return
    advice = f"start it (ray start --head), or give its address and token: --ray-address, now {settings.ray_address}"
    try:
        version = RayJobs(context.name, _ray_settings(settings), Clock()).version()
    except (SpokeError, OSError) as error:
        yield missing("ray", str(error), advice)
    else:
        yield ok("ray", f"{version} answers at {settings.ray_address}")
    yield folder_is_writable("store", settings.store, "--store")
    yield folder_is_writable("state folder", settings.state, "--state")


def _ray_settings(settings: AgentSettings) -> RaySettings:
    """As far as asking for the version needs them. Raises OSError."""
    file = settings.ray_token_file
    token = SecretStr(file.read_text().strip()) if file else None
    return RaySettings(
        address=settings.ray_address,
        token=token,
        directory=SHIPPED,
        store=settings.store,
        datasets=settings.datasets,
        models=settings.models,
    )


def _clocks(context: SpokeContext) -> Iterator[CheckResult]:
    yield clocks.in_step("clock of the spoke", context.kube().date)


def _remote_clocks(context: SpokeContext) -> Iterator[CheckResult]:
    yield clocks.in_step("clock of the hub", context.hub().date)
    yield from clocks.git_in_step("clock of git", context.settings())


HOST_CHECKS: Final[Mapping[str, Check[SpokeContext]]] = {
    "ray": _ray,
    "git": _git,
    "hub's public key": _signers,
    "hub's api": _hub,
    "clocks": _remote_clocks,
}
"""On a host without Kubernetes."""
SPOKE_CHECKS: Final[Mapping[str, Check[SpokeContext]]] = {
    "spoke's api": _api,
    "kuberay": _kuberay,
    "allow list": _site,
    "agent": _agent,
    "applier": _applier,
    "tenants": _tenants,
    "clock of the spoke": _clocks,
    **HOST_CHECKS,
    "gpus": _gpus,
}
"""In a cluster with KubeRay."""
