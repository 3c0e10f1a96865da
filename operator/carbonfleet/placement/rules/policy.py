"""What policies say of a job: where it may run, in which tier, and whether a person must agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.job import JobSpec, Objective, ResidencyRequest
from carbonfleet.api.policy import Aim, Budget, FleetPolicy, Residency, ReviewMode, Scope, Store, Tier
from carbonfleet.api.workload import SPOKE_STORE, DataPlace
from carbonfleet.placement.snapshot import PolicySet, QueuedJob


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a policy allows something, by which rule, and in words."""

    allowed: bool
    reason: str
    """CamelCase; `Allowed` when nothing forbids it."""
    message: str


@dataclass(frozen=True, slots=True)
class ReviewRuling:
    """Whether a person must agree before a placement is committed, and why."""

    required: bool
    reason: str = ""
    message: str = ""


POLICY_REASONS: Final = frozenset(
    {
        *("PolicyMissing", "PolicyInvalid", "NoRegionAllowed", "ResidencyPolicy", "ResidencyRequest"),
        *("StoreUndeclared", "TierNotAllowed"),
    }
)
"""Reasons, of decisions and candidates, that mean: policy or the job's own residency forbids it."""
NO_REVIEW = ReviewRuling(False)
ALLOWED = Ruling(True, "Allowed", "Policy allows it.")


def in_scope(scope: Scope, data_class: str, namespace: str) -> bool:
    """Whether a scope covers a job of this data class in this namespace; an empty list covers all."""
    by_class = not scope.data_classes or data_class in scope.data_classes
    return by_class and covers_namespace(scope, namespace)


def covers_namespace(scope: Scope, namespace: str) -> bool:
    """Whether a scope covers a namespace, for some data class at least."""
    return not scope.namespaces or any(fnmatchcase(namespace, pattern) for pattern in scope.namespaces)


def applicable(policies: PolicySet, data_class: str, namespace: str) -> tuple[FleetPolicy, ...]:
    """The policies in whose scope a job falls, by name."""
    found = (p for p in policies.policies if in_scope(p.spec.scope, data_class, namespace))
    return tuple(sorted(found, key=lambda policy: policy.metadata.name))


def policies_verdict(policies: PolicySet, data_class: str, namespace: str) -> Ruling:
    """Whether there are rules at all to place this job by: none, or a broken one, denies everything."""
    problems = (*policies.problems, *_repeated(policies))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"Policies can't be read, so nothing is allowed: {problems[0]}{more}. Correct the file."
        return Ruling(False, "PolicyInvalid", message)
    if any(p.spec.residency is not None for p in applicable(policies, data_class, namespace)):
        return ALLOWED
    message = (
        f'No policy says where data class "{data_class}" of namespace {namespace} may run, so nowhere is '
        "allowed. Add a policy with residency for it under policies/."
    )
    return Ruling(False, "PolicyMissing", message)


def residency_verdict(
    policies: PolicySet,
    data_class: str,
    namespace: str,
    request: ResidencyRequest,
    facts: ClusterFacts,
    places: Sequence[DataPlace] = (DataPlace("checkpoints"),),
) -> Ruling:
    """Whether a job's data may be here, and where it is read and saved: every policy in scope, and the job's own
    limits, must agree.
    """
    general = policies_verdict(policies, data_class, namespace)
    if not general.allowed:
        return general
    for policy in applicable(policies, data_class, namespace):
        if policy.spec.residency is not None:
            breach = _residency_breach(policy.spec.residency, facts)
            if breach:
                return Ruling(False, "ResidencyPolicy", f"Policy {policy.metadata.name} {breach}.")
    ruling = _requested(request, facts)
    return data_verdict(policies, data_class, namespace, request, facts, places) if ruling.allowed else ruling


def _residency_breach(residency: Residency, facts: ClusterFacts | Store) -> str:
    if residency.anywhere:
        return ""
    if residency.jurisdictions and not set(residency.jurisdictions) & set(facts.jurisdictions):
        return f"allows {_listed(residency.jurisdictions)}; {facts.name} is in {_listed(facts.jurisdictions)}"
    if residency.regions and facts.region not in residency.regions:
        return f"allows regions {_listed(residency.regions)}; {facts.name} is in {facts.region}"
    if residency.clusters and facts.name not in residency.clusters:
        return f"allows clusters {_listed(residency.clusters)}; this is {facts.name}"
    return ""


def _requested(request: ResidencyRequest, facts: ClusterFacts | Store) -> Ruling:
    wanted = request.allowed_jurisdictions
    if wanted and not set(wanted) & set(facts.jurisdictions):
        message = f"The job allows {_listed(wanted)} only; {facts.name} is in {_listed(facts.jurisdictions)}."
        return Ruling(False, "ResidencyRequest", message)
    if request.allowed_regions and facts.region not in request.allowed_regions:
        message = f"The job allows {_listed(request.allowed_regions)} only; {facts.name} is in {facts.region}."
        return Ruling(False, "ResidencyRequest", message)
    return ALLOWED


