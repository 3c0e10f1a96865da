"""Why a cloud's figure and the ledger's differ: each reason once, with what is particular to a line beside it."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["method", "scope", "lag", "match"]


class Why(StrEnum):
    """A reason, for machines."""

    ALL_SERVICES = "AllServices"
    OTHER_REGIONS = "OtherRegions"
    OWN_METHOD = "OwnMethod"
    NO_SCOPE_3 = "NoScope3"
    MARKET_ONLY = "MarketBasedOnly"
    UNSTATED_METHOD = "UnstatedMethod"
    OLDER_METHOD = "OlderMethodLeftOut"
    MARGINAL = "MarginalLeftOut"
    NOT_PUBLISHED = "MonthNotPublished"
    NOT_SETTLED = "NotSettled"
    MONTH_OF_END = "MonthOfEnd"
    NO_ROW = "NoRowOfRegion"
    NO_VALUE = "RowsWithoutValue"
    MORE_THAN_CLOUD = "MoreThanCloud"
    NO_ACCOUNT = "NoAccount"
    ACCOUNT_ELSEWHERE = "AccountNotInExports"


SENTENCES: Final = MappingProxyType[Why, tuple[Kind, str]](
    {
        Why.ALL_SERVICES: ("scope", "the cloud counts all that the account runs there, the ledger its training alone"),
        Why.OTHER_REGIONS: ("scope", "regions and global services of the account where nothing trained"),
        Why.OWN_METHOD: (
            "method",
            "the cloud shares out its data centres' energy by its own keys and takes its own factors of the grid; the "
            "ledger takes the energy of the GPUs and hosts that a job held, times the grid's intensity in each hour",
        ),
        Why.NO_SCOPE_3: (
            "method",
            "AWS counts Scope 3 from version 3.0.0 of its method on; the ledger counts embodied carbon and moving data",
        ),
        Why.MARKET_ONLY: (
            "method",
            "the export has no location-based figure: market-based there is compared with location-based here",
        ),
        Why.UNSTATED_METHOD: (
            "method",
            "the API's documentation does not say whether its Scope 2 is location- or market-based",
        ),
        Why.OLDER_METHOD: (
            "method",
            "the export has the month by several versions of the cloud's method; the newest counts",
        ),
        Why.MARGINAL: (
            "method",
            "attempts that are accounted by marginal intensity are left out, since no cloud counts so",
        ),
        Why.NOT_PUBLISHED: ("lag", "the export does not have the month"),
        Why.NOT_SETTLED: ("lag", "the grid's final values are not in yet for all attempts"),
        Why.MONTH_OF_END: (
            "lag",
            "an attempt counts in the month in which it ended (UTC), a cloud's use in its own",
        ),
        Why.NO_ROW: (
            "match",
            "the export has the account and the month, and not the region: compare the region in the cluster's file",
        ),
        Why.NO_VALUE: ("match", "rows of the export hold no value, and are in no sum"),
        Why.MORE_THAN_CLOUD: (
            "match",
            "the ledger has more than the whole account: check the cluster's account, region, pue and hardware",
        ),
        Why.NO_ACCOUNT: (
            "match",
            "the cluster's file named no account when it trained: add it; for what is past use --account",
        ),
        Why.ACCOUNT_ELSEWHERE: ("match", "no export that was given has the account"),
    }
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why a line's figures differ."""

    kind: Kind
    why: Why
    text: str
    detail: str
    """What is particular to the line; empty where nothing is."""

    @classmethod
    def of(cls, why: Why, detail: str = "") -> "Cause":
        """A reason with its sentence."""
        kind, text = SENTENCES[why]
        return cls(kind, why, text, detail)
