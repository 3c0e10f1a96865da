"""The FinOps Open Cost and Usage Specification, version 1.2: a charge for each attempt, its carbon beside its cost.

https://focus.finops.org/focus-specification/v1-2. Its 21 mandatory columns come first, then those that hold where usage
is measured, regions, resources and sub-accounts are known; columns of ours begin with `x_` and come last.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from carbonfleet.ledger.entry import Entry
from carbonfleet.ledger.exports.attempts import AccountedAttempt
from carbonfleet.ledger.exports.market import MarketFactors

_UNIT: Final = "GPU-Hours"
_US: Final = "carbonfleet"


def _cost(attempt: AccountedAttempt) -> float:
    """USD. FOCUS knows no missing cost; `x_CostIsKnown` says where 0 stands for one."""
    return attempt.entry.cost_usd or 0.0


def _payer(attempt: AccountedAttempt) -> str:
    return attempt.entry.account or attempt.entry.cluster


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _charge_end(attempt: AccountedAttempt) -> datetime:
    """The first whole second in which it no longer ran."""
    end = attempt.entry.end
    return end if not end.microsecond else end.replace(microsecond=0) + timedelta(seconds=1)


def _description(attempt: AccountedAttempt) -> str:
    entry = attempt.entry
    what = f"Attempt {entry.attempt} of {entry.namespace}/{entry.job}: {entry.phase}"
    return f"{what}, {entry.gpus} x {entry.gpu_type} of {entry.cluster}/{entry.pool}"


def _tags(attempt: AccountedAttempt) -> str:
    entry = attempt.entry
    tags = {"namespace": entry.namespace, "sweep": entry.sweep, "tier": entry.tier, "cluster": entry.cluster}
    return json.dumps({f"carbonfleet.dev/{name}": value for name, value in tags.items() if value})


_COLUMNS: Final[Mapping[str, Callable[[AccountedAttempt], Any]]] = MappingProxyType(
    {
        "BilledCost": lambda _: 0.0,  # Payments are received by a third party: the cloud, or whoever owns the GPUs.
        "BillingAccountId": _payer,
        "BillingAccountName": _payer,
        "BillingCurrency": lambda _: "USD",
        "BillingPeriodEnd": lambda each: _month(_month(each.entry.end) + timedelta(days=32)),
        "BillingPeriodStart": lambda each: _month(each.entry.end),
        "ChargeCategory": lambda _: "Usage",
        "ChargeClass": lambda _: None,
        "ChargeDescription": _description,
        "ChargeFrequency": lambda _: "Usage-Based",
        "ChargePeriodEnd": _charge_end,
        "ChargePeriodStart": lambda each: each.entry.start.replace(microsecond=0),
        "CommitmentDiscountStatus": lambda _: None,  # Rules on usage ask for it, also where no commitments are known.
        "ConsumedQuantity": lambda each: each.entry.gpu_hours,
        "ConsumedUnit": lambda _: _UNIT,
        "ContractedCost": _cost,
        "EffectiveCost": _cost,
        "InvoiceId": lambda _: None,
        "InvoiceIssuerName": _payer,
        "ListCost": _cost,
        "PricingQuantity": lambda each: each.entry.gpu_hours,
        "PricingUnit": lambda _: _UNIT,
        "ProviderName": lambda _: _US,
        "PublisherName": lambda _: _US,
        "RegionId": lambda each: each.entry.region,
        "RegionName": lambda each: each.entry.region,
        "ResourceId": lambda each: f"{each.entry.namespace}/{each.entry.job}/{each.entry.placement_id}",
        "ResourceName": lambda each: f"{each.entry.namespace}/{each.entry.job}",
        "ResourceType": lambda _: "CarbonTrainingJob",
        "ServiceCategory": lambda _: "AI and Machine Learning",
        "ServiceName": lambda _: "carbonfleet training",
        "ServiceSubcategory": lambda _: "Machine Learning",
        "SubAccountId": lambda each: each.entry.namespace,
        "SubAccountName": lambda each: each.entry.namespace,
        "Tags": _tags,
        "x_Attempt": lambda each: each.entry.attempt,
        "x_Phase": lambda each: each.entry.phase,
        "x_Cluster": lambda each: each.entry.cluster,
        "x_Zone": lambda each: each.entry.zone,
        "x_CostIsKnown": lambda each: each.entry.cost_usd is not None,
        "x_IsSettled": lambda each: each.is_settled,
        "x_EnergyKwh": lambda each: each.entry.energy_kwh,
        "x_FacilityEnergyKwh": lambda each: each.facility_kwh,
        "x_EnergyMethod": lambda each: each.entry.energy_method,
        "x_EnergyUncertainty": lambda each: each.entry.energy_uncertainty,
        "x_Signal": lambda each: each.entry.signal,
        "x_LocationBasedGrams": lambda each: each.location_based_grams,
        "x_LocationFactorGramsPerKwh": lambda each: each.entry.grams_per_kwh,
        "x_LocationFactorSource": lambda each: each.entry.source,
        "x_MarketBasedGrams": lambda each: each.market_based_grams,
        "x_MarketFactorGramsPerKwh": lambda each: each.factor.grams_per_kwh if each.factor else None,
        "x_MarketFactorKind": lambda each: each.factor.kind.value if each.factor else None,
        "x_MarketFactorSource": lambda each: each.factor.source if each.factor else None,
        "x_OperationalGrams": lambda each: each.entry.operational_grams,
        "x_TransferGrams": lambda each: each.entry.transfer_grams,
        "x_EmbodiedGrams": lambda each: each.entry.embodied_grams,
        "x_EmittedGrams": lambda each: each.entry.grams,
        "x_DoubtGrams": lambda each: each.doubt_grams,
        "x_BaselineGrams": lambda each: each.entry.baseline_grams,
        "x_SavedGrams": lambda each: each.entry.saved_grams,
    }
)


def focus_columns() -> tuple[str, ...]:
    """Their names, in order."""
    return tuple(_COLUMNS)


def focus_row(entry: Entry, factors: MarketFactors) -> tuple[Any, ...]:
    """A charge in FOCUS's formats: times without parts of a second, numbers without an exponent, nothing for null."""
    attempt = AccountedAttempt(entry, factors.of(entry))
    return tuple(_formatted(value(attempt)) for value in _COLUMNS.values())


def _formatted(value: Any) -> Any:  # noqa: ANN401 - any cell
    if isinstance(value, float):
        return _Plain(repr(value))
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value or None if isinstance(value, str) else value


class _Plain(Decimal):
    """A float's shortest decimal, without an exponent."""

    def __str__(self) -> str:
        return format(self, "f")
