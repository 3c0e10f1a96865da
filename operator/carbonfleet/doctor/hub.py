"""What a hub needs, looked at by the settings with which it runs."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from carbonfleet.clock import Clock
from carbonfleet.doctor import clocks, cluster, repository
from carbonfleet.doctor.check import Check, CheckResult, Once, folder_is_writable, missing, ok
from carbonfleet.doctor.repository import Fetched
from carbonfleet.fleet import FleetError
from carbonfleet.fleet.git import holds_openpgp, public_line
from carbonfleet.hub.election import LEASE, NAME, TAKEN_ADVICE, claim_of, shared_namespaces, taken
from carbonfleet.hub.settings import HubSettings
from carbonfleet.kube import Kube, KubeError, ours, path
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger.store import Ledger
from carbonfleet.signals import SignalSettings, load_settings, open_signals

ACCOUNT: Final = "carbonfleet-hub"
API_SECONDS: Final = 10.0
_APPLY: Final = (
    "apply this version's manifests: your overlay, or "
    "`carbonfleet install hub --fleet-url URL | kubectl apply --server-side --force-conflicts -f -`"
)
_ON_ITS_WAY: Final = timedelta(seconds=15)
"""A renewal is written some seconds before it is read, by another machine's clock."""


@dataclass(frozen=True, slots=True)
class HubContext:
    """What the checks ask, each got at the first that needs it."""

    settings: HubSettings
    clock: Clock
    kube: Once[Kube]
    fleet: Once[Fetched]

    @classmethod
    def of(cls, settings: HubSettings, clock: Clock, folder: Path) -> Self:
        """By a hub's settings; `folder` is for a clone that is gone afterwards."""
        return cls(
            settings,
            clock,
            Once(lambda: Kube.connect(settings.kubeconfig).within(API_SECONDS)),
            Once(lambda: repository.fetched(settings.repository, clock, folder)),
        )


def _api(context: HubContext) -> Iterator[CheckResult]:
    advice = "give --kubeconfig (or KUBECONFIG) one that reaches the hub's API, with a token that it takes"
    try:
        kube = context.kube()
    except KubeError as error:
        yield missing("kubernetes api", str(error), advice)
    else:
        yield cluster.api_answers("kubernetes api", kube, advice)


def _rights(context: HubContext) -> Iterator[CheckResult]:
    objects = cluster.shipped("kustomize/base/hub/rbac.yaml")
    rights = cluster.rights_of(objects, ACCOUNT, context.settings.namespace)
    advice = f"{_APPLY}; and see that the hub runs as the ServiceAccount {ACCOUNT}"
    yield cluster.has_rights("rights", context.kube(), rights, advice)


def _definitions(context: HubContext) -> Iterator[CheckResult]:
    yield from cluster.definitions(context.kube(), _APPLY)


def _lease(context: HubContext) -> Iterator[CheckResult]:
    namespace = context.settings.namespace
    start = f"see why no hub leads: kubectl -n {namespace} logs deploy/carbonfleet-hub"
    try:
        spec = context.kube().get(path("apis/coordination.k8s.io/v1", "leases", namespace, NAME)).get("spec") or {}
    except KubeError as error:
        if not error.is_gone:
            raise
        spec = {}
    holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
    if not holder and (other := _other_hub(context)):
        yield missing("lease", other, TAKEN_ADVICE)
        return
    if not holder or not renewed:
        yield missing("lease", f"nobody holds the Lease {NAME} in {namespace}", start)
        return
    age = datetime.now(UTC) - datetime.fromisoformat(renewed)
    lasts = timedelta(seconds=int(spec.get("leaseDurationSeconds") or LEASE.total_seconds())) + _ON_ITS_WAY
    told = f"{holder} leads; it renewed the Lease {max(0, round(age.total_seconds()))} s ago"
    yield ok("lease", told) if age <= lasts else missing("lease", f"{told}, which is too long", start)


def _other_hub(context: HubContext) -> str:
    """A hub of the same cluster that decides on jobs of the same namespaces, so that this one does not."""
    leases, _ = context.kube().list(
        path("apis/coordination.k8s.io/v1", "leases"), fieldSelector=f"metadata.name={NAME}"
    )
    for lease in leases:
        both = shared_namespaces(context.settings.job_namespaces or "*", claim_of(lease))
        if (
            both
            and lease["spec"].get("holderIdentity")
            and lease["metadata"]["namespace"] != context.settings.namespace
        ):
            return taken(lease, both)
    return ""


def _git(context: HubContext) -> Iterator[CheckResult]:
    try:
        got = context.fleet()
    except FleetError as error:
        yield repository.read_failed("git", error)
        return
    yield repository.branch_is_read("git", context.settings.repository, got)
    yield repository.files_are_read("fleet files", got.tip)