def data_verdict(
    policies: PolicySet,
    data_class: str,
    namespace: str,
    request: ResidencyRequest,
    facts: ClusterFacts,
    places: Sequence[DataPlace],
) -> Ruling:
    """Whether a job's data may be where it is read from and saved to, besides the spoke that trains.

    A spoke's own store, and a file that is there, lie where the spoke does unless they are declared among the
    policies' `stores`, by name or address. Any other address that is not declared may be anywhere.
    """
    rules = [(p.metadata.name, p.spec.residency) for p in applicable(policies, data_class, namespace)]
    bounds = [(name, rule) for name, rule in rules if rule is not None and not rule.anywhere]
    if not bounds and not request.allowed_jurisdictions and not request.allowed_regions:
        return ALLOWED
    for place in places:
        store = _store_of(place, policies, facts)
        if store is None:
            continue
        if isinstance(store, str):
            message = f"Nobody has declared where {store} lies, for the job's {place.what}, and its data may not be any"
            return Ruling(False, "StoreUndeclared", f"{message}where: add it to stores in a file of policies/.")
        for name, rule in bounds:
            if breach := _store_breach(rule, store):
                return Ruling(False, "ResidencyPolicy", f"Policy {name} {breach}, for its {place.what}.")
        if not (ruling := _requested(request, store)).allowed:
            return ruling
    return ALLOWED


def undeclared_stores(policies: PolicySet, facts: ClusterFacts, places: Sequence[DataPlace]) -> tuple[str, ...]:
    """Stores of a job of which nobody has said where they lie: allowed where nothing limits where its data may be."""
    found = (_store_of(place, policies, facts) for place in places)
    return tuple(store for store in found if isinstance(store, str))


def _store_of(place: DataPlace, policies: PolicySet, facts: ClusterFacts) -> Store | str | None:
    """The store that a place is in; what is not declared, in words; None for what lies where the spoke does."""
    stores = [store for policy in policies.policies for store in policy.spec.stores]
    address, is_own = _address(place.uri), place.what == "checkpoints" and _is_under(place.uri, SPOKE_STORE)
    if address and not is_own:
        covering = [store for store in stores if store.uri and _is_under(address, store.uri)]
        if covering:
            return max(covering, key=lambda store: len(_address(store.uri or "")))
        is_there = place.what == "dataset" and "://" not in address
        return None if is_there and place.region in ("", facts.region) else address
    if place.what == "checkpoints":
        return next((store for store in stores if store.name == facts.store), None)
    if place.region in ("", facts.region):
        return None
    return next((store for store in stores if store.region == place.region), f"region {place.region}")


def _address(uri: str) -> str:
    """An address to compare by: the scheme and the bucket or host in lower case, without a slash at its end."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}".rstrip("/") if mark else uri.rstrip("/")


def _is_under(uri: str, root: str) -> bool:
    return f"{_address(uri)}/".startswith(f"{_address(root)}/")


def _store_breach(residency: Residency, store: Store) -> str:
    """A list of clusters says where work runs; where it is all that a policy says, data stays on those."""
    if residency.jurisdictions or residency.regions:
        residency = residency.model_copy(update={"clusters": ()})
    return _residency_breach(residency, store)


def tiers(policies: PolicySet) -> dict[str, Tier]:
    """The fleet's tiers by name."""
    return {tier.name: tier for policy in policies.policies for tier in policy.spec.tiers}


def tier_verdict(policies: PolicySet, data_class: str, namespace: str, tier: str) -> Ruling:
    """Whether the fleet has a tier, and a job of this data class in this namespace may name it."""
    known = tiers(policies)
    found = known.get(tier)
    if found is None:
        names = ", ".join(sorted(known)) or "none"
        return Ruling(False, "UnknownTier", f'There is no tier "{tier}"; the policies define {names}.')
    if in_scope(found.scope, data_class, namespace):
        return ALLOWED
    allowed = ", ".join(sorted(name for name in known if in_scope(known[name].scope, data_class, namespace))) or "none"
    message = (
        f'Policy keeps tier "{tier}" from data class {data_class} of namespace {namespace}, which may use {allowed}. '
        "Name one of these in schedule.tier, or have the tier's scope under policies/ changed."
    )
    return Ruling(False, "TierNotAllowed", message)


def job_verdict(policies: PolicySet, spec: JobSpec, namespace: str) -> Ruling:
    """Whether the policies let a job run, wherever that is: some speak of it, and it may name its tier."""
    data_class = spec.residency.data_class
    general = policies_verdict(policies, data_class, namespace)
    return tier_verdict(policies, data_class, namespace, spec.schedule.tier) if general.allowed else general