def _push(context: HubContext) -> Iterator[CheckResult]:
    yield repository.may_push("git push", context.fleet())


def _signing(context: HubContext) -> Iterator[CheckResult]:
    settings = context.settings.repository
    key, signers = settings.signing_key, settings.allowed_signers
    if key is None:
        yield ok("signing key", "none is set, so that commits are not signed, and no spoke may verify")
    else:
        yield repository.key_signs("signing key", context.fleet(), key, signers or key)
    if signers is not None:
        anywhere = signers == key
        yield repository.history_is_trusted(
            "signatures", context.fleet(), signers, begins_anywhere=anywhere, clone=settings.directory
        )


def _spokes(context: HubContext) -> Iterator[CheckResult]:
    """Spokes that verify say whether they know the hub's key."""
    if (key := context.settings.signing_key) is None:
        return
    spokes, _ = context.kube().list(ours("spokeclusters"))
    distrusting = [
        str(spoke["metadata"]["name"])
        for spoke in spokes
        if any("UnsignedCommit" in str(each) for each in (spoke.get("status") or {}).get("problems") or ())
    ]
    if not distrusting:
        yield ok("signers of spokes", f"none of {len(spokes)} spokes refuses a signature")
        return
    line = "its public half" if holds_openpgp(key) else public_line(key, context.settings.repository.author_email)
    advice = f"put this into allowed_signers of their Secret carbonfleet-hub-signers: {line}"
    yield missing(
        "signers of spokes", f"{cluster.listed(distrusting)} follow no commit: a signature is refused", advice
    )


def _forge(context: HubContext) -> Iterator[CheckResult]:
    forge, settings = context.settings.open_forge(context.clock), context.settings
    if forge is None:
        return
    where = f"{settings.forge} repository {settings.forge_repository}"
    try:
        access = forge.access()
    except FleetError as error:
        yield missing(
            "forge", f"{error.reason}: {error}", "set address, repository, branch and token as the forge has them"
        )
        return
    rights = "give the token's owner the right to write, and the token the scopes for code and pull requests"
    told = f"{where} is there, and the token may write"
    yield ok("forge", told) if access.can_write else missing("forge", f"{where}: the token may not write", rights)
    branch = f"the branch {settings.fleet_branch}"
    protect = f"protect {branch} as README.md of the fleet repository says, and let the hub push to it"
    told = f"{branch} is protected"
    yield ok("branch rules", told) if access.is_protected else missing("branch rules", f"{branch} has none", protect)


def _signals(context: HubContext) -> Iterator[CheckResult]:
    """One request for each zone of the fleet's clusters, to each source in their order until one serves it."""
    zones = sorted({facts.zone for facts in context.fleet().tip.clusters.values()})
    file = context.settings.signals
    chosen = (load_settings(file) if file else SignalSettings()).model_copy(update={"store": SignalSettings().store})
    signals = open_signals(chosen, context.clock)
    try:
        findings = signals.check(zones)
    finally:
        signals.close()
    for zone in zones:
        about = [each for each in findings if each.zone in ("", zone)]
        served = next((each for each in about if each.ok and each.zone == zone), None)
        if served is not None:
            yield ok(f"signal {zone}", f"{served.source}: {served.message}")
            continue
        said = "; ".join(f"{each.source}: {each.message}" for each in about if not each.ok) or "no source offers it"
        advice = (
            "give a source's key that serves it, or another source by --signals; carbonfleet signals check says more"
        )
        yield missing(f"signal {zone}", said, advice)


def _storage(context: HubContext) -> Iterator[CheckResult]:
    state, url = context.settings.state, context.settings.ledger_url
    yield folder_is_writable("state folder", state, "--state")
    file = state / "ledger.sqlite"
    if not url and not file.exists():
        yield ok("ledger", f"{file} is made at the first start")
        return
    try:
        with closing(Ledger(url or f"sqlite:///{file}")) as ledger:
            ledger.try_to_write()
    except LedgerError as error:
        yield missing("ledger", str(error), "see to its database (--ledger-url) or file: rights, room, address")
    else:
        yield ok("ledger", "a line can be added" + ("" if url else f" to {file}"))


def _clocks(context: HubContext) -> Iterator[CheckResult]:
    yield clocks.in_step("clock of kubernetes", context.kube().date)
    yield from clocks.git_in_step("clock of git", context.settings.repository)


HUB_CHECKS: Final[Mapping[str, Check[HubContext]]] = {
    "kubernetes api": _api,
    "rights": _rights,
    "definitions": _definitions,
    "lease": _lease,
    "git": _git,
    "git push": _push,
    "signing key": _signing,
    "signers of spokes": _spokes,
    "forge": _forge,
    "signals": _signals,
    "storage": _storage,
    "clocks": _clocks,
}
"""In the order in which one needs the other."""