def _repeated(policies: PolicySet) -> tuple[str, ...]:
    """What is the fleet's and defined in two places, of which one would win unseen."""
    specs = [policy.spec for policy in policies.policies]
    found = {
        "tier": [tier.name for spec in specs for tier in spec.tiers],
        "store": [store.name for spec in specs for store in spec.stores],
        "store at": [_address(store.uri) for spec in specs for store in spec.stores if store.uri],
    }
    twice = ((what, name) for what, names in found.items() for name in sorted(set(names)) if names.count(name) > 1)
    return tuple(f"{what} {name} is defined twice" for what, name in twice)


def budgets(policies: PolicySet, data_class: str, namespace: str) -> tuple[tuple[FleetPolicy, Budget], ...]:
    """The budgets that a job's use counts against."""
    found = applicable(policies, data_class, namespace)
    return tuple((policy, policy.spec.budget) for policy in found if policy.spec.budget is not None)


def with_objectives(policies: PolicySet, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """The jobs with what their objectives leave out: from the first policy in scope that says it, by name.

    Of the cost tolerances, the job's own and those of all policies in scope, the least holds.
    """
    if all(policy.spec.objective is None for policy in policies.policies):
        return list(jobs)
    known: dict[tuple[Objective, str, str], Objective] = {}
    found = []
    for job in jobs:
        key = job.spec.objective, job.spec.residency.data_class, job.namespace
        if key not in known:
            aims = [policy.spec.objective for policy in applicable(policies, *key[1:])]
            known[key] = _filled(key[0], [aim for aim in aims if aim is not None])
        found.append(replace(job, spec=job.spec.model_copy(update={"objective": known[key]})))
    return found


def _filled(own: Objective, aims: Sequence[Aim]) -> Objective:
    said = [own, *aims]
    tolerances = [aim.cost_tolerance_percent for aim in said if aim.cost_tolerance_percent is not None]
    prices = (aim.carbon_price_usd_per_tonne for aim in said)
    update = {
        "minimize": next((aim.minimize for aim in said if aim.minimize is not None), None),
        "carbon_price_usd_per_tonne": next((usd for usd in prices if usd is not None), None),
        "cost_tolerance_percent": min(tolerances, default=None),
    }
    return own.model_copy(update=update)


def share_weight(policies: PolicySet, namespace: str) -> float:
    """How many turns a namespace has for one of others: the greatest weight of the policies in whose scope it is."""
    found = (policy.spec.share_weight for policy in policies.policies if covers_namespace(policy.spec.scope, namespace))
    return max((weight for weight in found if weight is not None), default=1.0)


def review_verdict(
    policies: PolicySet,
    spec: JobSpec,
    namespace: str,
    *,
    cost_usd: float | None,
    saving_percent: float | None,
    moving: bool = False,
) -> ReviewRuling:
    """Whether a person must agree. What is not known (None) counts as over the limit."""
    if spec.review is ReviewMode.REQUIRED:
        return ReviewRuling(True, "RequestedByJob", "The job itself asks for review.")
    for policy in applicable(policies, spec.residency.data_class, namespace):
        for reason, message in _review_grounds(policy, cost_usd, saving_percent, moving=moving):
            return ReviewRuling(True, reason, f"Policy {policy.metadata.name} wants review: {message}.")
    return ReviewRuling(False)


def is_reviewed(policies: PolicySet, data_class: str, namespace: str) -> bool:
    """Whether any policy in scope may ask for review."""
    return any(policy.spec.review is not None for policy in applicable(policies, data_class, namespace))


def _review_grounds(
    policy: FleetPolicy, cost_usd: float | None, saving_percent: float | None, *, moving: bool
) -> Iterable[tuple[str, str]]:
    review = policy.spec.review
    if review is None:
        return
    if review.mode is ReviewMode.REQUIRED:
        yield "RequiredByPolicy", "of every placement in its scope"
    if moving and review.moves is ReviewMode.REQUIRED:
        yield "MoveNeedsReview", "of moving a job that runs"
    limit = review.above_cost_usd
    if limit is not None and (cost_usd is None or cost_usd > limit):
        cost = "is not known" if cost_usd is None else f"is {cost_usd:.2f} USD"
        yield "CostAboveLimit", f"the expected cost {cost}, and above {limit:.2f} USD people decide"
    floor = review.below_saving_percent
    if floor is not None and (saving_percent is None or saving_percent < floor):
        saving = "is not known" if saving_percent is None else f"is {saving_percent:z.0f} %"
        yield "SavingBelowLimit", f"the expected saving {saving}, and below {floor:.0f} % people decide"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
